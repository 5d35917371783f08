import type { EndpointStatus } from "../../etcd/index.ts";
import { hearDeadlineMs } from "./gate.ts";
import type { Heard } from "./memory.ts";

/** One reading of the raft leader's counters. */
export interface Count {
  /** Whose they are; undefined while there is none. Another one, or another term, counts from somewhere else. */
  readonly raftLeader: EndpointStatus | undefined;
  readonly heard: Heard;
  /** When they were asked for, and when the answer was there. */
  readonly askedMs: number;
  readonly nowMs: number;
}

/** The members from which the raft leader had received nothing for three heartbeats, at the time at which it was asked. */
export interface QuietSeen {
  readonly members: ReadonlySet<string>;
  readonly atMs: number;
}

/**
 * Since when the raft leader has received nothing from each member. Whoever was followed for so long has had the time to show that it is
 * not dead, which the gate of its removal would else give it anew.
 */
export class Quiet {
  readonly #since = new Map<string, { readonly bytes: number; readonly atMs: number }>();
  #by = "";

  /** Takes in one reading, and tells who is quiet by it. One that failed tells nothing, and equal numbers before and after it do. */
  count({ raftLeader, heard, askedMs, nowMs }: Count): QuietSeen {
    const by = raftLeader === undefined ? "" : `${raftLeader.memberId} in term ${raftLeader.raftTerm}`;
    if (by !== this.#by) this.#since.clear();
    this.#by = by;
    const members = new Set<string>();
    for (const [id, bytes] of (by === "" ? undefined : heard) ?? []) {
      const since = this.#since.get(id);
      if (since?.bytes !== bytes) this.#since.set(id, { bytes, atMs: nowMs });
      else if (askedMs - since.atMs >= hearDeadlineMs) members.add(id);
    }
    return { members, atMs: askedMs };
  }
}
