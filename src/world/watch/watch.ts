import { Observable } from "rxjs";
import { passOn } from "../../clock.ts";
import type { Change, ListEvent, ValueEvent, Watch, WatchOptions } from "../api/common.ts";
import type { Context } from "../context.ts";
import { asWorldError } from "../error.ts";
import { invalid } from "../write.ts";
import { Iteration } from "./iteration.ts";
import type { IterationOptions, Render } from "./iteration.ts";
import { differing } from "./news.ts";
import type { Difference, News, Source } from "./news.ts";
import { settled } from "./settle.ts";

/** A watch as users see it. */
class WorldWatch<T, E> extends Observable<E> implements Watch<E> {
  readonly #iterate: () => AsyncIterator<E, undefined>;

  constructor(from: Source<T>, renderer: () => Render<T, E>, options: IterationOptions) {
    super((subscriber) => {
      const { signal } = options;
      const render = renderer();
      if (signal?.aborted === true) {
        subscriber.complete();
        return;
      }
      const release = passOn([signal], {
        abort: () => {
          subscriber.complete();
        },
      });
      const end = from({
        onNews: (news) => {
          let event: E | undefined;
          try {
            event = render(news);
          } catch (error) {
            // What the user's function throws is the user's to see.
            subscriber.error(error);
            return;
          }
          if (event !== undefined) subscriber.next(event);
        },
        onFailure: (error) => {
          subscriber.error(error);
        },
      });
      return () => {
        release();
        end();
      };
    });
    this.#iterate = () => new Iteration(from, renderer(), options);
  }

  [Symbol.asyncIterator](): AsyncIterator<E, undefined> {
    return this.#iterate();
  }
}

const defaultBuffer = 1_000;

/** What is wrong with the arguments of a watch is told by the watch. */
export function failing<E>(make: () => Watch<E>): Watch<E> {
  try {
    return make();
  } catch (error) {
    const failure = asWorldError(error, { what: "watch" });
    const source: Source<never> = (handler) => {
      handler.onFailure(failure);
      return () => undefined;
    };
    return new WorldWatch<never, E>(source, () => () => undefined, { coalesce: false, buffer: 1, signal: undefined });
  }
}

function watchOf<T, E>(
  context: Context,
  inner: Source<T>,
  options: Omit<WatchOptions<never>, "equal">,
  equal: ((before: T, after: T) => boolean) | undefined,
  render: (news: News<T>) => E,
): Watch<E> {
  const { settle, coalesce = false, buffer = defaultBuffer, signal } = options;
  if (!(Number.isInteger(buffer) && buffer >= 1)) throw invalid("buffer", "has to be a whole number, 1 at least");
  let source = inner;
  if (settle !== undefined) {
    const { minMs, maxMs = 10 * minMs } = settle;
    if (!(minMs > 0 && maxMs >= minMs)) throw invalid("settle", "needs minMs above 0, and maxMs not below it");
    source = settled(source, { minMs, maxMs }, context.clock);
  }
  const renderer = (): Render<T, E> => {
    if (equal === undefined) return render;
    const differ = differing(equal);
    return (news) => {
      const different = differ(news);
      return different === undefined ? undefined : render(different);
    };
  };
  return new WorldWatch(source, renderer, { coalesce, buffer, signal });
}

/** Of what is told as it comes. */
export function watchOver<T, E>(source: Source<T>, signal: AbortSignal | undefined, render: Render<T, E>): Watch<E> {
  return new WorldWatch(source, () => render, { coalesce: false, buffer: defaultBuffer, signal });
}

function checkEqual(equal: unknown): void {
  if (equal !== undefined && typeof equal !== "function") throw invalid("equal", "has to be a function");
}

/** Of several items. @throws WorldError INVALID_OPTION */
export function listWatch<T>(
  context: Context,
  source: Source<T>,
  options: WatchOptions<T>,
  order: (a: T, b: T) => number,
): Watch<ListEvent<T>> {
  checkEqual(options.equal);
  return watchOf(context, source, options, options.equal, (news): ListEvent<T> => {
    if (news.kind === "state") return news;
    const { revision } = news;
    if (news.kind === "snapshot") return { kind: "snapshot", items: [...news.items.values()].sort(order), revision };
    return { kind: news.kind, changes: [...news.changes.values()].map(changeOf), revision };
  });
}

function changeOf<T>({ before, after }: Difference<T>): Change<T> {
  return after === undefined ? { type: "deleted", previous: before! } : { type: "set", item: after, previous: before };
}

/** Of one value, which has one key. @throws WorldError INVALID_OPTION */
export function valueWatch<T>(
  context: Context,
  source: Source<{ readonly value: T; readonly modRevision: number }>,
  options: WatchOptions<T>,
): Watch<ValueEvent<T>> {
  const { equal } = options;
  checkEqual(equal);
  const equalItems =
    equal === undefined ? undefined : (a: { readonly value: T }, b: { readonly value: T }): boolean => equal(a.value, b.value);
  return watchOf(context, source, options, equalItems, (news): ValueEvent<T> => {
    if (news.kind === "state") return news;
    const { revision } = news;
    if (news.kind === "snapshot") {
      const [item] = news.items.values();
      return { kind: "snapshot", value: item?.value, modRevision: item?.modRevision ?? 0, revision };
    }
    const [change] = news.changes.values();
    const { before, after } = change!;
    return { kind: news.kind, value: after?.value, previous: before?.value, modRevision: after?.modRevision ?? 0, revision };
  });
}
