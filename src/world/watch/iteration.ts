import { passOn } from "../../clock.ts";
import type { DataNews, News, Source } from "./news.ts";
import { merge } from "./news.ts";

export interface IterationOptions {
  readonly coalesce: boolean;
  readonly buffer: number;
  readonly signal: AbortSignal | undefined;
}

/** What one consumer is told of the news; undefined: nothing. */
export type Render<T, E> = (news: News<T>) => E | undefined;

interface Waiting<E> {
  readonly resolve: (result: IteratorResult<E, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/** What one `for await` takes: what it has not taken yet waits here, up to a limit, and behind that at the source. */
export class Iteration<T, E> implements AsyncIterator<E, undefined> {
  readonly #render: Render<T, E>;
  readonly #options: IterationOptions;
  readonly #queue: News<T>[] = [];
  readonly #waiting: Waiting<E>[] = [];
  readonly #end: () => void;
  readonly #release: () => void;
  /** Lets the source go on. */
  #room: (() => void) | undefined;
  #failure: { readonly error: unknown } | undefined;
  #over = false;

  constructor(source: Source<T>, render: Render<T, E>, options: IterationOptions) {
    this.#render = render;
    this.#options = options;
    const { signal } = options;
    if (signal?.aborted === true) {
      this.#over = true;
      this.#end = () => undefined;
      this.#release = () => undefined;
      return;
    }
    this.#release = passOn([signal], {
      abort: () => {
        this.#finish();
      },
    });
    this.#end = source({
      onNews: (news) => this.#take(news),
      onFailure: (error) => {
        this.#failure ??= { error };
        this.#hand();
      },
    });
  }

  next(): Promise<IteratorResult<E, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#hand();
    });
  }

  async return(): Promise<IteratorResult<E, undefined>> {
    this.#finish();
    return { done: true, value: undefined };
  }

  #take(news: News<T>): void | Promise<void> {
    if (this.#over) return;
    this.#push(news);
    this.#hand();
    const { coalesce, buffer } = this.#options;
    // Whoever coalesces has one that waits, however much there is in it: to hold the source back would keep revisions apart.
    if (news.kind === "state" || coalesce || this.#queue.length < buffer) return;
    return new Promise((resolve) => {
      const before = this.#room;
      this.#room = () => {
        before?.();
        resolve();
      };
    });
  }

  #push(news: News<T>): void {
    const last = this.#queue.at(-1);
    // Of several states only the last is one.
    if (news.kind === "state" && last?.kind === "state") this.#queue.pop();
    else if (this.#options.coalesce && news.kind !== "state") {
      const at = this.#queue.findLastIndex(({ kind }) => kind !== "state");
      if (at >= 0) {
        const merged = merge(this.#queue[at] as DataNews<T>, news);
        this.#queue.splice(at, 1, ...(merged === undefined ? [] : [merged]));
        return;
      }
    }
    this.#queue.push(news);
  }

  #hand(): void {
    while (this.#waiting.length > 0) {
      const news = this.#queue.shift();
      if (news !== undefined) this.#give(news);
      else if (this.#failure !== undefined && !this.#over) {
        this.#close();
        this.#waiting.shift()!.reject(this.#failure.error);
      } else if (this.#over) this.#waiting.shift()!.resolve({ done: true, value: undefined });
      else return;
      if (this.#queue.length < this.#options.buffer) this.#letGo();
    }
  }

  #give(news: News<T>): void {
    try {
      const value = this.#render(news);
      if (value !== undefined) this.#waiting.shift()!.resolve({ done: false, value });
    } catch (error) {
      this.#waiting.shift()!.reject(error);
      this.#finish();
    }
  }

  #letGo(): void {
    const room = this.#room;
    this.#room = undefined;
    room?.();
  }

  #finish(): void {
    this.#queue.length = 0;
    this.#close();
    this.#hand();
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#release();
    this.#end();
    this.#letGo();
  }
}
