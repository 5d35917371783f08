import { passOn, type Clock } from "../../clock.ts";
import type { EndpointStatus, EtcdClient, MemberRow } from "../../etcd/index.ts";
import type { StepRecord } from "../control/records.ts";
import { askMember } from "./look.ts";
import type { Heard } from "./memory.ts";

/** A member call, as far as the gate is concerned. */
export interface GatedCall {
  readonly op: StepRecord["op"];
  readonly member: string | undefined;
  /** The ideal size or a leave asks for it, so failure tolerance may fall. */
  readonly mayLowerTolerance: boolean;
}

export interface GateInput {
  readonly rows: readonly MemberRow[];
  readonly raftLeader: string;
  readonly call: GatedCall;
  /** A call recorded earlier that may still land, before this one or after it. */
  readonly open?: OpenCall | undefined;
}

interface OpenCall {
  readonly op: GatedCall["op"];
  readonly member?: string | undefined;
}

/** Undefined: the call may be sent. Otherwise why not. */
export type GateVerdict = string | undefined;

/** Which members of the configuration after the call have to be counted on. */
export function configurationAfter(
  rows: readonly MemberRow[],
  { op, member }: GatedCall,
): { readonly voters: readonly string[]; readonly mustPass: readonly string[] } {
  const voters = rows.filter((row) => !row.learner).map((row) => row.id);
  switch (op) {
    case "add-learner":
    case "update-urls":
      return { voters, mustPass: [] };
    case "promote":
      if (member === undefined) return { voters, mustPass: [] };
      return { voters: [...new Set([...voters, member])], mustPass: [member] };
    case "remove":
      return { voters: voters.filter((id) => id !== member), mustPass: [] };
  }
}

/** The arithmetic, apart from the measuring. What may still land counts both ways: as gone already, and as not yet. */
export function verdict({ rows, call, open }: Omit<GateInput, "raftLeader">, passed: ReadonlySet<string>): GateVerdict {
  const asItIs = judge(rows, call, passed);
  if (asItIs !== undefined || open === undefined || isSame(open, call)) return asItIs;
  const asItMayBe = judge(landed(rows, open), call, passed);
  return asItMayBe && `${asItMayBe}, if the recorded ${open.op} of ${open.member ?? "a learner"} still lands`;
}

function isSame(open: OpenCall, call: GatedCall): boolean {
  return open.op === call.op && open.member === call.member;
}

/** The members, once a call has landed. A learner more or less counts for nothing. */
function landed(rows: readonly MemberRow[], { op, member }: OpenCall): readonly MemberRow[] {
  switch (op) {
    case "add-learner":
    case "update-urls":
      return rows;
    case "promote":
      return rows.map((row) => (row.id === member ? { ...row, learner: false } : row));
    case "remove":
      return rows.filter((row) => row.id !== member);
  }
}

function judge(rows: readonly MemberRow[], call: GatedCall, passed: ReadonlySet<string>): GateVerdict {
  const after = configurationAfter(rows, call);
  const missing = after.mustPass.find((id) => !passed.has(id));
  if (missing !== undefined) return `member ${missing} does not take part yet`;
  if (after.voters.length === 0) return "no voter would be left";
  const alive = after.voters.filter((id) => passed.has(id)).length;
  const quorum = quorumOf(after.voters.length);
  if (alive < quorum) return `only ${alive} of the ${after.voters.length} voters there would be take part, ${quorum} are needed`;
  const before = rows.filter((row) => !row.learner);
  const toleranceBefore = before.filter((row) => passed.has(row.id)).length - quorumOf(before.length);
  if (!call.mayLowerTolerance && alive - quorum < toleranceBefore) {
    return `failure tolerance would fall from ${toleranceBefore} to ${alive - quorum}`;
  }
  return undefined;
}

export function quorumOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** Bytes the raft leader has received from each peer, by member id. Source: etcd's `etcd_network_peer_received_bytes_total`. */
export function receivedBytes(metrics: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [, id, value] of metrics.matchAll(/^etcd_network_peer_received_bytes_total\{From="([0-9a-f]+)"\} (\S+)$/gm)) {
    if (id !== undefined) found.set(id.replace(/^0+(?=.)/, ""), Number(value));
  }
  return found;
}

export async function hear(
  client: EtcdClient,
  rows: readonly MemberRow[],
  raftLeader: string | undefined,
  signal: AbortSignal,
): Promise<Heard> {
  const metrics = await metricsOf(client, rows, raftLeader, signal);
  return metrics === undefined ? undefined : receivedBytes(metrics);
}

/** What the raft leader's server counts; undefined when it cannot be read. */
export async function metricsOf(
  client: EtcdClient,
  rows: readonly MemberRow[],
  raftLeader: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  const urls = rows.find((row) => row.id === raftLeader)?.clientUrls ?? [];
  try {
    return await Promise.any(urls.map((url) => client.metrics(url, { signal, timeoutMs: 1_000 })));
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** Whether a member follows the raft leader that `leader` is, and has applied `revision`. */
export function hasApplied(status: EndpointStatus, leader: EndpointStatus, revision: number): boolean {
  return status.raftLeader === leader.memberId && status.raftTerm === leader.raftTerm && status.revision >= revision;
}

const applyDeadlineMs = 500;
/** Three heartbeats of etcd's default 100 ms, and a little. */
export const hearDeadlineMs = 350;

/**
 * Which members take part *now*: each has applied a revision that was written just before, names the same raft leader and term, and
 * its bytes reach the raft leader. A Status alone is no proof: a paused or cut follower looks healthy for seconds.
 *
 * `write` makes that revision and returns it; it runs after the first reading of the raft leader's counters. Nobody is waited for once
 * those that have shown it are `enough`, so long after the write: else the dead would hold up the one who is to replace them.
 */
export async function takingPart(
  deps: { readonly client: EtcdClient; readonly clock: Clock },
  { rows, raftLeader }: Pick<GateInput, "rows" | "raftLeader">,
  write: () => Promise<number>,
  signal: AbortSignal,
  enough: (passed: ReadonlySet<string>, sinceMs: number) => boolean = () => false,
): Promise<ReadonlySet<string>> {
  const { client, clock } = deps;
  const alone = rows.filter((row) => row.clientUrls.length > 0).length === 1;
  const before = alone ? undefined : await hear(client, rows, raftLeader, signal);
  const revision = await write();
  const applied = new Set<string>();
  const leaderRow = rows.find((row) => row.id === raftLeader);
  const leader = leaderRow && (await askMember(client, leaderRow, applyDeadlineMs, signal));
  if (leader?.raftLeader !== raftLeader) return applied;
  const writtenMs = clock.nowMs();
  const untilMs = writtenMs + applyDeadlineMs;
  const over = new AbortController();
  const release = passOn([signal], over);
  const own = over.signal;
  const applying = Promise.all(
    rows.map(async (row) => {
      if (row.clientUrls.length === 0) return;
      for (;;) {
        const leftMs = untilMs - clock.nowMs();
        if (leftMs <= 0) return;
        const status = await askMember(client, row, Math.ceil(leftMs), own);
        if (status && hasApplied(status, leader, revision)) {
          applied.add(row.id);
          return;
        }
        await clock.sleep(5, own);
      }
    }),
  ).then(() => true);
  applying.catch(() => undefined);
  try {
    if (alone || !before) await applying;
    if (alone) return applied;
    if (!before) return new Set();
    const passed = new Set<string>();
    for (let untilHeardMs: number | undefined; ;) {
      const all = await Promise.race([applying, clock.sleep(30, own).then(() => false)]);
      if (all) untilHeardMs ??= clock.nowMs() + hearDeadlineMs;
      const now = await hear(client, rows, raftLeader, signal);
      if (applied.has(raftLeader)) passed.add(raftLeader);
      for (const id of applied) if ((now?.get(id) ?? 0) > (before.get(id) ?? 0)) passed.add(id);
      if (enough(passed, clock.nowMs() - writtenMs)) return passed;
      if (untilHeardMs === undefined) continue;
      if (passed.size === applied.size || clock.nowMs() >= untilHeardMs) return passed;
      await clock.sleep(30, signal);
    }
  } finally {
    over.abort(new DOMException("Enough members take part", "AbortError"));
    release();
    await applying.catch(() => undefined);
  }
}
