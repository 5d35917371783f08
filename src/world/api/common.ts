import type { Observable } from "rxjs";

export interface CallOptions {
  /** The call ends with ABORTED when it fires; what was sent already ends with OUTCOME_UNKNOWN. */
  readonly signal?: AbortSignal;
  /** Milliseconds. Default 5,000. */
  readonly timeoutMs?: number;
}

/**
 * How fresh a read has to be.
 *
 * - `local`: what the replica has, however old; the result says how old. Works while the cluster is out of reach.
 * - `session`, the default: never older than what this World has read or written before.
 * - `linearizable`: not older than anything that was acknowledged to anybody before the call.
 * - `{ atLeast }`: of that revision or a later one.
 * - `{ maxStaleMs }`: not older than what a linearizable read that long ago would have said.
 * - `direct`: asks the cluster, linearizably, and leaves the replica alone.
 */
export type ReadMode =
  "local" | "session" | "linearizable" | "direct" | { readonly atLeast: number } | { readonly maxStaleMs: number };

export interface ReadOptions extends CallOptions {
  readonly read?: ReadMode;
}

/** What every read says of itself. */
export interface Read {
  /** It is what the cluster had at this revision. */
  readonly revision: number;
  /** Milliseconds since the cluster was last heard; 0 while changes arrive. */
  readonly ageMs: number;
}

/** One value. */
export interface Value<T> extends Read {
  /** Undefined where there is none. */
  readonly value: T | undefined;
  /** At which it was written last, for `ifRevision`; 0 where there is none. */
  readonly modRevision: number;
}

/** What every write says of itself. */
export interface Written {
  /** False where the store held exactly that already: nothing was written, no revision made, nobody woken. */
  readonly changed: boolean;
  /** At which it is so. */
  readonly revision: number;
}

/** Proof of a lock or a leadership: a write with it fails with FENCED once somebody else may hold it. */
export interface Fence {
  readonly key: string;
  /** No two holders have the same, later ones have a higher. */
  readonly revision: number;
  /** Throws WorldError LOCK_LOST, LEADERSHIP_LOST, SESSION_LOST or CLOSED once it is lost, by the clock and not by timers. */
  check(): void;
}

/** A lease that is kept alive, until `signal` fires. What hangs on it vanishes at most its TTL after this process has died. */
export interface Session extends AsyncDisposable {
  /** As etcdctl prints it. */
  readonly leaseId: string;
  /** As granted. */
  readonly ttlMs: number;
  /** Fires before etcd can expire the lease. Reason: WorldError SESSION_LOST or CLOSED. */
  readonly signal: AbortSignal;
  /** Throws the signal's reason once it is over, by the clock and not by timers. */
  check(): void;
  /** Revokes the lease, and with it all that hangs on it; takes 1 s at most. Idempotent. */
  close(): Promise<void>;
}

/**
 * How long what is written lives.
 *
 * - `session`: as long as this World's session; see `world.session()`.
 * - a session of your own.
 * - `{ ttl }`: so many seconds from this write on (etcd's whole seconds, 2 at least), unless it is written again.
 */
export type Lease = "session" | Session | { readonly ttl: number };

export interface DeleteOptions extends CallOptions {
  /** Only where it was last written at this revision. Fails with CONFLICT. */
  readonly ifRevision?: number;
  /** Only while its holder holds it. Fails with FENCED. */
  readonly fence?: Fence;
}

export interface WriteOptions extends DeleteOptions {
  /** Default: for ever. What was leased before is for ever when it is written without. */
  readonly lease?: Lease;
  /** Only where there is none. Fails with CONFLICT. */
  readonly ifAbsent?: boolean;
}

/** Changes arrive, or do not: then `lagMs` milliseconds have passed since the cluster was heard. After the snapshot, and when that changes. */
export interface StateEvent {
  readonly kind: "state";
  readonly live: boolean;
  readonly lagMs: number;
}

/** Of one value. */
export type ValueEvent<T> =
  /** First, once; also where there is none. */
  | { readonly kind: "snapshot"; readonly value: T | undefined; readonly modRevision: number; readonly revision: number }
  /** `changes`: at this revision. `resynced`: what was between cannot be had, and this is the difference. */
  | {
      readonly kind: "changes" | "resynced";
      readonly value: T | undefined;
      readonly previous: T | undefined;
      readonly modRevision: number;
      readonly revision: number;
    }
  | StateEvent;

export type Change<T> =
  | { readonly type: "set"; readonly item: T; readonly previous: T | undefined }
  | { readonly type: "deleted"; readonly previous: T };

/** Of several items. */
export type ListEvent<T> =
  /** First, once: all there are, also where there are none. */
  | { readonly kind: "snapshot"; readonly items: readonly T[]; readonly revision: number }
  /** `changes`: all of this revision. `resynced`: what was between cannot be had, and this is exactly what differs. */
  | { readonly kind: "changes" | "resynced"; readonly changes: readonly Change<T>[]; readonly revision: number }
  | StateEvent;

export interface WatchOptions<T> {
  /** Ends the watch; it completes. */
  readonly signal?: AbortSignal;
  /**
   * Changes are told when there were none for `minMs`, or after `maxMs` (default ten times that), all of them as one event. The snapshot is
   * told at once.
   */
  readonly settle?: { readonly minMs: number; readonly maxMs?: number };
  /** Whoever iterates slowly gets what happened meanwhile as one event. Default false: each revision by itself. */
  readonly coalesce?: boolean;
  /** A change is not told where it leaves what is equal to what was told last. Default: every write is a change. */
  readonly equal?: (before: T, after: T) => boolean;
  /**
   * Events that wait for a slow iteration, in memory. Default 1,000. What is more stays in the replica's log, and where that ends it is
   * told as a difference. Subscribers are called at once, and have no buffer.
   */
  readonly buffer?: number;
}

/**
 * A watch. Nothing happens before it is subscribed to or iterated; each subscription and each iteration is a watch of its own. It goes on
 * through lost connections, restarts and compactions; it fails with WorldError DENIED, CLOSED, or what is wrong with its arguments, and
 * completes by `WatchOptions.signal`.
 */
export interface Watch<E> extends Observable<E>, AsyncIterable<E> {
  [Symbol.asyncIterator](): AsyncIterator<E, undefined>;
}
