/** What happens to the items of a watch, by their keys: before it is told in the words of one API. */
export type News<T> =
  | { readonly kind: "snapshot"; readonly items: ReadonlyMap<string, T>; readonly revision: number }
  | { readonly kind: "changes" | "resynced"; readonly changes: ReadonlyMap<string, Difference<T>>; readonly revision: number }
  | { readonly kind: "state"; readonly live: boolean; readonly lagMs: number };

/** One of both at least is there. */
export interface Difference<T> {
  readonly before: T | undefined;
  readonly after: T | undefined;
}

export interface Handler<T> {
  /** The next news of a promise that is pending wait at the source. */
  readonly onNews: (news: News<T>) => void | Promise<void>;
  /** Nothing comes any more. */
  readonly onFailure: (error: unknown) => void;
}

/** Where news come from: begins, and ends with the returned function. */
export type Source<T> = (handler: Handler<T>) => () => void;

export type DataNews<T> = Exclude<News<T>, { readonly kind: "state" }>;

/** Two that follow each other as one; undefined where together they are nothing. */
export function merge<T>(first: DataNews<T>, then: DataNews<T>): DataNews<T> | undefined {
  if (then.kind === "snapshot") return then;
  const { revision } = then;
  if (first.kind === "snapshot") {
    const items = new Map(first.items);
    for (const [key, { after }] of then.changes) {
      if (after === undefined) items.delete(key);
      else items.set(key, after);
    }
    return { kind: "snapshot", items, revision };
  }
  const changes = new Map(first.changes);
  for (const [key, { before, after }] of then.changes) {
    const earlier = changes.get(key);
    const merged = { before: earlier === undefined ? before : earlier.before, after };
    if (merged.before === undefined && after === undefined) changes.delete(key);
    else changes.set(key, merged);
  }
  if (changes.size === 0) return undefined;
  return { kind: first.kind === "resynced" ? "resynced" : then.kind, changes, revision };
}

/**
 * For one whole watch: leaves out changes between two that are equal, where the first is what was told last. So many small ones that are
 * each equal to the one before come through at last, and what was there before is always what was told.
 */
export function differing<T>(equal: (before: T, after: T) => boolean): (news: News<T>) => News<T> | undefined {
  const told = new Map<string, T>();
  return (news) => {
    if (news.kind === "state") return news;
    if (news.kind === "snapshot") {
      for (const [key, item] of news.items) told.set(key, item);
      return news;
    }
    const changes = new Map<string, Difference<T>>();
    for (const [key, { after }] of news.changes) {
      const before = told.get(key);
      if (before === undefined ? after === undefined : after !== undefined && equal(before, after)) continue;
      changes.set(key, { before, after });
      if (after === undefined) told.delete(key);
      else told.set(key, after);
    }
    return changes.size === 0 ? undefined : { ...news, changes };
  };
}
