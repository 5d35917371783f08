import type { Observable } from "rxjs";
import type { BatchBuilder, BatchOptions, BatchResult } from "./batch.ts";
import type { CallOptions, Fence, Read, ReadOptions, Session } from "./common.ts";
import type { Converger } from "./converger.ts";
import type { Deploys } from "./deploys.ts";
import type { Fs } from "./fs.ts";
import type { Members } from "./members.ts";
import type { Resources } from "./resources.ts";
import type { NamedSchedule, SchedulerOptions, Schedules, Scheduling } from "./scheduler.ts";
import type { IdealClusterSize, Str, StrMap } from "./strings.ts";

export interface TtlOptions extends CallOptions {
  /** Seconds, whole ones, 2 at least: how long it outlives a process that has died. Default: that of the World's session. */
  readonly ttl?: number;
}

/** A lock that is held, until `signal` fires. */
export interface Lock extends Fence, AsyncDisposable {
  /** Fires before anybody else can hold it. Reason: WorldError LOCK_LOST, SESSION_LOST or, once released, CLOSED. */
  readonly signal: AbortSignal;
  /** Lets the next one have it; takes 1 s at most. Idempotent. */
  release(): Promise<void>;
}

/** Leading, until `signal` fires. */
export interface Leadership extends Fence, AsyncDisposable {
  /** Fires before anybody else can lead. Reason: WorldError LEADERSHIP_LOST or SESSION_LOST. */
  readonly signal: AbortSignal;
  /** Lets the next one lead; takes 2 s at most. Idempotent. */
  resign(): Promise<void>;
}

/** What was found in the World's keys that nobody could read: written by others, and passed over. */
export interface Malformed {
  /** Different keys. */
  readonly count: number;
  /** The first 20 of them, and why. */
  readonly examples: readonly { readonly key: string; readonly why: string }[];
}

export interface WorldStatus {
  /** `starting`: there is no copy yet. `stale`: there is one, and no changes arrive. `direct`: every read asks the cluster. */
  readonly state: "starting" | "live" | "stale" | "direct" | "closed";
  /** Why reads are direct; why another folder is used than the one that was asked for. */
  readonly because: readonly string[];
  /** Of the replica. */
  readonly folder: string | undefined;
  readonly clusterId: string | undefined;
  readonly endpoints: readonly string[];
  /** Of the replica; 0 without one. */
  readonly revision: number;
  /** Milliseconds since the cluster was heard; 0 while changes arrive. */
  readonly ageMs: number;
  /** Why the cluster is out of reach. */
  readonly lost: string | undefined;
  /** Of another cluster that answers on a known address and is not listened to. */
  readonly foreign: string | undefined;
  readonly malformed: Malformed;
}

/**
 * A live, consistent World that all hosts share. Every call rejects with WorldError and nothing else.
 *
 * ```ts
 * await using world = await openWorld({ seeds: ["http://127.0.0.1:2379"] });
 * await world.str.set("motd", "hello");
 * ```
 */
export interface World extends AsyncDisposable {
  /** The identity of what this World writes in maps and exports. */
  readonly hostname: string;
  readonly namespace: string;
  readonly str: Str;
  readonly strmap: StrMap;
  readonly resource: Resources;
  readonly deploy: Deploys;
  readonly idealClusterSize: IdealClusterSize;
  readonly members: Members;
  readonly converger: Converger;
  /** Of the tree that `fs()` is: that of `WorldOptions.uri`. Whoever deploys may so say which tree its programs are to read. */
  readonly uri: string;
  /**
   * A tree of files: `etcdfs:///fs/NAME` is one that all hosts share, `memory://NAME` one of this World alone, which ends with it, and
   * `file:///FOLDER` a folder of this machine. Nothing is asked before it is used.
   *
   * ```ts
   * const site = world.fs("etcdfs:///fs/site");
   * await site.writeFile("/motd", "hello\n");
   * ```
   *
   * @param uri Default: {@link World.uri}
   * @throws WorldError INVALID_OPTION
   */
  fs(uri?: string): Fs;
  /**
   * Without `ttl` the World's own session, which `lease: "session"` hangs on: opened with the first use, and anew with the first use
   * after it was lost. With `ttl` one of your own.
   */
  session(options?: TtlOptions): Promise<Session>;
  /**
   * Waits for the lock. `etcdctl lock` with the key's prefix excludes it as well. `timeoutMs` is for the waiting, by default 60,000.
   *
   * ```ts
   * await using lock = await world.lock("migrate");
   * await world.str.set("schema", "7", { fence: lock });
   * ```
   */
  lock(name: string, options?: TtlOptions): Promise<Lock>;
  /** Waits until it leads: for ever, unless `timeoutMs` or `signal` is given. */
  elect(name: string, options?: TtlOptions): Promise<Leadership>;
  /**
   * Runs the job while this World leads, on one host at a time: again each time it comes to lead, until the job has returned while it
   * leads. Before another host can lead the job's signal fires; what it does after that, or throws, counts for nothing.
   *
   * ```ts
   * await world.leaderOnly("reports", async (signal, fence) => {
   *   for await (const event of world.str.watch("report", { signal })) {
   *     if (event.kind !== "state") await world.str.set("reported", event.value ?? "", { fence, signal });
   *   }
   * });
   * ```
   *
   * @returns what the job returned
   * @throws what the job threw while it led; WorldError ABORTED by the call's own signal, once the job has ended
   */
  leaderOnly<T>(
    name: string,
    job: (signal: AbortSignal, fence: Fence) => Promise<T>,
    options?: Omit<TtlOptions, "timeoutMs">,
  ): Promise<T>;
  /**
   * Takes part: this host is a candidate of that namespace until `shutdown()`, and may be elected to schedule. One program of a host takes
   * part at a time: a later one takes over.
   *
   * ```ts
   * const scheduling = await world.scheduler("backup", { maxCount: 2 });
   * const place = await scheduling.whenScheduled();
   * await world.str.set("backup", world.hostname, { fence: place, signal: place.signal });
   * ```
   *
   * @throws WorldError CONFLICT with `data.reason`: `options` (what is given contradicts what is stored: `data.differs`, `data.stored`) or
   *   `taking-part` (this World does already); INVALID_VALUE where what is stored cannot be read
   */
  scheduler(namespace: string, options?: SchedulerOptions): Promise<Scheduling>;
  /** Only looks. Nothing happens before it is asked. */
  scheduled(namespace: string): Schedules;
  /** All schedules there are, by namespace. */
  schedules(options?: ReadOptions): Promise<Read & { readonly schedules: readonly NamedSchedule[] }>;
  /**
   * Several writes in one call. Without `atomic` each has its own fate, and the first failure is thrown once all are over; with it all are
   * written at one revision, or none is; beyond 300 KiB what is unchanged is written too.
   *
   * ```ts
   * await world.batch((b) => {
   *   b.str.set("colour", "blue");
   *   b.strmap.set("ready", "yes", { lease: "session" });
   * }, { atomic: true });
   * ```
   */
  batch(fill: (batch: BatchBuilder) => void, options?: BatchOptions): Promise<BatchResult>;
  readonly status: WorldStatus;
  /** The newest first, then every change of it. Completes when the World is closed. */
  readonly status$: Observable<WorldStatus>;
  /** Resolves when `getSync` and `local` reads have something to read, or when it is clear that every read will ask the cluster. */
  ready(options?: CallOptions): Promise<void>;
  /** Ends every call, watch, lock, leadership and session of it; nothing is left running. Idempotent. */
  close(): Promise<void>;
}
