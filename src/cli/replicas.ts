import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { lookAtReplicas, type ReplicaLook } from "../world/replica/look.ts";
import { sshRoute } from "../ssh/index.ts";
import type { ClusterView } from "./cluster.ts";
import type { ClientSettings } from "./options.ts";

type Cluster = Pick<ClusterView, "clusterId" | "revision">;

/** The replicas of that cluster on this host. What is kept of another cluster is shown too where it lies under the prefix. */
export function replicasHere(
  prefix: string,
  { namespace, ssh }: Pick<ClientSettings, "namespace" | "ssh">,
  { clusterId }: Cluster,
  signal: AbortSignal,
): Promise<readonly ReplicaLook[]> {
  const meant = { namespace, ssh: ssh && sshRoute(ssh), clusterId };
  return lookAtReplicas({ prefixFolder: join(prefix, "world"), ...meant, clock: systemClock }, signal);
}

/** What the screen says of one, most important first. */
export function replicaLines(look: ReplicaLook, cluster: Cluster): string[] {
  const { folder, file, feederPid, lastRelist, because, lost, foreign } = look;
  const whose = look.of === "own" ? ", of this user's programs alone" : "";
  return [
    stateText(look, cluster),
    `in ${file ?? folder}${feederPid === undefined ? "" : `, fed by process ${feederPid}`}${whose}`,
    ...(lastRelist === undefined ? [] : [`listed anew (${lastRelist.cause}): ${lastRelist.why}`]),
    ...(because === undefined ? [] : [because]),
    ...(lost === undefined ? [] : [`its cluster is out of reach: ${lost}`]),
    ...(foreign === undefined ? [] : [`not listened to: ${foreign}`]),
  ];
}

function stateText(look: ReplicaLook, cluster: Cluster): string {
  const at = look.revision === undefined ? "" : ` at revision ${look.revision}, ${behind(look, cluster)}`;
  switch (look.state) {
    case "live":
      return `live${at}`;
    case "stale":
      return `stale${at}, last heard ${Math.round((look.ageMs ?? 0) / 1_000)} s ago`;
    case "starting":
      return "starting: there is no copy yet";
    case "direct":
      return "none is kept: programs read directly";
    case "cold":
      return "cold: no program uses it";
    case "unanswered":
      return "unknown: its feeder does not answer";
    case "closed":
      return "not for this user";
  }
}

function behind(look: ReplicaLook, cluster: Cluster): string {
  const lag = lagOf(look, cluster);
  return lag === undefined ? `of cluster ${look.clusterId ?? "?"}` : `${lag} behind`;
}

/** In revisions. A replica that was looked at after its cluster may be ahead. Undefined where there is nothing to compare. */
function lagOf(look: ReplicaLook, { clusterId, revision }: Cluster): number | undefined {
  if (look.revision === undefined || look.clusterId !== clusterId) return undefined;
  return Math.max(0, revision - look.revision);
}

/** The same for programs. */
export function replicaData(look: ReplicaLook, cluster: Cluster): Record<string, unknown> {
  return {
    of: look.of,
    folder: look.folder,
    file: look.file ?? null,
    state: look.state,
    clusterId: look.clusterId ?? null,
    revision: look.revision ?? null,
    lag: lagOf(look, cluster) ?? null,
    ageMs: look.ageMs === undefined ? null : Math.round(look.ageMs),
    feederPid: look.feederPid ?? null,
    lastRelist: look.lastRelist ?? null,
    because: look.because ?? null,
    lost: look.lost ?? null,
    foreign: look.foreign ?? null,
  };
}
