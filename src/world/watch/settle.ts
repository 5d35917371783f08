import type { Clock } from "../../clock.ts";
import type { DataNews, Handler, Source } from "./news.ts";
import { merge } from "./news.ts";

/** Changes are told when there were none for `minMs`, or after `maxMs`, as one. The snapshot, and the state, are told at once. */
export function settled<T>(
  source: Source<T>,
  { minMs, maxMs }: { readonly minMs: number; readonly maxMs: number },
  clock: Clock,
): Source<T> {
  return (handler) => {
    const settling = new Settling(handler, minMs, maxMs, clock);
    const end = source({
      onNews: (news) => {
        if (news.kind === "changes" || news.kind === "resynced") settling.add(news);
        else return handler.onNews(news);
      },
      onFailure: (error) => {
        settling.end();
        handler.onFailure(error);
      },
    });
    return () => {
      settling.end();
      end();
    };
  };
}

class Settling<T> {
  readonly #handler: Handler<T>;
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #clock: Clock;
  readonly #over = new AbortController();
  #pending: DataNews<T> | undefined;
  #firstMs = 0;
  #lastMs = 0;
  #running = false;

  constructor(handler: Handler<T>, minMs: number, maxMs: number, clock: Clock) {
    this.#handler = handler;
    this.#minMs = minMs;
    this.#maxMs = maxMs;
    this.#clock = clock;
  }

  add(news: DataNews<T>): void {
    this.#lastMs = this.#clock.nowMs();
    if (this.#pending === undefined) {
      this.#firstMs = this.#lastMs;
      this.#pending = news;
    } else this.#pending = merge(this.#pending, news);
    if (!this.#running) void this.#run();
  }

  end(): void {
    this.#over.abort(new DOMException("The watch is over", "AbortError"));
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      while (this.#pending !== undefined) {
        const leftMs = Math.min(this.#lastMs + this.#minMs, this.#firstMs + this.#maxMs) - this.#clock.nowMs();
        if (leftMs > 0) {
          await this.#clock.sleep(leftMs, this.#over.signal);
          continue;
        }
        const news = this.#pending;
        this.#pending = undefined;
        // What comes while that is taken is settled anew.
        await this.#handler.onNews(news);
      }
    } catch {
      // The watch is over.
    } finally {
      this.#running = false;
    }
  }
}
