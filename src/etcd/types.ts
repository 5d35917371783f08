/** One key as etcd holds it. Keys and values are text (UTF-8). */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Lease id as a decimal int64, "0" where there is none. */
  readonly lease: string;
}

export interface CallOptions {
  /** The call rejects at once with this signal's reason when it fires. */
  readonly signal?: AbortSignal;
  /** For the whole call, all tries together. Default 2,000. */
  readonly timeoutMs?: number;
  /** Use this endpoint alone, once: no other is tried and nothing is repeated. */
  readonly endpoint?: string;
  /** For reads: where no answer has come after that long, another endpoint is asked as well, and the first answer counts. */
  readonly hedgeMs?: number;
  /** Checked each time the request is about to leave: nothing is sent once the session is over, however long the call has waited. */
  readonly session?: { check(): void };
}

/** One condition of a txn. `createRevision: 0` means that the key does not exist; with `end`, that no key of the range does. */
export type Compare =
  | { readonly key: string; readonly createRevision: number }
  | { readonly key: string; readonly end: string; readonly createRevision: 0 }
  | { readonly key: string; readonly exists: true }
  | { readonly key: string; readonly modRevision: number }
  | { readonly key: string; readonly value: string }
  | { readonly key: string; readonly lease: string };

/** One operation of a txn. `end` makes a half-open range. */
export type Op =
  | { readonly put: string; readonly value: string; readonly lease?: string }
  | { readonly del: string; readonly end?: string }
  | { readonly range: string; readonly end?: string; readonly limit?: number; readonly keysOnly?: boolean };

export interface Txn {
  readonly compare?: readonly Compare[];
  readonly then: readonly Op[];
  readonly else?: readonly Op[];
}

export interface TxnResult {
  readonly succeeded: boolean;
  readonly revision: number;
  /** One list for each range op of the branch that ran, in order. */
  readonly ranges: readonly (readonly KeyValue[])[];
  readonly endpoint: string;
  readonly clusterId: string;
}

export interface RangeResult {
  readonly entries: readonly KeyValue[];
  readonly revision: number;
  /** Keys in the range, also where a limit cut `entries`. */
  readonly count: number;
  readonly more: boolean;
}

export interface MemberRow {
  /** Hex without padding, as etcdctl prints it. */
  readonly id: string;
  /** Empty until the member has started. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly learner: boolean;
}

export interface Membership {
  readonly clusterId: string;
  readonly members: readonly MemberRow[];
  /** Store revision of the linearizable read that came first. */
  readonly revision: number;
  /** What the range ops of `look` found in that read. */
  readonly ranges: readonly (readonly KeyValue[])[];
  readonly endpoint: string;
}

export interface EndpointStatus {
  readonly clusterId: string;
  readonly memberId: string;
  readonly version: string;
  /** Bytes on disk: what etcd's quota is about. */
  readonly dbSize: number;
  /** Bytes of it that hold something. */
  readonly dbSizeInUse: number;
  /** Hex member id, "0" where it knows none. */
  readonly raftLeader: string;
  readonly raftTerm: number;
  readonly raftIndex: number;
  readonly appliedIndex: number;
  readonly learner: boolean;
  /** Of the member's own store: what it has applied, not what the cluster has. */
  readonly revision: number;
  readonly errors: readonly string[];
}
