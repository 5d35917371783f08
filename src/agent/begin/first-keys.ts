import type { EtcdClient } from "../../etcd/index.ts";
import type { ClusterPolicy } from "../control/policy.ts";
import { writeRecord, type Marker } from "../control/records.ts";
import type { ResolvedOptions } from "../resolve.ts";

/** Remembered at most: a client that was away for longer than so many restores starts anew. */
const mostPredecessors = 20;

/** The marker that makes an etcd a cluster of Quorate's. `before`: the one its data has, of a cluster whose backup it was restored from. */
export function firstMarker(clusterId: string, { hostname }: ResolvedOptions, before?: Marker): string {
  const first = { schema: 1, clusterId, foundedBy: hostname } as const;
  if (before === undefined || before.clusterId === clusterId) return writeRecord("marker", first);
  const predecessors = [...(before.predecessors ?? []), before.clusterId].slice(-mostPredecessors);
  return writeRecord("marker", { ...first, predecessors });
}

/** The value of the policy key. */
export function policyText(policy: ClusterPolicy): string {
  return writeRecord("policy", { schema: 1, ...policy });
}

/** What a founder writes: the marker, size and policy, each only where it is absent. */
export async function writeFirstKeys(
  client: EtcdClient,
  options: ResolvedOptions,
  marker: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { keys } = options;
  const absent: (readonly [string, string])[] = [
    ...(marker === undefined ? [] : [[keys.cluster, marker] as const]),
    [keys.idealClusterSize, String(options.idealClusterSize)],
    [keys.policy, policyText(options.policy)],
  ];
  await Promise.all(
    absent.map(([key, value]) =>
      client.txn(
        { compare: [{ key, createRevision: 0 }], then: [{ put: key, value }] },
        { signal, repeatable: true, timeoutMs: 5_000 },
      ),
    ),
  );
}
