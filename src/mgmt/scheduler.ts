import type { MgmtWorld, SchedulerResult } from "./api.ts";
import { watching } from "./facade.ts";
import type { Facade } from "./facade.ts";

type Scheduler = Pick<MgmtWorld, "scheduler" | "scheduled">;

export function schedulerOf({ world, use }: Facade): Scheduler {
  return {
    scheduler: async (namespace, options = {}) => {
      const scheduling = await world().scheduler(namespace, options);
      const shutdown = use.hold(() => scheduling.shutdown());
      let last: string | undefined;
      const next: SchedulerResult["next"] = async (of = {}) => {
        for (;;) {
          const { state, hosts } = await scheduling.next(of);
          const told = JSON.stringify(hosts);
          if (state === "unknown" || told === last) continue;
          last = told;
          return hosts;
        }
      };
      return { scheduling, next, shutdown, [Symbol.asyncDispose]: shutdown };
    },
    scheduled: (namespace, options = {}) =>
      use.told(
        (beneath) => beneath.scheduled(namespace).watch(watching(options)),
        () => (event) => (event.kind === "state" ? undefined : event.value),
      ),
  };
}
