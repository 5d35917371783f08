import type { Cluster } from "./cluster.ts";
import type { Store, StoreEvent, WireKeyValue } from "./store.ts";

export interface RangeRequest {
  readonly key: Buffer;
  readonly range_end?: Buffer;
  readonly limit?: number;
  readonly keys_only?: boolean;
  readonly count_only?: boolean;
}

interface Put {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly lease?: string;
}

type WireOp =
  | { readonly request_put: Put }
  | { readonly request_delete_range: { readonly key: Buffer; readonly range_end?: Buffer } }
  | { readonly request_range: RangeRequest };

interface WireCompare {
  readonly key: Buffer;
  readonly target: string;
  readonly create_revision?: number;
  readonly mod_revision?: number;
  readonly value?: Buffer;
  readonly lease?: string;
}

export interface TxnRequest {
  readonly compare: readonly WireCompare[];
  readonly success: readonly WireOp[];
  readonly failure: readonly WireOp[];
}

const nothing = Buffer.alloc(0);

/** An older revision than the present one is not kept: nobody asks for it but a listing of several pages. */
export function rangeResponse(
  store: Store,
  { key, range_end, limit = 0, keys_only, count_only }: RangeRequest,
): {
  readonly kvs: readonly WireKeyValue[];
  readonly count: string;
  readonly more: boolean;
} {
  const found = store.range(key.toString(), range_end === undefined || range_end.length === 0 ? undefined : range_end.toString());
  const most = limit === 0 ? found.length : limit;
  const kvs =
    count_only === true ? [] : found.slice(0, most).map(({ wire }) => (keys_only === true ? { ...wire, value: nothing } : wire));
  return { kvs, count: String(found.length), more: count_only !== true && found.length > most };
}

function holds(store: Store, compare: WireCompare): boolean {
  const entry = store.get(compare.key.toString());
  switch (compare.target) {
    case "Create":
      return (entry?.createRevision ?? 0) === Number(compare.create_revision);
    case "Mod":
      return (entry?.modRevision ?? 0) === Number(compare.mod_revision);
    case "Value":
      return entry !== undefined && entry.value === compare.value?.toString();
    case "Lease":
      return (entry?.lease ?? "0") === compare.lease;
    default:
      throw new Error(`The model cannot compare ${compare.target}`);
  }
}

interface Done {
  readonly succeeded: boolean;
  readonly responses: readonly unknown[];
  readonly revision: number;
  /** etcd's own words. */
  readonly refused?: string;
}

export function txn(cluster: Cluster, request: TxnRequest): Done {
  const { store } = cluster;
  const succeeded = request.compare.every((one) => holds(store, one));
  const ops = succeeded ? request.success : request.failure;
  const lost = ops.some(
    (op) => "request_put" in op && op.request_put.lease !== undefined && !store.leases.has(op.request_put.lease),
  );
  if (lost) return { succeeded: false, responses: [], revision: store.revision, refused: "requested lease not found" };
  const responses: unknown[] = [];
  const run = (revision: number, events: StoreEvent[]): void => {
    for (const op of ops) responses.push(one(store, op, revision, events));
  };
  if (ops.every((op) => "request_range" in op)) {
    run(store.revision, []);
    return { succeeded, responses, revision: store.revision };
  }
  cluster.onTxn(request, succeeded);
  return { succeeded, responses, revision: cluster.commit(run) };
}

function one(store: Store, op: WireOp, revision: number, events: StoreEvent[]): unknown {
  if ("request_put" in op) {
    const { key, value, lease } = op.request_put;
    store.put(key.toString(), value.toString(), lease ?? "0", revision, events);
    return { response_put: {} };
  }
  if ("request_delete_range" in op) {
    const { key, range_end } = op.request_delete_range;
    for (const { key: gone } of store.range(key.toString(), range_end?.toString())) store.delete(gone, revision, events);
    return { response_delete_range: {} };
  }
  return { response_range: rangeResponse(store, op.request_range) };
}
