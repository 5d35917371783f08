import type { MemberRow } from "../../etcd/index.ts";
import { quorumOf } from "./gate.ts";

/** Longer ago than a gate may take itself, what it showed is forgotten. */
export const freshMs = 500;

/**
 * What the gate showed right before a removal, for the promotion that follows it back to back. Between the two the cluster has a voter
 * less than it wants; a gate of its own would make that time three heartbeats longer, in which it survives no loss. Nothing is taken on
 * trust for it: the promotion has its second look and its record, fenced and committed by those very voters.
 */
export class LastGate {
  #shown:
    | { readonly passed: ReadonlySet<string>; readonly raftLeader: string; readonly rows: string; readonly atMs: number }
    | undefined;

  /** The members that took part when a removal was let through, at the time at which that was measured. */
  keep(removed: string, rows: readonly MemberRow[], raftLeader: string, passed: ReadonlySet<string>, atMs: number): void {
    const after = rows.filter((row) => row.id !== removed);
    this.#shown = { passed: new Set([...passed].filter((id) => id !== removed)), raftLeader, rows: textOf(after), atMs };
  }

  /** A removal was let through a moment ago. */
  isFresh(nowMs: number): boolean {
    return this.#shown !== undefined && nowMs - this.#shown.atMs <= freshMs;
  }

  /**
   * Those members, once, where they were measured a moment ago, nothing but that removal has changed since, and the voters among them
   * are a quorum of what is there after the promotion: a learner that died meanwhile takes nothing with it then.
   */
  take(rows: readonly MemberRow[], raftLeader: string, nowMs: number): ReadonlySet<string> | undefined {
    const shown = this.#shown;
    this.#shown = undefined;
    if (shown === undefined || nowMs - shown.atMs > freshMs) return undefined;
    if (shown.raftLeader !== raftLeader || shown.rows !== textOf(rows)) return undefined;
    const voters = rows.filter((row) => !row.learner);
    const taking = voters.filter((row) => shown.passed.has(row.id)).length;
    return taking >= quorumOf(voters.length + 1) ? shown.passed : undefined;
  }
}

function textOf(rows: readonly MemberRow[]): string {
  return rows
    .map((row) => `${row.id} ${String(row.learner)}`)
    .sort()
    .join();
}
