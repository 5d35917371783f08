import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { followMembers } from "../../etcd/index.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { KeyRange, Keys } from "../../keys.ts";
import { compareWithCluster } from "./audit.ts";
import { Copy } from "./copy.ts";
import type { CopyParts } from "./copy.ts";
import { Damaged } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { Floor } from "./floor.ts";
import { FollowRange } from "./follow-range.ts";
import { Freshness, defaultTimeoutMs, throwIfClosed } from "./freshness.ts";
import type { FeederLink } from "./link.ts";
import { metricsOf, statusOf } from "./status.ts";
import type { StatusParts } from "./status.ts";
import { lookDirectly } from "./look-directly.ts";
import type {
  DirectLook,
  FollowOptions,
  Following,
  Look,
  OnReplicaNews,
  ReadMany,
  ReadOne,
  ReadOptions,
  ReadPoint,
  ReplicaMetrics,
  ReplicaStatus,
} from "./types.ts";
import { named, readPage } from "./wire.ts";

export interface ReplicaParts extends StatusParts {
  readonly keys: Keys;
  readonly clock: Clock;
  /** Starts or joins the feeder; undefined where reads are direct. Called once, with what is first asked of the replica. */
  readonly link: ((onNews: () => void) => FeederLink) | undefined;
  /** What is read from until a feeder that is being started is there. */
  readonly bridge: CopyParts["bridge"];
  readonly random: () => number;
  readonly auditEveryMs: number | undefined;
}

/** How often the members are asked for where there is no feeder. */
const membersMs = 5_000;

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
  readonly #copy: Copy | undefined;
  readonly #floor: Floor;
  readonly #fresh: Freshness;
  readonly #subscriptions = new Set<FollowRange>();
  readonly #listeners = new Set<() => void>();
  readonly #over = new AbortController();
  #directReads = 0;
  #closed: Promise<void> | undefined;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
    const { client, keys, clock, link, folder, bridge } = parts;
    this.client = client;
    this.keys = keys;
    this.#clock = clock;
    if (link !== undefined && folder !== undefined) {
      this.#copy = new Copy({ folder, link, bridge }, () => {
        this.#followFeeder();
        for (const subscription of this.#subscriptions) subscription.pump();
        this.#tell();
      });
    } else void this.#followMembers();
    const [copy, floor, over] = [this.#copy, new Floor(client, this.#copy), this.#over.signal];
    this.#floor = floor;
    this.#fresh = new Freshness({ client, keys, clock, copy, floor, over, status: () => this.status });
    if (parts.auditEveryMs !== undefined) void this.#auditEvery(parts.auditEveryMs);
  }

  /** One key. */
  async get(key: string, options: ReadOptions = {}): Promise<ReadOne> {
    const fresh = this.#fresh;
    if (fresh.isReady(options) || (fresh.joins(options) && fresh.isAt(await fresh.join())) || (await fresh.prepared(options))) {
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
    const fresh = this.#fresh;
    if (fresh.isReady(options) || (fresh.joins(options) && fresh.isAt(await fresh.join())) || (await fresh.prepared(options))) {
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

  /** {@link getSync}, and how old that is. */
  getPointSync(key: string): ReadOne {
    const entry = this.getSync(key);
    return { entry, ...this.#point() };
  }

  /**
   * Several reads of one moment: `local` makes them of the copy; where the cluster has to be asked, `direct` makes the same of one
   * revision of it.
   */
  async look<T>(
    options: ReadOptions,
    local: (look: Look) => T,
    direct: (look: DirectLook) => Promise<T>,
  ): Promise<ReadPoint & { readonly found: T }> {
    const fresh = this.#fresh;
    if (fresh.isReady(options) || (await fresh.prepared(options)))
      return { found: this.#checked((copy) => local(copy)), ...this.#point() };
    throwIfClosed(this.#over.signal, "a look");
    this.#directReads++;
    const { signal, timeoutMs = defaultTimeoutMs } = options;
    const limits = { timeoutMs, ...(signal === undefined ? {} : { signal }) };
    const looked = await lookDirectly(this.client, this.keys, limits, direct);
    this.#came("several keys", options.read, looked.revision);
    return looked;
  }

  /** {@link getSync} for a range. */
  rangeSync(range: KeyRange, limit?: number): readonly Entry[] {
    return this.#copyNow(range.start, (copy) => copy.range(range, limit));
  }

  /** Resolves when there is a copy, or when it is clear that reads will be direct. Starts the feeder. */
  async ready(options: Pick<ReadOptions, "signal" | "timeoutMs"> = {}): Promise<void> {
    await this.#fresh.hasCopy(options, "the replica");
  }

  /** A revision that is not older than this call, by a linearizable look that concurrent callers share. */
  async barrier(options: Pick<ReadOptions, "signal" | "timeoutMs"> = {}): Promise<number> {
    return await this.#fresh.revision(options);
  }

  /** A write was acknowledged at this revision: session reads are not older from now on. */
  wrote(revision: number): void {
    this.#floor.raise(revision);
  }

  /**
   * Tells of a range: what there is, then every change, in order, once, whatever happens to feeder, etcd and connections; where the
   * history is gone, the exact difference. It never ends by itself. What is not the World's is watched by itself, not in the copy.
   */
  follow(range: KeyRange, onNews: OnReplicaNews, options: FollowOptions = {}): Following {
    throwIfClosed(this.#over.signal, range.start);
    const file = this.keys.world.some(({ start, end }) => range.start >= start && range.end <= end) ? this.#copy : undefined;
    const over = (one: FollowRange): void => {
      this.#subscriptions.delete(one);
    };
    const made = new FollowRange({ client: this.client, clock: this.#clock, file }, range, onNews, over, options);
    this.#subscriptions.add(made);
    file?.start();
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
    if (!(await this.#fresh.hasCopy(options, "the replica"))) return undefined;
    const copy = this.#copy!;
    const why = await compareWithCluster(copy, this.client, this.keys, this.#parts.random(), options);
    if (why !== undefined) copy.doubt("audit", why);
    return why;
  }

  get status(): ReplicaStatus {
    return statusOf(this.#copy, this.#over.signal.aborted, this.#parts);
  }

  /** Calls `listener` after anything in `status` or `metrics` may have changed, until the returned function is called. */
  onStatus(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  get metrics(): ReplicaMetrics {
    return metricsOf(this.#copy, this.#fresh.barriers, this.#directReads, this.#parts);
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

  async #direct(range: { readonly start: string; readonly end?: string }, options: ReadOptions, limit?: number) {
    throwIfClosed(this.#over.signal, range.start);
    this.#directReads++;
    const { signal, timeoutMs = defaultTimeoutMs, read } = options;
    const page = await readPage(this.client, range, {
      timeoutMs,
      ...(signal === undefined ? {} : { signal }),
      ...(limit === undefined ? {} : { limit }),
    });
    this.#came(range.start, read, page.revision);
    return page;
  }

  /** The cluster was read at that revision. @throws QuorateError STALE where more was wanted */
  #came(what: string, read: ReadOptions["read"], revision: number): void {
    if (typeof read === "object" && "atLeast" in read && revision < read.atLeast) {
      const message = `Cannot read ${what} as of revision ${read.atLeast}: the cluster is at ${revision}`;
      throw new QuorateError("STALE", message, { retryable: true, data: { revision, outcome: "none" } });
    }
    this.#floor.raise(revision);
  }

  #point(): { revision: number; ageMs: number } {
    const copy = this.#copy!;
    const { revision } = copy;
    this.#floor.read(copy, revision);
    return { revision, ageMs: copy.live ? 0 : copy.ageMs(this.#parts.uptimeMs()) };
  }

  /** The feeder knows which members there are, and finds out first where the cluster has a successor. */
  #followFeeder(): void {
    const state = this.#copy?.state;
    if (state === undefined || this.#over.signal.aborted) return;
    const { clusterId } = this.client;
    if (clusterId !== undefined && state.clusterId !== undefined && state.predecessors.includes(clusterId))
      this.client.followSuccessor(state.clusterId);
    // Where the feeder itself finds nobody, what was given here may be better.
    if (state.live && state.endpoints.join() !== this.client.endpoints.urls().join()) this.client.endpoints.set(state.endpoints);
  }

  #copyNow<T>(what: string, read: (copy: Copy) => T): T {
    throwIfClosed(this.#over.signal, what);
    const copy = this.#copy;
    copy?.start();
    if (copy?.isThere !== true) throw new QuorateError("STALE", `Cannot read ${what}: there is no copy yet`, { retryable: true });
    const found = this.#checked(read);
    this.#floor.read(copy, copy.revision);
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
