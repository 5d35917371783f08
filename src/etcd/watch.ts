import type { IRangeRequest } from "etcd3";
import type { Logger } from "pino";
import { passOn } from "../clock.ts";
import type { Clock } from "../clock.ts";
import type { EtcdClient } from "./client.ts";
import { bytes, rangeResult, toHex, toNumber } from "./codec.ts";
import { isTooLarge, mayPass } from "./failure.ts";
import type { KeyValue, RangeResult } from "./types.ts";
import { Outlet } from "./watch-outlet.ts";
import type { OnNews } from "./watch-outlet.ts";
import { WatchState } from "./watch-state.ts";
import type { Change, Listing } from "./watch-state.ts";
import type { Ended, StreamWatch } from "./watch-streams.ts";

export type { OnNews, WatchNews } from "./watch-outlet.ts";
export type { Change } from "./watch-state.ts";

export interface WatchDeps {
  readonly clock: Clock;
  readonly log?: Logger;
}

const listTimeoutMs = 5_000;
const pageSize = 10_000;
/** The first page also finds the endpoint: so it is small, for the time that one of several endpoints is given. */
const firstPageSize = 100;
/** etcd replays 10,000 revisions a second at most; listing that many keys again takes 0.05 s (FACTS.md). */
const mostReplayed = 10_000;
/** Between two tries; a stream that lived for long starts anew with the first. */
const pauseMs = { first: 20, most: 1_000, mostAfterStart: 250, longMs: 1_000 };
/** Between two requests for progress: the server says nothing while it catches up. */
const progressMs = { first: 20, most: 500 };
const reached = Symbol("reached");

/** A range that is followed. */
export interface Watching {
  /** Never resolves; rejects with what ended it, as {@link watchRange} does. */
  readonly over: Promise<never>;
  /**
   * Resolves once everything up to `revision` has been handed out and taken; asks the server for progress while it waits, as a range
   * in which nothing happens is told of nothing. For a revision the cluster has not reached yet it waits.
   *
   * @throws QuorateError ETCD_REFUSED where the server's progress replies cannot be believed (etcd before 3.4.25 and 3.5.8);
   *   what ended the watch; or the signal's reason
   */
  requestProgress(revision: number, signal: AbortSignal): Promise<void>;
}

/**
 * Follows one range for ever: a snapshot, then every change exactly once, whatever happens to connections and servers. It
 * resumes behind the last event it received or the last progress reply; where that is compacted, is too large for one message, or
 * the store went back (a restore), it lists again and hands out the difference. `onNews` is called in order, never after the signal
 * has fired, and must not throw. Where it returns a promise, it is not called again before that has settled: what comes meanwhile
 * waits, and is merged into one change per key (told as `coalesced`) beyond 10,000 changes or 16 MiB. All watches of one client
 * share one stream per endpoint, and none disturbs another.
 *
 * Ends only by the signal's reason, or by an error that does not pass: ETCD_REFUSED, CLOSED. Another cluster's endpoints are
 * not listened to; while there is no other, it waits.
 */
export async function watchRange(
  client: EtcdClient,
  range: { readonly start: string; readonly end: string },
  onNews: OnNews,
  deps: WatchDeps,
  signal: AbortSignal,
): Promise<never> {
  return await new RangeWatch(client, range, onNews, deps, signal).run();
}

/** {@link watchRange} for those who have to know how far it has come. */
export function openWatch(
  client: EtcdClient,
  range: { readonly start: string; readonly end: string },
  onNews: OnNews,
  deps: WatchDeps,
  signal: AbortSignal,
): Watching {
  const watch = new RangeWatch(client, range, onNews, deps, signal);
  const over = watch.run();
  // Whoever does not ask for it is told by their signal.
  over.catch(() => undefined);
  return { over, requestProgress: (revision, own) => watch.requestProgress(revision, own) };
}

/** Where a store is, by a linearizable read. */
interface Position {
  readonly endpoint: string;
  readonly clusterId: string;
  readonly revision: number;
  readonly term: number;
}

class RangeWatch {
  readonly #client: EtcdClient;
  readonly #range: { readonly start: string; readonly end: string };
  readonly #outlet: Outlet;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #signal: AbortSignal;
  /** Fires when the handler has failed, with its error, or when the watch is over. */
  readonly #over = new AbortController();
  readonly #waiters = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  #stream: StreamWatch | undefined;
  #state: WatchState | undefined;
  #live = false;
  /** Highest raft term seen: a lower one later is another history of the same cluster. */
  #term = 0;
  #clusterId = "";
  #pauseMs = pauseMs.first;
  /** When the present stream started to deliver. */
  #startedMs: number | undefined;

  constructor(
    client: EtcdClient,
    range: { readonly start: string; readonly end: string },
    onNews: OnNews,
    { clock, log }: WatchDeps,
    signal: AbortSignal,
  ) {
    this.#client = client;
    this.#range = range;
    this.#clock = clock;
    this.#log = log;
    const fail = (error: unknown): void => {
      this.#over.abort(error);
    };
    this.#outlet = new Outlet(onNews, fail, () => {
      this.#release();
    });
    this.#signal = this.#over.signal;
    const release = passOn([signal], this.#over);
    this.#signal.addEventListener("abort", release, { once: true });
  }

  async run(): Promise<never> {
    try {
      return await this.#run();
    } catch (error) {
      this.#over.abort(error);
      throw error;
    } finally {
      await this.#outlet.close();
    }
  }

  async requestProgress(revision: number, signal: AbortSignal): Promise<void> {
    const own = new AbortController();
    const release = passOn([signal, this.#signal], own);
    const waiter = {
      revision,
      resolve: () => {
        own.abort(reached);
      },
    };
    this.#waiters.add(waiter);
    this.#release();
    try {
      for (let pause = progressMs.first; ; pause = Math.min(2 * pause, progressMs.most)) {
        if (this.#state !== undefined && this.#state.revision < revision) await this.#ask();
        await this.#clock.sleep(pause, own.signal);
      }
    } catch (error) {
      if (own.signal.reason !== reached) throw error;
    } finally {
      this.#waiters.delete(waiter);
      release();
    }
  }

  async #ask(): Promise<void> {
    try {
      await this.#stream?.requestProgress();
    } catch (error) {
      // While there is no connection there is nobody to ask; the watch itself goes on trying.
      if (!mayPass(error)) throw error;
    }
  }

  /** Those who wait for no more than what the consumer has taken. */
  #release(): void {
    if (this.#state === undefined || !this.#outlet.idle) return;
    for (const waiter of this.#waiters) if (waiter.revision <= this.#state.revision) waiter.resolve();
  }

  async #run(): Promise<never> {
    let stale = true;
    for (;;) {
      try {
        // A linearizable read on the endpoint to be followed: it takes part, and its store is not behind what was handed out.
        let position = stale ? undefined : await this.#position();
        if (position === undefined || this.#isBehind(position)) {
          stale = true;
          const listed = await this.#list(position?.endpoint);
          position = listed.position;
          this.#take(listed);
        }
        this.#term = position.term;
        this.#clusterId = position.clusterId;
        stale = false;
        const ended = await this.#follow(position.endpoint);
        this.#setLive(false);
        if (ended.why === "lost") throw ended.failure;
        const { start } = this.#range;
        this.#log?.info({ start, revision: this.#state?.revision, why: ended.why }, "the history cannot be had, listing again");
        stale = true;
      } catch (error) {
        this.#setLive(false);
        this.#signal.throwIfAborted();
        if (!mayPass(error)) throw error;
        this.#log?.debug({ start: this.#range.start, err: error, pauseMs: this.#pauseMs }, "the watch was interrupted");
        await this.#pause();
      }
    }
  }

  async #pause(): Promise<void> {
    const startedMs = this.#startedMs;
    this.#startedMs = undefined;
    if (startedMs !== undefined && this.#clock.nowMs() - startedMs > pauseMs.longMs) this.#pauseMs = pauseMs.first;
    await this.#clock.sleep(this.#pauseMs, this.#signal);
    const most = startedMs === undefined ? pauseMs.most : pauseMs.mostAfterStart;
    this.#pauseMs = Math.min(2 * this.#pauseMs, most);
  }

  /** Whether resuming is impossible, wrong, or slower than listing again. */
  #isBehind(position: Position): boolean {
    if (this.#state === undefined || position.clusterId !== this.#clusterId) return true;
    const missed = position.revision - this.#state.revision;
    return missed < 0 || missed > mostReplayed || position.term < this.#term;
  }

  async #position(): Promise<Position> {
    return (await this.#read({ key: bytes(this.#range.start), count_only: true })).position;
  }

  /** On the best endpoint, unless it is given. */
  #read(request: IRangeRequest, endpoint?: string): Promise<{ readonly page: RangeResult; readonly position: Position }> {
    const kind = { what: `watch ${this.#range.start}`, repeatable: true, writes: false };
    const options = { signal: this.#signal, ...(endpoint === undefined ? {} : { endpoint, timeoutMs: listTimeoutMs }) };
    return this.#client.caller.run(kind, options, async ({ kv }, on) => {
      const wire = await kv.range(request);
      const page = rangeResult(wire);
      const { cluster_id, raft_term } = wire.header;
      return {
        page,
        position: { endpoint: on, clusterId: toHex(cluster_id), revision: page.revision, term: toNumber(raft_term) },
      };
    });
  }

  /** In pages of one revision, all from one endpoint, so that no range is too large for one message. */
  async #list(endpoint: string | undefined): Promise<Listing & { readonly position: Position }> {
    const entries: KeyValue[] = [];
    let { start } = this.#range;
    let position: Position | undefined;
    let limit = endpoint === undefined ? firstPageSize : pageSize;
    for (;;) {
      const request = { key: bytes(start), range_end: bytes(this.#range.end), limit, revision: position?.revision ?? 0 };
      try {
        const read = await this.#read(request, position?.endpoint ?? endpoint);
        const { page } = read;
        for (const entry of page.entries) entries.push(entry);
        if (position === undefined && endpoint === undefined) limit = pageSize;
        position ??= read.position;
        const last = page.entries.at(-1);
        if (!page.more || last === undefined) return { entries, revision: position.revision, position };
        start = `${last.key}\0`;
      } catch (error) {
        if (!isTooLarge(error) || limit === 1) throw error;
        limit = Math.ceil(limit / 8);
      }
    }
  }

  #take(listing: Listing): void {
    this.#signal.throwIfAborted();
    if (this.#state === undefined) {
      this.#state = new WatchState(listing);
      this.#outlet.push({ kind: "snapshot", ...listing });
    } else this.#tell(this.#state.replace(listing), true);
    this.#signal.throwIfAborted();
  }

  #tell(changes: readonly Change[], resynced: boolean): void {
    this.#outlet.push({ kind: "changes", changes, revision: this.#state!.revision, resynced, coalesced: false });
  }

  /** Hands out changes until the stream ends. Rejects by the signal only. */
  async #follow(endpoint: string): Promise<Ended> {
    const state = this.#state!;
    const signal = this.#signal;
    let abort!: () => void;
    signal.throwIfAborted();
    try {
      return await new Promise<Ended>((resolve, reject) => {
        abort = () => {
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", abort, { once: true });
        const asked = { ...this.#range, startRevision: state.revision + 1 };
        this.#stream = this.#client.watches.watch(endpoint, asked, {
          onCreated: () => {
            this.#startedMs = this.#clock.nowMs();
            this.#setLive(true);
          },
          onEvents: (events) => {
            const changes = state.apply(events);
            if (changes.length > 0 && !signal.aborted) this.#tell(changes, false);
          },
          onProgress: (revision) => {
            state.progress(revision);
            this.#release();
          },
          onEnd: resolve,
        });
      });
    } finally {
      signal.removeEventListener("abort", abort);
      this.#stream?.close();
      this.#stream = undefined;
    }
  }

  #setLive(live: boolean): void {
    if (live === this.#live || this.#signal.aborted) return;
    this.#live = live;
    this.#outlet.push({ kind: "state", live });
  }
}
