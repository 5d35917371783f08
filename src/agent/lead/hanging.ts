import type { Clock } from "../../clock.ts";
import type { EtcdClient, MemberRow } from "../../etcd/index.ts";
import { hearDeadlineMs, metricsOf } from "./gate.ts";

/** What the raft leader does with a peer. */
export interface Sending {
  /** It takes its connections to the peer for good. */
  readonly active: boolean;
  readonly bytes: number;
}

/**
 * By etcd's `etcd_network_active_peers{Remote}` and `etcd_network_peer_sent_bytes_total{To}`. A peer that no connection was ever made to
 * has neither.
 */
export function sendingTo(member: string, metrics: string): Sending {
  const numberOf = (pattern: RegExp): number => {
    for (const [, id, value] of metrics.matchAll(pattern)) if (id?.replace(/^0+(?=.)/, "") === member) return Number(value);
    return 0;
  };
  return {
    active: numberOf(/^etcd_network_active_peers\{[^}]*Remote="([0-9a-f]+)"[^}]*\} (\S+)$/gm) > 0,
    bytes: numberOf(/^etcd_network_peer_sent_bytes_total\{To="([0-9a-f]+)"\} (\S+)$/gm),
  };
}

/**
 * Why a member cannot be removed without holding the raft leader up; undefined when it can. A raft leader that removes a peer waits for
 * the write to it that is under way, for as long as all others then wait for the raft leader. To a peer that is cut off in silence a
 * heartbeat hangs once the connection's buffer is full, for 5 s (`rafthttp.ConnWriteTimeout`); then the raft leader knows that it is lost.
 * So: while the raft leader takes the connection for good, it must have sent something within three heartbeats.
 */
export async function whyHanging(
  { client, clock }: { readonly client: EtcdClient; readonly clock: Clock },
  { rows, raftLeader, member }: { readonly rows: readonly MemberRow[]; readonly raftLeader: string; readonly member: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  if (member === raftLeader) return undefined;
  const ask = async (): Promise<Sending | undefined> => {
    const metrics = await metricsOf(client, rows, raftLeader, signal);
    return metrics === undefined ? undefined : sendingTo(member, metrics);
  };
  const before = await ask();
  const untilMs = clock.nowMs() + hearDeadlineMs;
  for (let now = before; ; now = await ask()) {
    if (before === undefined || now === undefined || !now.active || now.bytes > before.bytes) return undefined;
    if (clock.nowMs() >= untilMs) return `the raft leader hangs on a connection to member ${member}; it gives that up within 5 s`;
    await clock.sleep(60, signal);
  }
}
