import { passOn, raced } from "../../clock.ts";
import type { CallOptions, Read, ReadOptions } from "../api/common.ts";
import type { CandidateFacts, NamedSchedule, Place, SchedulerOptions, Schedules, Scheduling } from "../api/scheduler.ts";
import type { Context } from "../context.ts";
import { WorldError } from "../error.ts";
import { checkKey, checkName, shown } from "../names.ts";
import { readOptions } from "../read.ts";
import type { Entry } from "../replica/index.ts";
import { agree } from "./agree.ts";
import { Hub } from "./hub.ts";
import { listOf } from "./list.ts";
import { readFacts } from "./records.ts";
import type { Facts } from "./records.ts";
import { readRules } from "./rules.ts";
import type { StoredRules } from "./rules.ts";
import { TakingPart } from "./taking-part.ts";
import { View } from "./view.ts";

export interface Scheduler {
  takePart(namespace: string, options: SchedulerOptions): Promise<Scheduling>;
  look(namespace: string): Schedules;
  list(options: ReadOptions): Promise<Read & { readonly schedules: readonly NamedSchedule[] }>;
}

/** The scheduler of one World. */
export function schedulerOf(context: Context): Scheduler {
  const hub = new Hub(context);
  return {
    takePart: (namespace, options) => takePart(hub, namespace, options),
    look: (namespace) => {
      checkNamespace(context, namespace);
      return new View(context, namespace);
    },
    list: async (options) =>
      await context.run({ what: "list the schedules" }, options, async () => {
        const { replica } = context.opened ?? (await context.open());
        const { scheduler: keys } = context.keys;
        const { found, revision, ageMs } = await replica.look(
          readOptions(options),
          (look): readonly Entry[] => look.range(keys),
          (look) => look.range(keys),
        );
        return { schedules: listOf(context, found), revision, ageMs };
      }),
  };
}

/** @throws WorldError INVALID_NAME, NAME_TOO_LONG */
function checkNamespace({ keys, hostname }: Context, namespace: string): void {
  checkName("the namespace of a schedule", namespace);
  checkKey(keys.scheduler.candidate(namespace, hostname));
}

async function takePart(hub: Hub, name: string, options: SchedulerOptions): Promise<Scheduling> {
  const { context } = hub;
  const doing = { what: `take part in ${shown(name)}` };
  return await context.run(doing, options, async () => {
    checkNamespace(context, name);
    const given = rulesGiven(doing.what, options);
    const facts = factsGiven(doing.what, options);
    const limit = context.limit(options, doing);
    const waiting = new AbortController();
    const release = passOn([limit.signal, context.over], waiting);
    let taking: TakingPart | undefined;
    let entered = false;
    try {
      const former = hub.participants.get(name);
      if (former?.signal.aborted === true) await raced(former.shutdown(), waiting.signal);
      hub.enter(name);
      entered = true;
      const opened = context.opened ?? (await context.open());
      const agreed = await agree(context, opened, { name, given, change: options.change === true }, waiting.signal);
      taking = new TakingPart(hub, opened, { name, given, agreed, facts });
      hub.participants.set(name, taking);
      await taking.joined(waiting.signal);
      return schedulingOf(context, taking);
    } catch (error) {
      // That may take its time where etcd is out of reach; who takes part anew waits for it.
      if (taking !== undefined) void taking.shutdown(true);
      else if (entered) void hub.leave(name, undefined);
      throw error;
    } finally {
      release();
      limit.end();
    }
  });
}

function rulesGiven(what: string, options: SchedulerOptions): StoredRules {
  const read = readRules(options);
  if (!("refused" in read)) return read.rules;
  throw invalid(what, read.option ?? "options", read.refused);
}

function factsGiven(what: string, options: CandidateFacts, before?: Facts): Facts {
  const read = readFacts(options, before);
  if (!("refused" in read)) return read.facts;
  throw invalid(what, read.option, read.refused);
}

function invalid(what: string, option: string, why: string): WorldError {
  return new WorldError("INVALID_OPTION", `Cannot ${what}: ${option} ${why}`, { data: { option } });
}

function schedulingOf(context: Context, taking: TakingPart): Scheduling {
  const view = new View(context, taking.name);
  const shutdown = async ({ withdraw = false }: { readonly withdraw?: boolean } = {}): Promise<void> => {
    await Promise.all([taking.shutdown(withdraw), view.shutdown()]);
  };
  return {
    namespace: taking.name,
    hostname: context.hostname,
    signal: taking.signal,
    get contradiction() {
      return taking.contradiction;
    },
    amIScheduled: () => taking.place,
    whenScheduled: async (options: CallOptions = {}): Promise<Place> => {
      const doing = { what: `wait to be scheduled in ${shown(taking.name)}` };
      const call = async (): Promise<Place> => {
        const limit = options.timeoutMs === undefined ? undefined : context.limit(options, doing);
        try {
          return await taking.whenScheduled(limit?.signal ?? options.signal ?? context.over);
        } finally {
          limit?.end();
        }
      };
      return await context.run(doing, options, call, true);
    },
    update: async (facts, options = {}) => {
      const doing = { what: `change what ${shown(taking.name)} knows of this host` };
      return await context.run(doing, options, async () => {
        const limit = context.limit(options, doing);
        try {
          return await taking.update(factsGiven(doing.what, facts, taking.facts), limit.signal);
        } finally {
          limit.end();
        }
      });
    },
    get: (options) => view.get(options),
    next: (options) => view.next(options),
    watch: (options) => view.watch(options),
    shutdown,
    [Symbol.asyncDispose]: () => shutdown(),
  };
}
