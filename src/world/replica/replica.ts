import { aborted, passOn, within } from "../../clock.ts";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { followMembers } from "../../etcd/index.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { KeyRange, Keys } from "../../keys.ts";
import { compareWithCluster } from "./audit.ts";
import { Barrier } from "./barrier.ts";
import { Copy } from "./copy.ts";
import type { CopyParts } from "./copy.ts";
import { Damaged } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { FollowRange } from "./follow-range.ts";
import type { FeederLink } from "./link.ts";
import type {
  Following,
  OnReplicaNews,
  ReadMany,
  ReadMode,
  ReadOne,
  ReadOptions,
  ReplicaMetrics,
  ReplicaStatus,
} from "./types.ts";
import { named, readPage, readPosition } from "./wire.ts";

export interface ReplicaParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  /** Starts or joins the feeder; undefined where reads are direct. Called once, with what is first asked of the replica. */
  readonly link: ((onNews: () => void) => FeederLink) | undefined;
  /** What is read from until a feeder that is being started is there. */
  readonly bridge: CopyParts["bridge"];
  readonly folder: string | undefined;
  readonly because: readonly string[];
  readonly random: () => number;
  readonly auditEveryMs: number | undefined;
  /** Milliseconds since the machine's start. */
  readonly uptimeMs: () => number;
}

const defaultTimeoutMs = 5_000;
/** How often the members are asked for where there is no feeder. */
const membersMs = 5_000;
/** For one round of the barrier: who comes while one is under way waits for two. */
const roundMs = defaultTimeoutMs / 2;

/**
 * The World's keys on this host, as far as one program reads them: see {@link ReadMode} for how fresh. The first read or watch starts
 * the feeder, or joins the one that another program has started; the feeder ends with its last user.
 *
 * Reads throw QuorateError STALE (the replica does not get as far as the read needs; retryable), and `direct` ones what every call of
 * the wire throws; CLOSED; or the signal's reason.
 */
export class Replica implements AsyncDisposable {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly #parts: ReplicaParts;
  readonly #clock: Clock;
  readonly #uptimeMs: () => number;
  readonly #copy: Copy | undefined;
  readonly #barrier: Barrier<number>;
  readonly #subscriptions = new Set<FollowRange>();
  readonly #listeners = new Set<() => void>();
  readonly #over = new AbortController();
  readonly #barriers = { joined: 0, waitMs: 0, failed: 0 };
  #directReads = 0;
  /** Session reads are not older than this, within one history. */
  #floor = 0;
  #floorHistory: string | undefined;
  /** What was seen of a successor before the copy is of it. */
  #ahead: { readonly clusterId: string; readonly revision: number } | undefined;
  /** The last linearizable look: when it was sent, and what the store had then. */
  #looked = { atMs: -Infinity, revision: 0, clusterId: "" };
  #closed: Promise<void> | undefined;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
    this.client = parts.client;
    this.keys = parts.keys;
    this.#clock = parts.clock;
    this.#uptimeMs = parts.uptimeMs;
    this.#barrier = new Barrier(() => this.#look());
    const { link, folder, bridge } = parts;
    if (link !== undefined && folder !== undefined) {
      this.#copy = new Copy({ folder, link, bridge }, () => {
        this.#followFeeder();
        for (const subscription of this.#subscriptions) subscription.pump();
        this.#tell();
      });
    } else void this.#followMembers();
    if (parts.auditEveryMs !== undefined) void this.#auditEvery(parts.auditEveryMs);
  }

  /** One key. */
  async get(key: string, options: ReadOptions = {}): Promise<ReadOne> {
    if (this.#isReady(options) || (this.#joins(options) && this.#isAt(await this.#join())) || (await this.#prepared(options))) {
      const entry = this.#checked((copy) => copy.get(key));
      const { revision, ageMs } = this.#point();
      return { entry, revision, ageMs };
    }
    const page = await this.#direct({ start: key }, options);
    const entry = page.entries[0];
    return { entry: entry === undefined ? undefined : named(entry), revision: page.revision, ageMs: 0 };
  }

  /** Keys of a range in order of their bytes. */
  async range(range: KeyRange, options: ReadOptions & { readonly limit?: number } = {}): Promise<ReadMany> {
    const { limit } = options;
    if (this.#isReady(options) || (this.#joins(options) && this.#isAt(await this.#join())) || (await this.#prepared(options))) {
      const entries = this.#checked((copy) => copy.range(range, limit === undefined ? undefined : limit + 1));
      const more = limit !== undefined && entries.length > limit;
      return { entries: more ? entries.slice(0, limit) : entries, more, ...this.#point() };
    }
    const page = await this.#direct(range, options, limit);
    return { entries: page.entries.map(named), more: page.more, revision: page.revision, ageMs: 0 };
  }

  /**
   * One key as the replica has it, for hot loops: what `local` reads say. Within one turn of the event loop it never changes.
   *
   * @throws QuorateError STALE while there is no copy (await `ready()` once), also where reads are direct; CLOSED
   */
  getSync(key: string): Entry | undefined {
    return this.#copyNow(key, (copy) => copy.get(key));
  }

  /** {@link getSync} for a range. */
  rangeSync(range: KeyRange, limit?: number): readonly Entry[] {
    return this.#copyNow(range.start, (copy) => copy.range(range, limit));
  }

  /** Resolves when there is a copy, or when it is clear that reads will be direct. Starts the feeder. */
  async ready(options: Pick<ReadOptions, "signal" | "timeoutMs"> = {}): Promise<void> {
    await this.#hasCopy(options, "the replica");
  }

  /** A revision that is not older than this call, by a linearizable look that concurrent callers share. */
  async barrier(options: Pick<ReadOptions, "signal" | "timeoutMs"> = {}): Promise<number> {
    return await this.#waitFor(options, "the cluster's revision", () => this.#join());
  }

  /** A write was acknowledged at this revision: session reads are not older from now on. */
  wrote(revision: number): void {
    this.#raiseFloor(revision);
  }

  /**
   * Tells of a range: what there is, then every change, in order, once, whatever happens to feeder, etcd and connections; where the
   * history is gone, the exact difference. It never ends by itself.
   */
  follow(range: KeyRange, onNews: OnReplicaNews): Following {
    this.#throwIfClosed(range.start);
    const made = new FollowRange({ client: this.client, clock: this.#clock, file: this.#copy }, range, onNews, (one) => {
      this.#subscriptions.delete(one);
    });
    this.#subscriptions.add(made);
    this.#copy?.start();
    made.pump();
    return made;
  }

  /**
   * Compares up to 1,000 keys, from a random one on, with the cluster at the copy's revision. Where they differ, the copy is thrown away
   * and listed anew.
   *
   * @returns what differed; undefined where nothing did, or where nothing could be compared
   */
  async audit(options: Pick<ReadOptions, "signal" | "timeoutMs"> = {}): Promise<string | undefined> {
    if (!(await this.#hasCopy(options, "the replica"))) return undefined;
    const copy = this.#copy!;
    const why = await compareWithCluster(copy, this.client, this.keys, this.#parts.random(), options);
    if (why !== undefined) copy.doubt("audit", why);
    return why;
  }

  get status(): ReplicaStatus {
    const { because, folder } = this.#parts;
    const copy = this.#copy;
    const trouble = copy?.trouble;
    const state = this.#closed
      ? "closed"
      : copy === undefined || copy.isRefused
        ? "direct"
        : !copy.isThere
          ? "starting"
          : copy.live
            ? "live"
            : "stale";
    return {
      state,
      because: trouble === undefined ? because : [...because, trouble],
      folder,
      clusterId: copy?.state?.clusterId ?? this.client.clusterId,
      endpoints: copy?.state?.endpoints ?? this.client.endpoints.urls(),
      revision: copy?.isThere === true ? copy.revision : 0,
      ageMs: copy?.ageMs(this.#uptimeMs()) ?? 0,
      lastRelist: copy?.state?.lastRelist,
      foreign: copy?.state?.foreign,
      predecessors: copy?.state?.predecessors ?? [],
      lost: copy?.lost,
    };
  }

  /** Calls `listener` after anything in `status` or `metrics` may have changed, until the returned function is called. */
  onStatus(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  get metrics(): ReplicaMetrics {
    const copy = this.#copy;
    return {
      revision: copy?.isThere === true ? copy.revision : 0,
      ageMs: copy?.ageMs(this.#uptimeMs()) ?? 0,
      relists: copy?.state?.relists ?? {},
      applied: copy?.applied ?? { transactions: 0, changes: 0, ms: 0 },
      barriers: { rounds: this.#barrier.rounds, ...this.#barriers },
      directReads: this.#directReads,
      skippedKeys: copy?.state?.skipped ?? 0,
      feederConnections: copy?.connections ?? 0,
    };
  }

  /** Of the process that feeds it; undefined while there is none. */
  get feederPid(): number | undefined {
    return this.#copy?.feederPid;
  }

  /** Why the cluster is out of reach, as the feeder has found; undefined also where nobody has tried. */
  get lost(): string | undefined {
    return this.#copy?.lost;
  }

  /** Ends what follows, lets go of the file and of the feeder, and closes the client. Idempotent. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#over.abort(new QuorateError("CLOSED", "Cannot use the replica: it was closed"));
    const following = [...this.#subscriptions];
    for (const subscription of following) subscription.end();
    await this.#copy?.close();
    await this.client.close();
    this.#tell();
  }

  /** Never from within what has changed: a listener that throws is its own fault alone. */
  #tell(): void {
    for (const listener of this.#listeners) queueMicrotask(listener);
  }

  /** The usual case: there is nothing to wait for. */
  #isReady({ read = "session" }: ReadOptions): boolean {
    const copy = this.#copy;
    if (copy?.isThere !== true) return false;
    return read === "local" || (read === "session" && this.#isPresent(copy) && copy.revision >= this.#floorOf(copy));
  }

  /** The usual linearizable read: it waits for the common look and no more. A timer, or a promise, for each costs more than the read. */
  #joins(options: ReadOptions): boolean {
    const copy = this.#copy;
    return options.read === "linearizable" && isPatient(options) && copy?.isThere === true && copy.progressPossible === true;
  }

  #isAt(revision: number): boolean {
    const copy = this.#copy!;
    return this.#isPresent(copy) && copy.isAt(revision);
  }

  /** Whether the copy may answer, now that everything needed was waited for; false: ask the cluster. */
  async #prepared(options: ReadOptions): Promise<boolean> {
    const mode = options.read ?? "session";
    if (mode === "direct" || this.#copy === undefined) return false;
    const copy = this.#copy;
    if (!(await this.#hasCopy(options, "a read"))) return false;
    if (mode === "local") return true;
    if (!this.#isPresent(copy)) {
      await this.#waitFor(options, "the cluster's successor", (signal) => copy.until(() => this.#isPresent(copy), signal));
    }
    const needs = await this.#needs(mode, options);
    if (needs === undefined) return false;
    if (copy.isAt(needs)) return true;
    // Without progress replies one can only wait for an event, which may never come.
    if (!(await this.#progressPossible(copy, options))) return false;
    await this.#waitFor(options, `revision ${needs}`, (signal) => copy.reaches(needs, signal));
    return true;
  }

  /** The revision a read needs; undefined where the copy cannot know. */
  async #needs(mode: Exclude<ReadMode, "local" | "direct">, options: ReadOptions): Promise<number | undefined> {
    if (mode === "session") return this.#floorOf(this.#copy!);
    if (typeof mode === "object" && "atLeast" in mode) return mode.atLeast;
    const { atMs, clusterId, revision } = this.#looked;
    const isRecent = (maxStaleMs: number): boolean =>
      this.#clock.nowMs() - atMs <= maxStaleMs && clusterId === this.#copy!.clusterId;
    if (typeof mode === "object" && isRecent(mode.maxStaleMs)) return revision;
    if (!(await this.#progressPossible(this.#copy!, options))) return undefined;
    return await this.#waitFor(options, "the cluster's revision", () => this.#join());
  }

  async #progressPossible(copy: Copy, options: ReadOptions): Promise<boolean> {
    if (copy.progressPossible === undefined) {
      await this.#waitFor(options, "the feeder", (signal) => copy.until(() => copy.progressPossible !== undefined, signal));
    }
    return copy.progressPossible === true;
  }

  #join(): Promise<number> {
    this.#barriers.joined++;
    return this.#barrier.join();
  }

  /** One linearizable look, and the copy has come as far. */
  async #look(): Promise<number> {
    const atMs = this.#clock.nowMs();
    try {
      return await this.#waitFor({ timeoutMs: roundMs }, "the cluster's revision", async (signal) => {
        const options = { signal, timeoutMs: roundMs };
        const { revision, clusterId } = await readPosition(this.client, this.keys.aroundWorld, options);
        const copy = this.#copy;
        // Revisions of two clusters do not compare.
        if (copy !== undefined) await copy.until(() => copy.isThere && copy.clusterId === clusterId, signal);
        await copy?.reaches(revision, signal);
        signal.throwIfAborted();
        this.#looked = { atMs, revision, clusterId };
        return revision;
      });
    } catch (error) {
      this.#barriers.failed++;
      throw error;
    } finally {
      this.#barriers.waitMs += this.#clock.nowMs() - atMs;
    }
  }

  /** True when there is one, false when there will hardly be one. */
  async #hasCopy(options: Pick<ReadOptions, "signal" | "timeoutMs">, what: string): Promise<boolean> {
    this.#throwIfClosed(what);
    const copy = this.#copy;
    if (copy === undefined) return false;
    copy.start();
    if (!copy.isThere && copy.trouble === undefined) {
      await this.#waitFor(options, "the replica's first copy", (signal) =>
        copy.until(() => copy.isThere || copy.trouble !== undefined, signal),
      );
    }
    return copy.isThere;
  }

  /** What the wait is for says STALE when it does not come in time, or cannot. */
  async #waitFor<T>(
    options: Pick<ReadOptions, "signal" | "timeoutMs">,
    what: string,
    task: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    const own = new AbortController();
    const release = passOn([options.signal, this.#over.signal], own);
    const outer = own.signal;
    const stale = (cause?: unknown): QuorateError => {
      const { revision, ageMs, state } = this.status;
      const message = `Cannot read as of ${what}: the replica is ${state} at revision ${revision}`;
      const hint = "Read with { read: 'local' } to get what there is, however old.";
      return new QuorateError("STALE", message, { retryable: true, hint, cause, data: { revision, ageMs, outcome: "none" } });
    };
    try {
      outer.throwIfAborted();
      return await within(
        timeoutMs,
        this.#clock,
        outer,
        (signal) => Promise.race([task(signal), aborted(signal)]),
        () => stale(),
      );
    } catch (error) {
      if (outer.aborted || !(error instanceof QuorateError) || error.code === "STALE") throw error;
      throw stale(error);
    } finally {
      release();
    }
  }

  async #direct(range: { readonly start: string; readonly end?: string }, options: ReadOptions, limit?: number) {
    this.#throwIfClosed(range.start);
    this.#directReads++;
    const { signal, timeoutMs = defaultTimeoutMs, read } = options;
    const page = await readPage(this.client, range, {
      timeoutMs,
      ...(signal === undefined ? {} : { signal }),
      ...(limit === undefined ? {} : { limit }),
    });
    if (typeof read === "object" && "atLeast" in read && page.revision < read.atLeast) {
      const message = `Cannot read ${range.start} as of revision ${read.atLeast}: the cluster is at ${page.revision}`;
      throw new QuorateError("STALE", message, { retryable: true, data: { revision: page.revision, outcome: "none" } });
    }
    this.#raiseFloor(page.revision);
    return page;
  }

  #point(): { revision: number; ageMs: number } {
    const copy = this.#copy!;
    const { revision } = copy;
    this.#floor = Math.max(this.#floorOf(copy), revision);
    return { revision, ageMs: copy.live ? 0 : copy.ageMs(this.#uptimeMs()) };
  }

  /** What is read or written by the client raises the floor; of a successor the copy is not of yet, it will. */
  #raiseFloor(revision: number): void {
    const copy = this.#copy;
    if (copy !== undefined) this.#floorOf(copy);
    const { clusterId } = this.client;
    if (copy === undefined || this.#isPresent(copy) || clusterId === undefined) this.#floor = Math.max(this.#floor, revision);
    else if (this.#ahead?.clusterId !== clusterId || revision > this.#ahead.revision) this.#ahead = { clusterId, revision };
  }

  /** A store that went back has another history: what was seen of the other one says nothing of this. */
  #floorOf(copy: Copy): number {
    if (copy.isThere && copy.history !== this.#floorHistory) {
      if (this.#floorHistory !== undefined) this.#floor = this.#ahead?.clusterId === copy.clusterId ? this.#ahead.revision : 0;
      this.#floorHistory = copy.history;
      this.#ahead = undefined;
    }
    return this.#floor;
  }

  /** Of the cluster that the client asks and writes to; true while there is none. */
  #isPresent(copy: Copy): boolean {
    const { clusterId } = this.client;
    return clusterId === undefined || !copy.isThere || copy.clusterId === clusterId;
  }

  /** The feeder knows which members there are, and finds out first where the cluster has a successor. */
  #followFeeder(): void {
    const state = this.#copy?.state;
    if (state === undefined || this.#closed) return;
    const { clusterId } = this.client;
    if (clusterId !== undefined && state.clusterId !== undefined && state.predecessors.includes(clusterId))
      this.client.followSuccessor(state.clusterId);
    // Where the feeder itself finds nobody, what was given here may be better.
    if (state.live && state.endpoints.join() !== this.client.endpoints.urls().join()) this.client.endpoints.set(state.endpoints);
  }

  #copyNow<T>(what: string, read: (copy: Copy) => T): T {
    this.#throwIfClosed(what);
    const copy = this.#copy;
    copy?.start();
    if (copy?.isThere !== true) throw new QuorateError("STALE", `Cannot read ${what}: there is no copy yet`, { retryable: true });
    const found = this.#checked(read);
    this.#floor = Math.max(this.#floorOf(copy), copy.revision);
    return found;
  }

  #checked<T>(read: (copy: Copy) => T): T {
    try {
      return read(this.#copy!);
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      this.#copy!.doubt("damaged", error.message);
      throw new QuorateError("STALE", "Cannot read: the copy is damaged, and is listed anew", { retryable: true, cause: error });
    }
  }

  #throwIfClosed(what: string): void {
    if (this.#closed) throw new QuorateError("CLOSED", `Cannot read ${what}: the replica was closed`);
  }

  /** Without a feeder nobody else finds out where the members are now. */
  async #followMembers(): Promise<void> {
    const { client, clock } = this.#parts;
    const options = { seeds: client.endpoints.urls(), everyMs: membersMs, clock };
    await followMembers(client, options, this.#over.signal).catch(() => undefined);
  }

  async #auditEvery(ms: number): Promise<void> {
    while (!this.#over.signal.aborted) {
      try {
        await this.#clock.sleep(ms, this.#over.signal);
        await this.audit({ signal: this.#over.signal });
      } catch {
        // Nothing could be compared this time.
      }
    }
  }
}

function isPatient({ signal, timeoutMs }: ReadOptions): boolean {
  return signal === undefined && timeoutMs === undefined;
}
