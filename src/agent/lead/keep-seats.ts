import type { Facts } from "../../chooser/index.ts";
import type { Clock } from "../../clock.ts";
import { grantLease, type EtcdClient, type Leadership, type MemberRow } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { FormerSeats, FormerSeat } from "../control/former-seats.ts";
import { writeRecord } from "../control/records.ts";
import type { EventLog } from "./events.ts";
import { agentOf, type Look } from "./look.ts";

interface KeepSeatsDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly leadership: Leadership;
  readonly events: EventLog;
  /** What this agent has heard of seats, as leader or before that. */
  readonly formerSeats: Pick<FormerSeats, "get">;
}

/** An agent that lives has written its own keys again by then. */
export const deletedForMs = 15_000;

/**
 * Writes the seats of absent agents again that somebody deleted, from what this agent had heard of them: without their records nobody
 * could tell them from a stranger's members, which are never removed. Agents that are there are nominated anew by the chooser's rules.
 *
 * An announced restart may have been deleted with the rest, so such a host has the grace of one.
 */
export class KeepSeats {
  readonly #deps: KeepSeatsDeps;
  /** Since when the voter of that id belongs to nobody. */
  readonly #sinceMs = new Map<string, number>();

  constructor(deps: KeepSeatsDeps) {
    this.#deps = deps;
  }

  async keep(look: Look, facts: Facts, graceMs: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#deps.clock.nowMs();
    const rows = look.membership.members.filter((row) => !row.learner && agentOf(row, look) === undefined);
    for (const id of [...this.#sinceMs.keys()]) if (!rows.some((row) => row.id === id)) this.#sinceMs.delete(id);
    for (const row of rows) {
      const seat = this.#deps.formerSeats.get(row.id);
      // The name is what the agent gave its server: a record alone, which anyone can write, makes no stranger's member ours.
      if (seat?.host !== row.name) continue;
      const sinceMs = this.#sinceMs.get(row.id) ?? nowMs;
      const isDue = nowMs - sinceMs >= deletedForMs;
      this.#sinceMs.set(row.id, isDue ? nowMs : sinceMs);
      if (isDue) await this.#write(row, seat, look, facts, graceMs, signal);
    }
  }

  async #write(
    row: MemberRow,
    { host, record }: FormerSeat,
    look: Look,
    facts: Facts,
    graceMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, keys, clock, leadership, events } = this.#deps;
    const [seat, nominated] = [keys.seats.key(host), keys.nominated.key(host)];
    const lease = await grantLease(client, { ttlMs: graceMs, clock }, signal);
    await client.txn(
      {
        compare: [leadership.fence(), { key: seat, createRevision: 0 }, { key: nominated, createRevision: 0 }],
        then: [
          { put: nominated, value: row.peerUrls.join(",") },
          { put: seat, value: writeRecord("seat", { ...record, role: "voter" }) },
          {
            put: keys.restarting.key(host),
            value: writeRecord("reason", { reason: "its keys were deleted, and it may be about to come back" }),
            lease,
          },
          events.put(look.membership.revision, {
            step: "renominate",
            agent: host,
            member: row.id,
            what: `wrote the seat of ${host} again`,
            because: "it was deleted, and its agent is not there to be asked",
            facts,
          }),
        ],
      },
      { signal, repeatable: true },
    );
  }
}
