import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import type { EtcdClient, Login, TlsFiles } from "../../etcd/index.ts";
import type { KeyRange } from "../../keys.ts";
import type { SshRoute } from "../../ssh/index.ts";
import type { Entry, EntryChange } from "./entry.ts";
import type { Relist, RelistCause } from "./protocol.ts";

/**
 * How fresh a read has to be.
 *
 * - `local`: what the replica has, however old; the result says its age.
 * - `session`: never older than what this replica has read or written before.
 * - `linearizable`: not older than anything that was acknowledged to anybody before the call.
 * - `atLeast`: of that revision or a later one.
 * - `maxStaleMs`: not older than what a linearizable read that long ago would have said.
 * - `direct`: asks the cluster, linearizably, and leaves the replica alone.
 */
export type ReadMode =
  "local" | "session" | "linearizable" | "direct" | { readonly atLeast: number } | { readonly maxStaleMs: number };

export interface ReadOptions {
  /** Default `session`. */
  readonly read?: ReadMode;
  readonly signal?: AbortSignal;
  /** Default 5,000. */
  readonly timeoutMs?: number;
}

/** What every result says of itself. */
export interface ReadPoint {
  /** The result is what the cluster had at this revision. */
  readonly revision: number;
  /** How long ago the cluster was last heard, in milliseconds; 0 while changes arrive. */
  readonly ageMs: number;
}

export interface ReadOne extends ReadPoint {
  readonly entry: Entry | undefined;
}

export interface ReadMany extends ReadPoint {
  readonly entries: readonly Entry[];
  /** A limit cut it. */
  readonly more: boolean;
}

export type ReplicaNews =
  /** Once, first: the whole range, also when it is empty. */
  | { readonly kind: "snapshot"; readonly entries: readonly Entry[]; readonly revision: number }
  /** All changes of one revision, in order. */
  | { readonly kind: "changes"; readonly changes: readonly EntryChange[]; readonly revision: number }
  /** What was between cannot be had: exactly what differs, by key. */
  | { readonly kind: "resynced"; readonly changes: readonly EntryChange[]; readonly revision: number };

/** What of a range is followed, key by key: all of the entry, that and when it was written (its value comes empty), or nothing. */
export type Select = (key: string) => "entry" | "no-value" | "nothing";

export interface FollowOptions {
  /** Default: all of every entry. */
  readonly select?: Select;
  /** Whether changes arrive, whenever that changes. It begins with false. */
  readonly onLive?: (live: boolean) => void;
}

/** A handler that returns a promise is not called again before that has settled; the log waits for it. */
export type OnReplicaNews = (news: ReplicaNews) => void | Promise<void>;

/** Reads of one moment. */
export interface Look {
  get(key: string): Entry | undefined;
  /** In the order of their bytes. */
  range(range: KeyRange): readonly Entry[];
  /** In no order. */
  keys(range: KeyRange): readonly string[];
}

/** The same where every read asks the cluster. */
export interface DirectLook {
  get(key: string): Promise<Entry | undefined>;
  range(range: KeyRange): Promise<readonly Entry[]>;
  keys(range: KeyRange): Promise<readonly string[]>;
}

/** A range that is followed. */
export interface Following extends AsyncDisposable {
  /** Rejects with what the handler threw, or with CLOSED when the replica is closed first. Resolves by `stop()`. */
  readonly over: Promise<void>;
  /** Nothing is told afterwards. Idempotent. */
  stop(): Promise<void>;
}

export interface ReplicaStatus {
  /** `starting`: there is no copy yet. `stale`: there is one, and no changes arrive. `direct`: every read asks the cluster. */
  readonly state: "starting" | "live" | "stale" | "direct" | "closed";
  /** Why reads are direct; why another folder is used than the one that was asked for. */
  readonly because: readonly string[];
  readonly folder: string | undefined;
  readonly clusterId: string | undefined;
  readonly endpoints: readonly string[];
  readonly revision: number;
  /** See {@link ReadPoint.ageMs}. */
  readonly ageMs: number;
  readonly lastRelist: Relist | undefined;
  /** Of another cluster that answers on a known address and is not listened to. */
  readonly foreign: string | undefined;
  /** Clusters, in hex, whose successor the present one is: their replica has followed it. */
  readonly predecessors: readonly string[];
  /** Why the cluster is out of reach. */
  readonly lost: string | undefined;
}

/** Counters since the replica was opened, or since the feeder started. */
export interface ReplicaMetrics {
  readonly revision: number;
  readonly ageMs: number;
  readonly relists: Readonly<Partial<Record<RelistCause, number>>>;
  readonly applied: { readonly transactions: number; readonly changes: number; readonly ms: number };
  readonly barriers: { readonly rounds: number; readonly joined: number; readonly waitMs: number; readonly failed: number };
  readonly directReads: number;
  readonly skippedKeys: number;
  readonly feederConnections: number;
}

export interface ReplicaOptions {
  /** Seeds. Without any, those stored in the folder are used. */
  readonly endpoints?: readonly string[];
  /** How they are reached, where not directly: they are what the last host of the route sees. */
  readonly ssh?: SshRoute;
  /** Files for endpoints with `https`. */
  readonly tls?: TlsFiles;
  /** A unix socket that all endpoints are behind: those of an agent without a network. */
  readonly socket?: string;
  /** Whose connections are used: it has to be open for as long. Default: ones of its own. */
  readonly over?: EtcdClient;
  /** For an etcd with authentication. Without a file for the password there is no replica: a feeder goes on without whoever could tell it. */
  readonly login?: Login;
  /** Default `/_mgmt`. */
  readonly namespace?: string;
  /** Default: one in the user's cache folder, by cluster and namespace. */
  readonly folder?: string;
  /** Hex: what is there of another cluster is no copy of this one. Default: the one the folder is of, else the first that answers. */
  readonly clusterId?: string;
  /** A group, by name or number, whose programs may use the folder too. */
  readonly worldGroup?: string;
  /** False: no file, no feeder; every read asks the cluster. */
  readonly replica?: boolean;
  /** What the file may take. Default 1 GiB. */
  readonly mostBytes?: number;
  /** Compares a random part of the copy with the cluster this often. Default never. */
  readonly auditEveryMs?: number;
  readonly clock: Clock;
  readonly log?: Logger;
  /** From 0 up to 1, for the audit. */
  readonly random?: () => number;
  /** Milliseconds since the machine's start. Default: the operating system's. */
  readonly uptimeMs?: () => number;
  /** Where the machine's boot id is read: for tests. */
  readonly bootIdPath?: string;
}
