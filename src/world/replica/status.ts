import type { EtcdClient } from "../../etcd/index.ts";
import type { Copy } from "./copy.ts";
import type { ReplicaMetrics, ReplicaStatus } from "./types.ts";

export interface StatusParts {
  readonly client: EtcdClient;
  readonly folder: string | undefined;
  readonly because: readonly string[];
  /** Milliseconds since the machine's start. */
  readonly uptimeMs: () => number;
}

export function statusOf(copy: Copy | undefined, isClosed: boolean, parts: StatusParts): ReplicaStatus {
  const { client, folder, because, uptimeMs } = parts;
  const trouble = copy?.trouble;
  return {
    state: isClosed ? "closed" : stateOf(copy),
    because: trouble === undefined ? because : [...because, trouble],
    folder,
    clusterId: copy?.state?.clusterId ?? client.clusterId,
    endpoints: copy?.state?.endpoints ?? client.endpoints.urls(),
    revision: copy?.isThere === true ? copy.revision : 0,
    ageMs: copy?.ageMs(uptimeMs()) ?? 0,
    lastRelist: copy?.state?.lastRelist,
    foreign: copy?.state?.foreign,
    predecessors: copy?.state?.predecessors ?? [],
    lost: copy?.lost,
  };
}

function stateOf(copy: Copy | undefined): ReplicaStatus["state"] {
  if (copy === undefined || copy.isRefused) return "direct";
  if (!copy.isThere) return "starting";
  return copy.live ? "live" : "stale";
}

export function metricsOf(
  copy: Copy | undefined,
  barriers: ReplicaMetrics["barriers"],
  directReads: number,
  { uptimeMs }: StatusParts,
): ReplicaMetrics {
  return {
    revision: copy?.isThere === true ? copy.revision : 0,
    ageMs: copy?.ageMs(uptimeMs()) ?? 0,
    relists: copy?.state?.relists ?? {},
    applied: copy?.applied ?? { transactions: 0, changes: 0, ms: 0 },
    barriers,
    directReads,
    skippedKeys: copy?.state?.skipped ?? 0,
    feederConnections: copy?.connections ?? 0,
  };
}
