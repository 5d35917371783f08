import type { KeyValue } from "./types.ts";
import { coalesce } from "./watch-state.ts";
import type { Change } from "./watch-state.ts";

export type WatchNews =
  /** Once, first: the whole range, also when it is empty. */
  | { readonly kind: "snapshot"; readonly entries: readonly KeyValue[]; readonly revision: number }
  /**
   * In order of revision, all changes of one revision together. `resynced`: a diff of two listings, what was between is lost.
   * `coalesced`: the consumer was slow; of each key this is the latest of several changes.
   */
  | {
      readonly kind: "changes";
      readonly changes: readonly Change[];
      readonly revision: number;
      readonly resynced: boolean;
      readonly coalesced: boolean;
    }
  /** Whether changes arrive at present. */
  | { readonly kind: "state"; readonly live: boolean };

/** A handler that returns a promise is not called again before that has settled. */
export type OnNews = (news: WatchNews) => void | Promise<void>;

/** What may wait for a slow consumer, before it is merged into one change per key. */
const mostWaiting = { changes: 10_000, bytes: 16 * 1024 * 1024 };

/**
 * Hands news to one consumer, one after the other. It never holds anybody up, and never holds more than a bounded number of
 * changes, or one for each key of the range.
 */
export class Outlet {
  readonly #onNews: OnNews;
  readonly #onFailed: (error: unknown) => void;
  readonly #onIdle: () => void;
  #waiting: WatchNews[] = [];
  #size = { changes: 0, bytes: 0 };
  #running: Promise<void> | undefined;
  #told = false;
  #closed = false;

  /** `onIdle`: everything there was has been taken. */
  constructor(onNews: OnNews, onFailed: (error: unknown) => void, onIdle: () => void) {
    this.#onNews = onNews;
    this.#onFailed = onFailed;
    this.#onIdle = onIdle;
  }

  get idle(): boolean {
    return this.#running === undefined && this.#waiting.length === 0;
  }

  push(news: WatchNews): void {
    if (this.#closed) return;
    this.#waiting.push(news);
    if (news.kind === "changes") {
      this.#size.changes += news.changes.length;
      for (const change of news.changes) this.#size.bytes += change.type === "put" ? change.entry.value.length : 0;
    }
    if (this.#running === undefined) this.#next();
    else if (this.#size.changes > mostWaiting.changes || this.#size.bytes > mostWaiting.bytes) this.#merge();
  }

  /** Nothing is handed out any more. Settles when the consumer has let go. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting = [];
    await this.#running;
  }

  #next(): void {
    try {
      for (let news = this.#take(); news !== undefined; news = this.#take()) {
        const taken = this.#onNews(news);
        if (taken === undefined) continue;
        this.#running = taken.then(
          () => {
            this.#running = undefined;
            this.#next();
          },
          (error: unknown) => {
            this.#running = undefined;
            this.#fail(error);
          },
        );
        return;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (!this.#closed) this.#onIdle();
  }

  #take(): WatchNews | undefined {
    const news = this.#waiting.shift();
    if (this.#waiting.length === 0) this.#size = { changes: 0, bytes: 0 };
    if (news?.kind === "state") this.#told = news.live;
    return news;
  }

  #fail(error: unknown): void {
    this.#closed = true;
    this.#waiting = [];
    this.#onFailed(error);
  }

  /** A snapshot never waits: it comes first, and nobody is busy then. */
  #merge(): void {
    const parts = this.#waiting.filter((news) => news.kind === "changes");
    const changes = coalesce(parts.flatMap((news) => news.changes));
    const resynced = parts.some((news) => news.resynced);
    const live = this.#waiting.findLast((news) => news.kind === "state")?.live ?? this.#told;
    this.#waiting = [{ kind: "changes", changes, revision: parts.at(-1)!.revision, resynced, coalesced: true }];
    if (live !== this.#told) this.#waiting.push({ kind: "state", live });
    // What is left is one change a key; only what comes on top counts again.
    this.#size = { changes: 0, bytes: 0 };
  }
}
