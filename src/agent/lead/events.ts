import type { Logger } from "pino";
import type { Facts } from "../../chooser/index.ts";
import type { Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import type { Compare, EtcdClient, Leadership, Op } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { short, writeRecord, type EventRecord } from "../control/records.ts";

interface EventDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger;
  readonly leadership: Leadership;
  /** Who leads. */
  readonly leader: string;
}

/** What is told of one thing that was done or seen. */
export interface Told extends Pick<EventRecord, "step" | "agent" | "member" | "what" | "because"> {
  readonly facts?: Facts | undefined;
}

/** The newest ones are kept. */
export const eventsKept = 1_000;
/** Counted anew after so many: at most that many more are there for a while. */
const countEvery = 50;
const pruneAtOnce = 500;
const pruneTimeoutMs = 5_000;
/** What one event tells of a crowd. */
const most = { members: 40, spares: 20 };

/** What the leader did and saw, kept in etcd in the order in which it was: the newest {@link eventsKept}. */
export class EventLog {
  readonly #deps: EventDeps;
  #revision = 0;
  #sequence = 0;
  /** Uncounted ones; the first leader to look may find any number. */
  #uncounted = countEvery;
  #pruning: Promise<void> | undefined;

  constructor(deps: EventDeps) {
    this.#deps = deps;
  }

  /**
   * The write of one event, for the txn that does what it tells of. `revision` is that of the look it rests on: looks of one leader, and
   * of one leader and the next, are in order, and so are the keys.
   */
  put(revision: number, told: Told): Op {
    this.#sequence = revision === this.#revision ? this.#sequence + 1 : 0;
    this.#revision = revision;
    this.#uncounted += 1;
    return this.#op(`${digits(revision, 16)}-${digits(this.#sequence, 3)}`, told);
  }

  /** The write of an event that any leader may tell and none is to tell twice, with the condition for it. */
  putOnce(revision: number, name: string, told: Told): { readonly compare: Compare; readonly op: Op } {
    this.#uncounted += 1;
    const op = this.#op(`${digits(revision, 16)}-${name}`, told);
    return { op, compare: { key: op.put, createRevision: 0 } };
  }

  #op(id: string, { facts, because, what, ...rest }: Told): Op & { readonly put: string } {
    const { keys, clock, leadership, leader } = this.#deps;
    const record: EventRecord = {
      schema: 1,
      ...rest,
      what: short(what),
      because: short(because),
      leader,
      leaderRevision: leadership.revision,
      at: clock.wallTime().toISOString(),
      ...(facts && {
        facts: { ...facts, members: facts.members.slice(0, most.members), spares: facts.spares.slice(0, most.spares) },
      }),
    };
    return { put: keys.events.key(id), value: writeRecord("event", record) };
  }

  /** Removes the oldest in the background, when enough were written since it was last asked. */
  prune(signal: AbortSignal): void {
    if (this.#uncounted < countEvery || this.#pruning) return;
    this.#uncounted = 0;
    this.#pruning = this.#pruneNow(signal)
      .catch((error: unknown) => {
        if (!signal.aborted) this.#deps.log.debug({ reason: messageOf(error) }, "old events not removed");
      })
      .finally(() => {
        this.#pruning = undefined;
      });
  }

  /** Settles when nothing runs in the background any more. */
  async idle(): Promise<void> {
    await this.#pruning;
  }

  async #pruneNow(signal: AbortSignal): Promise<void> {
    const { client, keys, leadership } = this.#deps;
    const options = { signal, timeoutMs: pruneTimeoutMs };
    for (;;) {
      const { count } = await client.range(keys.events, { ...options, countOnly: true });
      const excess = Math.min(count - eventsKept, pruneAtOnce);
      if (excess <= 0) return;
      const { entries } = await client.range(keys.events, { ...options, limit: excess, keysOnly: true });
      const last = entries.at(-1);
      if (!last) return;
      const { succeeded } = await client.txn(
        { compare: [leadership.fence()], then: [{ del: keys.events.start, end: `${last.key}\0` }] },
        { ...options, repeatable: true },
      );
      if (!succeeded) return;
    }
  }
}

/** Tells that a closed cluster goes on. Nobody leads it yet. */
export function wakeEvent(
  keys: Keys,
  woken: { readonly hostname: string; readonly formerSize: number; readonly revision: number; readonly clock: Clock },
): Op {
  const record: EventRecord = {
    schema: 1,
    step: "size",
    agent: woken.hostname,
    what: `the cluster goes on: the size is ${woken.formerSize} again`,
    because: `${woken.hostname}, which ended last, was started`,
    leader: woken.hostname,
    leaderRevision: 0,
    at: woken.clock.wallTime().toISOString(),
  };
  return { put: keys.events.key(`${digits(woken.revision, 16)}-wake`), value: writeRecord("event", record) };
}

function digits(n: number, width: number): string {
  return String(n).padStart(width, "0");
}
