import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import { isRetryable } from "../../errors.ts";
import { campaign, type EtcdClient, type Session } from "../../etcd/index.ts";
import type { ControlView } from "./control-view.ts";
import { lead } from "../lead/lead.ts";
import { StandsBack, type StandBack } from "../lead/stand-back.ts";
import type { Machine } from "../machine.ts";
import type { ResolvedOptions } from "../resolve.ts";

export interface CandidateDeps {
  readonly machine: Machine;
  readonly client: EtcdClient;
  readonly options: ResolvedOptions;
  readonly view: ControlView;
  readonly clock: Clock;
  readonly log: Logger;
  /** Of this agent's life, not of one session. */
  readonly back: StandBack;
  readonly onLeading: (leading: boolean) => void;
  readonly onError: (error: unknown) => void;
}

/** After leadership was lost, and after leading failed for a reason that may be this agent's own. */
const pauseMs = { lost: 250, failed: 10_000 };

/** While a session lives: stands for election, and leads when elected. The control view follows the candidates anyway. */
export async function standAndLead(deps: CandidateDeps, session: Session, signal: AbortSignal): Promise<never> {
  const { machine, client, options, view, clock, log, back } = deps;
  const { keys, hostname } = options;
  for (;;) {
    await back.over(view, keys, hostname, signal);
    const leadership = await campaign(
      {
        client,
        session,
        prefix: keys.leader.prefix,
        value: hostname,
        clock,
        log,
        untilDeleted: (key, revision, s) =>
          view.until(() => view.hasSeen(key, revision) && view.get(key)?.createRevision !== revision, s),
      },
      signal,
    );
    try {
      deps.onLeading(true);
      await lead({ machine, client, keys, clock, log: log.child({ part: "leader" }), view, options }, leadership, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof StandsBack) {
        deps.onError(error);
        const backMs = await back.begin({ client, leadership }, signal);
        log.info({ forMs: backMs }, "not standing for election for a while, unless nobody else does");
        continue;
      }
      const over = leadership.signal.aborted || isRetryable(error);
      if (!over) log.error({ err: error }, "leading failed; letting another agent lead");
      deps.onError(error);
      await leadership.resign().catch(() => undefined);
      await clock.sleep(over ? pauseMs.lost : pauseMs.failed, signal);
    } finally {
      deps.onLeading(false);
    }
  }
}
