import type { IEvent } from "etcd3";
import { keyValue, toNumber } from "./codec.ts";
import type { KeyValue } from "./types.ts";

/** `previous` is what the key held before, as the watch has handed it out; undefined where it did not exist. */
export type Change =
  | { readonly type: "put"; readonly entry: KeyValue; readonly previous: KeyValue | undefined }
  | { readonly type: "del"; readonly key: string; readonly revision: number; readonly previous: KeyValue | undefined };

/** A whole range at one revision. */
export interface Listing {
  readonly entries: readonly KeyValue[];
  readonly revision: number;
}

/** What a watch has received so far. Every event passes once: what is at or before `revision` is known already. */
export class WatchState {
  readonly #entries = new Map<string, KeyValue>();
  #revision: number;

  constructor(listing: Listing) {
    for (const entry of listing.entries) this.#entries.set(entry.key, entry);
    this.#revision = listing.revision;
  }

  /**
   * Of the listing, the last event applied, or a progress reply; never of another header: a header may be ahead of the events
   * still to come.
   */
  get revision(): number {
    return this.#revision;
  }

  /** Applies what etcd sent, and returns what of it is new. */
  apply(events: readonly IEvent[]): readonly Change[] {
    const known = this.#revision;
    const changes: Change[] = [];
    for (const event of events) {
      const revision = toNumber(event.kv.mod_revision);
      if (revision <= known) continue;
      this.#revision = Math.max(this.#revision, revision);
      if (event.type === "Delete") {
        const key = event.kv.key.toString("utf8");
        const previous = this.#entries.get(key);
        this.#entries.delete(key);
        changes.push({ type: "del", key, revision, previous });
      } else {
        const entry = keyValue(event.kv);
        const previous = this.#entries.get(entry.key);
        this.#entries.set(entry.key, entry);
        changes.push({ type: "put", entry, previous });
      }
    }
    return changes;
  }

  /** The server has said that nothing up to `revision` is still to come. */
  progress(revision: number): void {
    this.#revision = Math.max(this.#revision, revision);
  }

  /** Takes a new listing in place of the events that were missed, and returns what differs, in order of revision. */
  replace(listing: Listing): readonly Change[] {
    const gone = new Map(this.#entries);
    const puts: Change[] = [];
    for (const entry of listing.entries) {
      const previous = gone.get(entry.key);
      gone.delete(entry.key);
      if (previous && same(previous, entry)) continue;
      this.#entries.set(entry.key, entry);
      puts.push({ type: "put", entry, previous });
    }
    for (const key of gone.keys()) this.#entries.delete(key);
    this.#revision = listing.revision;
    const dels = [...gone].map(([key, previous]): Change => ({ type: "del", key, revision: listing.revision, previous }));
    return [...puts.sort((a, b) => revisionOf(a) - revisionOf(b)), ...dels];
  }
}

export function revisionOf(change: Change): number {
  return change.type === "put" ? change.entry.modRevision : change.revision;
}

/** Merges changes that follow each other into one per key, the latest. Nothing is left of a key that came and went between. */
export function coalesce(changes: Iterable<Change>): readonly Change[] {
  const latest = new Map<string, Change>();
  for (const change of changes) {
    const key = change.type === "put" ? change.entry.key : change.key;
    const before = latest.get(key);
    const previous = before ? before.previous : change.previous;
    // Behind what changed meanwhile, so that revisions stay in order.
    latest.delete(key);
    latest.set(key, { ...change, previous });
  }
  return [...latest.values()].filter((change) => change.type === "put" || change.previous !== undefined);
}

/** The whole entry counts: after a restore the same revision may hold another value. */
function same(a: KeyValue, b: KeyValue): boolean {
  return (
    a.modRevision === b.modRevision &&
    a.createRevision === b.createRevision &&
    a.version === b.version &&
    a.value === b.value &&
    a.lease === b.lease
  );
}
