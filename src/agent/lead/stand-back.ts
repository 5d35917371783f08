import type { MemberSeen } from "../../chooser/index.ts";
import { firstOf, type Clock } from "../../clock.ts";
import { QuorateError, isRetryable } from "../../errors.ts";
import type { EtcdClient, Leadership } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { ControlView } from "../control/control-view.ts";
import { listOf, nameOf } from "../../chooser/words.ts";

/** How long a voter must not have answered this leader, though the raft leader hears it. */
export const unreachableMs = 10_000;
/** A leader that finishes no round for so long is of no use. */
export const noRoundMs = 30_000;
/** How long it does not stand for election then. Doubled each time, as all agents may be in the same place. */
const firstBackMs = 60_000;
const longestBackMs = 16 * 60_000;
/** After so long in peace the next time counts as the first. */
const forgottenMs = 60 * 60_000;
const againMs = 1_000;

/** Thrown by a leader that lets another one lead. `message` says why. */
export class StandsBack extends QuorateError {
  constructor(why: string) {
    super("LEADERSHIP_LOST", `Cannot lead as well as another agent could: ${why}`, { retryable: true });
  }
}

/** Whether another agent stands for election, and would lead next. */
export function anotherStands(view: ControlView, keys: Keys, hostname: string): boolean {
  return [...view.under(keys.leader)].some(([, entry]) => entry.value !== hostname);
}

/**
 * Why a leader sees less than others would: voters take part in the cluster and do not answer it. What it does not see it can neither
 * replace nor count on. Undefined while nothing speaks against it.
 */
export function whyBlind(members: readonly MemberSeen[], answered: (id: string) => boolean): string | undefined {
  const hidden = members.filter(
    (m) => m.role === "voter" && !answered(m.id) && (m.heard === true || m.raftLeader) && m.unansweredForMs >= unreachableMs,
  );
  if (hidden.length === 0) return undefined;
  const raftLeader = hidden.find((m) => m.raftLeader);
  return raftLeader
    ? `it cannot reach the raft leader ${nameOf(raftLeader)}, which the others follow`
    : `it cannot reach ${listOf(hidden.map(nameOf))}, which the raft leader hears`;
}

/** Rejects with {@link StandsBack} once no round has finished for {@link noRoundMs} and another agent could lead. */
export class RoundWatch {
  readonly #clock: Clock;
  readonly #couldLead: () => boolean;
  #finishedMs: number;

  constructor(clock: Clock, anotherCouldLead: () => boolean) {
    this.#clock = clock;
    this.#couldLead = anotherCouldLead;
    this.#finishedMs = clock.nowMs();
  }

  finished(): void {
    this.#finishedMs = this.#clock.nowMs();
  }

  async run(signal: AbortSignal): Promise<never> {
    for (;;) {
      const leftMs = this.#finishedMs + noRoundMs - this.#clock.nowMs();
      if (leftMs <= 0 && this.#couldLead()) throw new StandsBack(`it finished no round in ${noRoundMs / 1_000} s`);
      await this.#clock.sleep(Math.max(againMs, leftMs), signal);
    }
  }
}

/** Keeps an agent that stood back from standing for election, over all its sessions. */
export class StandBack {
  readonly #clock: Clock;
  #backMs = 0;
  #sinceMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Lets the next candidate lead, whatever it takes while the session lives, and starts the time of not standing. */
  async begin(
    { client, leadership }: { readonly client: EtcdClient; readonly leadership: Leadership },
    signal: AbortSignal,
  ): Promise<number> {
    const nowMs = this.#clock.nowMs();
    this.#backMs = nowMs - this.#sinceMs > forgottenMs ? firstBackMs : Math.min(longestBackMs, 2 * this.#backMs);
    this.#sinceMs = nowMs;
    await leadership.resign();
    for (;;) {
      try {
        await client.txn({ then: [{ del: leadership.key }] }, { signal, repeatable: true });
        return this.#backMs;
      } catch (error) {
        signal.throwIfAborted();
        if (!isRetryable(error)) throw error;
        await this.#clock.sleep(againMs, signal);
      }
    }
  }

  /** Settles when this agent may stand again: in time, or as soon as nobody else does. */
  async over(view: ControlView, keys: Keys, hostname: string, signal: AbortSignal): Promise<void> {
    const leftMs = this.#sinceMs + this.#backMs - this.#clock.nowMs();
    if (leftMs <= 0) return;
    await firstOf<void>(
      signal,
      (s) => this.#clock.sleep(leftMs, s),
      (s) => view.until(() => view.complete && !anotherStands(view, keys, hostname), s),
    );
  }
}
