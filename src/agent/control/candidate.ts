import type { Logger } from "pino";
import { firstOf, type Clock } from "../../clock.ts";
import { isRetryable } from "../../errors.ts";
import { campaign, isCandidate, untilLapsed, type EtcdClient, type Session } from "../../etcd/index.ts";
import type { ControlView } from "./control-view.ts";
import { Foresight } from "../lead/foresight.ts";
import { lead } from "../lead/lead.ts";
import { StandsBack, type StandBack } from "../lead/stand-back.ts";
import type { Machine } from "../machine.ts";
import { whyNotLead } from "./policy.ts";
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
  /** Why this agent can not lead; undefined when it can. */
  readonly onMayLead: (whyNot: string | undefined) => void;
  readonly onError: (error: unknown) => void;
}

/** After leadership was lost, and after leading failed for a reason that may be this agent's own. */
const pauseMs = { lost: 250, failed: 10_000 };

/** While a session lives: stands for election and leads when elected, as long as this agent has the cluster's chooser. */
export async function standAndLead(deps: CandidateDeps, session: Session, signal: AbortSignal): Promise<never> {
  const { options, view, log } = deps;
  /** Before anybody has written a policy, whoever leads writes its own. */
  const whyNot = (): string | undefined => whyNotLead((view.policy() ?? options.policy).chooser, options.chooser);
  const ofPolicy = (key: string): boolean => key === options.keys.policy || key === options.keys.lastPolicy;
  for (;;) {
    await view.until(() => view.complete, signal);
    const why = whyNot();
    deps.onMayLead(why);
    if (why !== undefined) {
      log.warn({ chooser: view.policy()?.chooser, hint: "quorate policy set --chooser" }, `this agent can not lead: ${why}`);
      await view.until(() => whyNot() !== why, signal, ofPolicy);
      continue;
    }
    await firstOf<void>(
      signal,
      (own) => candidacy(deps, session, signal, own),
      (own) => view.until(() => whyNot() !== undefined, own, ofPolicy),
    );
  }
}

/** Stands and leads, again and again. The control view follows the candidates anyway. */
async function candidacy(deps: CandidateDeps, session: Session, outer: AbortSignal, signal: AbortSignal): Promise<never> {
  const { machine, client, options, view, clock, log, back } = deps;
  const { keys, hostname } = options;
  const foresight = new Foresight({ client, keys, clock, log });
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
        clears: true,
        untilDeleted: (key, revision, s) =>
          view.until(
            () => {
              if (!view.hasSeen(key, revision)) return false;
              const entry = view.get(key);
              return entry?.createRevision !== revision || !isCandidate(entry, keys.leader.prefix);
            },
            s,
            (changed) => changed === key,
          ),
        whileNext: async ({ key, lease }, s) => {
          let looking = Promise.resolve();
          const onNear = (): void => {
            looking = foresight.look(s);
          };
          await untilLapsed(client, { lease, key }, { log, onNear }, s).finally(() => looking);
        },
      },
      signal,
    );
    try {
      deps.onLeading(true);
      await lead(
        { machine, client, keys, clock, log: log.child({ part: "leader" }), view, options },
        leadership,
        signal,
        foresight.memory(),
      );
    } catch (error) {
      if (signal.aborted) {
        // Where the session goes on, nobody else could lead until it ends.
        if (!outer.aborted) await leadership.resign().catch(() => undefined);
        throw error;
      }
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
