import { systemClock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { parseSize, quote } from "../keys.ts";
import { withCluster, type Cluster } from "./client.ts";
import { lookAtCluster, type ClusterView } from "./cluster.ts";
import type { Io } from "./io.ts";
import type { ClientSettings } from "./options.ts";
import { encode } from "./output.ts";
import { chooserLine, count, strengthOf } from "./roles.ts";
import { shutDown } from "./size-zero.ts";

export interface SizeSettings extends ClientSettings {
  /** Undefined: only tell. */
  readonly size: string | undefined;
  readonly wait: boolean;
  readonly timeoutMs: number;
  /** Size 0 is meant; nobody is to be asked. */
  readonly yes: boolean;
}

const pollMs = 250;

/** `quorate size [N] [--wait] [--yes]`: tells or sets how many members the cluster is to have. */
export async function size(settings: SizeSettings, io: Io): Promise<number> {
  const wanted = settings.size === undefined ? undefined : wantedSize(settings.size);
  return withCluster(settings, async (cluster) => {
    const startMs = systemClock.nowMs();
    let view = await lookAtCluster(cluster.client, cluster.keys, cluster.signal);
    if (wanted !== undefined) {
      refuseStranger(view, cluster.keys.namespace);
      if (wanted === 0) {
        await shutDown(settings, view, cluster, io);
        return 0;
      }
      await cluster.client.put(cluster.keys.idealClusterSize, String(wanted), { signal: cluster.signal });
      for (const note of notes(wanted, view)) io.err(`note: ${note}\n`);
    }
    const goal = wanted ?? view.ideal;
    if (settings.wait && goal !== undefined) view = await waitFor(goal, cluster, settings.timeoutMs);
    const data = sizeData(view, goal);
    if (settings.output !== "table") io.out(encode(data, settings.output));
    else io.out(`${sizeText(view, goal, settings.wait ? systemClock.nowMs() - startMs : undefined)}\n`);
    return 0;
  });
}

/** @throws QuorateError INVALID_OPTION */
function wantedSize(text: string): number {
  const parsed = parseSize(text);
  if ("refused" in parsed) {
    throw new QuorateError("INVALID_OPTION", `Cannot set the size: ${parsed.refused}`, {
      hint: "give a whole number, like `quorate size 3`",
    });
  }
  return parsed.size;
}

function refuseStranger(view: ClusterView, namespace: string): void {
  if (view.marker || view.sizeText !== undefined) return;
  throw new QuorateError(
    "REFUSED",
    `Cannot set the size: the cluster at ${view.endpoint} is not Quorate's (it has no key ${namespace}/quorate/cluster)`,
    {
      hint: "check --endpoints and --namespace",
    },
  );
}

/** What the user should know about the number. */
export function notes(wanted: number, view: ClusterView): string[] {
  const lines: string[] = [];
  const able = view.hosts.filter((host) => (host.member !== undefined || host.volunteers) && !host.leaving).length;
  if (wanted > view.maxSeats) lines.push(`at most ${view.maxSeats} seats are filled`);
  if (Math.min(wanted, view.maxSeats) > able) {
    lines.push(
      `${able === 1 ? "only 1 agent is" : `only ${able} agents are`} there to hold a seat; the cluster grows as others join`,
    );
  }
  if (wanted % 2 === 0 && !view.evenVoters) {
    lines.push(
      wanted === 2
        ? "the second seat stays a learner: two voters survive no loss"
        : `the last seat stays a learner: ${wanted} voters survive no more losses than ${wanted - 1}`,
    );
  }
  return lines;
}

/** The cluster has the size, in the right roles, and its leader is done: the leader's word, as not every voter need be reachable from here. Pure. */
export function hasSize(view: ClusterView, goal: number): boolean {
  const seats = Math.min(goal, view.maxSeats);
  const { members, voters } = strengthOf(view);
  const votersWanted = view.evenVoters || seats % 2 === 1 ? seats : seats - 1;
  // The learner of an even size is the standby; beyond an odd one there is one where somebody is left to be it.
  const most = seats + (voters === seats && seats < view.maxSeats ? view.standbys : 0);
  return (
    members >= seats && members <= most && voters === votersWanted && view.plan?.kind === "settled" && view.plan.ideal === goal
  );
}

/** @throws QuorateError WAIT_TIMEOUT that tells what the cluster waits for. */
async function waitFor(goal: number, { client, keys, signal }: Cluster, timeoutMs: number): Promise<ClusterView> {
  const endMs = systemClock.nowMs() + timeoutMs;
  let seen: ClusterView | undefined;
  let failure: unknown;
  for (;;) {
    try {
      seen = await lookAtCluster(client, keys, signal);
      failure = undefined;
      if (hasSize(seen, goal)) return seen;
    } catch (error) {
      // A cluster that changes its raft leader is silent for a moment.
      if (!(error instanceof QuorateError) || !error.retryable) throw error;
      failure = error;
    }
    if (systemClock.nowMs() >= endMs) break;
    await systemClock.sleep(pollMs, signal);
  }
  const now = seen
    ? `it has ${count(strengthOf(seen).members, "member")} (${chooserLine(seen)}${blocked(seen)})`
    : "it did not answer";
  throw new QuorateError("WAIT_TIMEOUT", `Cannot see ${count(goal, "member")} after ${Math.round(timeoutMs / 1000)} s: ${now}`, {
    cause: failure,
    hint: "`quorate status` tells what it waits for; the size stays as it was set",
  });
}

const blocked = (view: ClusterView): string => (view.plan?.blockedBy === undefined ? "" : `; ${view.plan.blockedBy}`);

export function sizeText(view: ClusterView, goal: number | undefined, tookMs: number | undefined): string {
  const { members } = strengthOf(view);
  if (goal === undefined) {
    return view.sizeText === undefined
      ? `no size is set (${count(members, "member")})`
      : `${quote(view.sizeText)} is not a size (${count(members, "member")})`;
  }
  const took = tookMs === undefined ? "" : ` after ${(tookMs / 1000).toFixed(1)} s`;
  return `${goal} (${count(members, "member")} now${took}; ${chooserLine(view)})`;
}

export function sizeData(view: ClusterView, goal: number | undefined): unknown {
  const { members, voters } = strengthOf(view);
  return {
    idealClusterSize: goal ?? null,
    members,
    voters,
    settled: view.plan?.kind === "settled",
    because: view.plan?.because ?? null,
  };
}
