import { dynamicSize, type ChooserPolicy, type ClusterSnapshot, type VolunteerSeen } from "../../chooser/index.ts";
import type { Clock } from "../../clock.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { isRefused, readRecord, type PlanRecord } from "../control/records.ts";
import { hear } from "./gate.ts";
import { chooserPolicy } from "./keep.ts";
import { look, statuses, type Look } from "./look.ts";
import { Memory, raftLeaderOf } from "./memory.ts";
import { snapshotOf, type Sight } from "./snapshot.ts";

/** What the chooser would be given now. */
export interface Onlook {
  readonly snapshot: ClusterSnapshot;
  readonly policy: ChooserPolicy;
  /** Quorate founded or adopted this cluster. */
  readonly ours: boolean;
}

/** Longer than everything the chooser waits for. */
const longMs = 3_600_000;
const statusMs = 1_000;
/** Three heartbeats, and a little: who is heard has sent something by then. */
const hearingMs = 400;
/** As an agent founds without being told. */
const firstSize = 5;

/**
 * Looks as the leader does, without being it, and changes nothing. Who has just come has no history, so members that answer count as
 * healthy for long, and silent ones as silent since now; volunteers count as proved unless the leader says that they failed.
 */
export async function onlook(
  { client, keys, clock }: { readonly client: EtcdClient; readonly keys: Keys; readonly clock: Clock },
  signal: AbortSignal,
): Promise<Onlook> {
  const memory = new Memory(clock.nowMs());
  let sight = await see(client, keys, clock, signal);
  let plan = published(sight.look, keys);
  const snapshotNow = (): ClusterSnapshot =>
    snapshotOf(sight, {
      name: plan?.leader ?? "",
      memory,
      size: plan?.ideal ?? firstSize,
      preflightOf: (host) => preflightOf(host, plan),
    });
  let snapshot = snapshotNow();
  if (sight.heard) {
    // What the raft leader hears of those that are silent is told by two counts.
    await clock.sleep(hearingMs, signal);
    sight = await see(client, keys, clock, signal);
    plan = published(sight.look, keys);
    snapshot = snapshotNow();
  }
  const members = snapshot.members.map((m) => ({ ...m, healthyForMs: m.answers ? longMs : 0 }));
  return {
    snapshot: { ...snapshot, members, leaderForMs: longMs, ...wishOf(sight.look.policy.inForce.chooser, plan) },
    policy: chooserPolicy(sight.look.policy.inForce, 0),
    ours: sight.look.marker !== undefined,
  };
}

async function see(client: EtcdClient, keys: Keys, clock: Clock, signal: AbortSignal): Promise<Sight> {
  const seen = await look(client, keys, signal);
  const rows = seen.membership.members;
  const answers = await statuses(client, rows, statusMs, signal);
  const silent = rows.some((row) => !answers.has(row.id));
  const heard = silent ? await hear(client, rows, raftLeaderOf(rows, answers), signal) : undefined;
  return { look: seen, answers, heard, nowMs: clock.nowMs() };
}

function published({ membership }: Look, keys: Keys): PlanRecord | undefined {
  const value = membership.ranges.flat().find((entry) => entry.key === keys.plan)?.value;
  const record = value === undefined ? undefined : readRecord("planRecord", value);
  return record && !isRefused(record) ? record : undefined;
}

/** A chooser of one's own runs in the leader only: what it wished for last is taken for what it wishes for now. */
function wishOf(by: string, plan: PlanRecord | undefined): Pick<ClusterSnapshot, "wish"> {
  if (by === dynamicSize.name) return {};
  const told = plan?.wish?.by === by ? plan.wish : undefined;
  if (told?.seats) return { wish: { by, seats: told.seats, faults: [] } };
  return { wish: { by, failed: "unknown", why: told?.why ?? "no leader has told what it wishes for" } };
}

function preflightOf(host: string, plan: PlanRecord | undefined): VolunteerSeen["preflight"] {
  const failed = plan?.unfit?.find(({ agent }) => agent === host);
  return failed ? { state: "failed", reason: failed.reason } : { state: "passed" };
}
