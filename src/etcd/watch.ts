import type { IWatchRequest, IWatchResponse } from "etcd3";
import type { Logger } from "pino";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { EtcdClient } from "./client.ts";
import { bytes, toNumber } from "./codec.ts";
import { failureOf, reasonOf } from "./failure.ts";
import type { KeyValue } from "./types.ts";
import { openStream } from "./streams.ts";
import type { EndpointStream } from "./streams.ts";
import { WatchState } from "./watch-state.ts";
import type { Change, Listing } from "./watch-state.ts";

export type { Change } from "./watch-state.ts";

export type WatchNews =
  /** Once, first: the whole range, also when it is empty. */
  | { readonly kind: "snapshot"; readonly entries: readonly KeyValue[]; readonly revision: number }
  /** In order of revision, all changes of one revision together. `resynced`: a diff of two listings, what was between is lost. */
  | { readonly kind: "changes"; readonly changes: readonly Change[]; readonly revision: number; readonly resynced: boolean }
  /** Whether changes arrive at present. */
  | { readonly kind: "state"; readonly live: boolean };

export interface WatchDeps {
  readonly clock: Clock;
  readonly log?: Logger;
}

const listTimeoutMs = 5_000;
const openTimeoutMs = 2_000;
const pageSize = 10_000;
/** etcd replays 10,000 revisions a second at most; listing that many keys again takes 0.05 s (FACTS.md). */
const mostReplayed = 10_000;
/** Between two tries; a stream that lived for long starts anew with the first. */
const pauseMs = { first: 20, most: 1_000, mostAfterStart: 250, longMs: 1_000 };

/** Why a stream ended, as far as it matters for going on. */
type Ended = { readonly why: "lost"; readonly failure: QuorateError } | { readonly why: "compacted" };

/**
 * Follows one range for ever: a snapshot, then every change exactly once, whatever happens to connections and servers. It
 * resumes behind the last event it handed out; where that is compacted, or the store went back (a restore), it lists again and
 * hands out the difference. `onNews` is called in order, never after the signal has fired, and must not throw.
 *
 * Ends only by the signal's reason, or by an error that does not pass: ETCD_REFUSED, CLOSED. Another cluster's endpoints are
 * not listened to; while there is no other, it waits.
 */
export async function watchRange(
  client: EtcdClient,
  range: { readonly start: string; readonly end: string },
  onNews: (news: WatchNews) => void,
  deps: WatchDeps,
  signal: AbortSignal,
): Promise<never> {
  return await new RangeWatch(client, range, onNews, deps, signal).run();
}

class RangeWatch {
  readonly #client: EtcdClient;
  readonly #range: { readonly start: string; readonly end: string };
  readonly #onNews: (news: WatchNews) => void;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #signal: AbortSignal;
  #state: WatchState | undefined;
  #live = false;
  /** Highest raft term seen: a lower one later is another history of the same cluster. */
  #term = 0;
  #pauseMs = pauseMs.first;
  /** When the present stream started to deliver. */
  #startedMs: number | undefined;

  constructor(
    client: EtcdClient,
    range: { readonly start: string; readonly end: string },
    onNews: (news: WatchNews) => void,
    { clock, log }: WatchDeps,
    signal: AbortSignal,
  ) {
    this.#client = client;
    this.#range = range;
    this.#onNews = onNews;
    this.#clock = clock;
    this.#log = log;
    this.#signal = signal;
  }

  async run(): Promise<never> {
    let stale = true;
    for (;;) {
      try {
        // One linearizable read on the endpoint to be followed: it takes part, and its store is not behind what was handed out.
        const position = await this.#position();
        stale ||= this.#isBehind(position);
        this.#term = position.term;
        if (stale) this.#take(await this.#list(position.endpoint));
        stale = false;
        const ended = await this.#follow(position.endpoint);
        this.#setLive(false);
        if (ended.why === "lost") throw ended.failure;
        this.#log?.info(
          { start: this.#range.start, revision: this.#state?.revision },
          "the history was compacted, listing again",
        );
        stale = true;
      } catch (error) {
        this.#setLive(false);
        this.#signal.throwIfAborted();
        if (!passes(error)) throw error;
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
  #isBehind(position: { readonly revision: number; readonly term: number }): boolean {
    if (this.#state === undefined) return true;
    const missed = position.revision - this.#state.revision;
    return missed < 0 || missed > mostReplayed || position.term < this.#term;
  }

  #position(): Promise<{ readonly endpoint: string; readonly revision: number; readonly term: number }> {
    const kind = { what: `watch ${this.#range.start}`, repeatable: true, writes: false };
    return this.#client.caller.run(kind, { signal: this.#signal }, async ({ kv }, endpoint) => {
      const { header } = await kv.range({ key: bytes(this.#range.start), count_only: true });
      return { endpoint, revision: toNumber(header.revision), term: toNumber(header.raft_term) };
    });
  }

  /** In pages of one revision, so that no range is too large for one message. */
  async #list(endpoint: string): Promise<Listing> {
    const entries: KeyValue[] = [];
    let { start } = this.#range;
    let revision = 0;
    for (;;) {
      const options = { endpoint, revision, limit: pageSize, timeoutMs: listTimeoutMs, signal: this.#signal };
      const page = await this.#client.range({ start, end: this.#range.end }, options);
      entries.push(...page.entries);
      revision ||= page.revision;
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return { entries, revision };
      start = `${last.key}\0`;
    }
  }

  #take(listing: Listing): void {
    this.#signal.throwIfAborted();
    if (this.#state === undefined) {
      this.#state = new WatchState(listing);
      this.#onNews({ kind: "snapshot", ...listing });
      return;
    }
    const changes = this.#state.replace(listing);
    this.#onNews({ kind: "changes", changes, revision: listing.revision, resynced: true });
  }

  /** Hands out changes until the stream ends. Rejects only where it could not be opened, or by the signal. */
  async #follow(endpoint: string): Promise<Ended> {
    const state = this.#state!;
    const what = `watch ${this.#range.start}`;
    let stream: EndpointStream<IWatchRequest> | undefined;
    let settle!: (ended: Ended) => void;
    let fail!: (error: unknown) => void;
    const ended = new Promise<Ended>((resolve, reject) => {
      settle = resolve;
      fail = reject;
    });
    // It may fail before anyone awaits it.
    ended.catch(() => undefined);
    const abort = (): void => {
      fail(this.#signal.reason);
    };
    const created = new AbortController();
    const onData = (response: IWatchResponse): void => {
      if (this.#signal.aborted) return;
      if (response.canceled) {
        if (toNumber(response.compact_revision) > 0) settle({ why: "compacted" });
        else settle({ why: "lost", failure: refusal(response.cancel_reason, what, endpoint) });
        return;
      }
      if (response.created) {
        created.abort();
        this.#startedMs = this.#clock.nowMs();
        this.#setLive(true);
      }
      const changes = state.apply(response.events);
      if (changes.length > 0) this.#onNews({ kind: "changes", changes, revision: state.revision, resynced: false });
    };
    const onDataOrFail = (response: IWatchResponse): void => {
      try {
        onData(response);
      } catch (error) {
        fail(error);
      }
    };
    const onEnd = (failure: QuorateError): void => {
      settle({ why: "lost", failure });
    };
    this.#signal.addEventListener("abort", abort, { once: true });
    try {
      stream = await openStream<IWatchRequest, IWatchResponse>(
        this.#client.caller,
        endpoint,
        { service: "Watch", method: "watch", what },
        { onData: onDataOrFail, onEnd },
        { signal: this.#signal, timeoutMs: openTimeoutMs },
      );
      stream.write({
        create_request: {
          key: bytes(this.#range.start),
          range_end: bytes(this.#range.end),
          start_revision: state.revision + 1,
        },
      });
      this.#clock.sleep(openTimeoutMs, created.signal).then(
        () => {
          settle({ why: "lost", failure: stream!.stalled() });
        },
        () => undefined,
      );
      return await ended;
    } finally {
      created.abort();
      this.#signal.removeEventListener("abort", abort);
      stream?.close();
    }
  }

  #setLive(live: boolean): void {
    if (live === this.#live || this.#signal.aborted) return;
    this.#live = live;
    this.#onNews({ kind: "state", live });
  }
}

/** What is worth another try: also another cluster on a known address, and a compaction between two pages of a listing. */
function passes(error: unknown): boolean {
  if (!(error instanceof QuorateError)) return false;
  return error.retryable || error.code === "WRONG_CLUSTER" || reasonOf(error).includes("compacted");
}

/** A watch etcd ended by itself, with its own words. */
function refusal(reason: string, what: string, endpoint: string): QuorateError {
  if (reason === "") {
    const details = { retryable: true, data: { endpoint } };
    return new QuorateError("UNREACHABLE", `Cannot ${what}: ${endpoint} ended it`, details);
  }
  return failureOf({ code: 2, details: reason }, { what, endpoint, sent: true });
}
