import type { IEvent } from "etcd3";
import { keyValue, toNumber } from "./codec.ts";
import type { KeyValue } from "./types.ts";

export type Change =
  { readonly type: "put"; readonly entry: KeyValue } | { readonly type: "del"; readonly key: string; readonly revision: number };

/** A whole range at one revision. */
export interface Listing {
  readonly entries: readonly KeyValue[];
  readonly revision: number;
}

/** What a watch has handed out so far. Every event passes once: what is at or before `revision` is known already. */
export class WatchState {
  readonly #entries = new Map<string, KeyValue>();
  #revision: number;

  constructor(listing: Listing) {
    for (const entry of listing.entries) this.#entries.set(entry.key, entry);
    this.#revision = listing.revision;
  }

  /** Of the listing or of the last event applied, never of a header: a header may be ahead of the events still to come. */
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
        this.#entries.delete(key);
        changes.push({ type: "del", key, revision });
      } else {
        const entry = keyValue(event.kv);
        this.#entries.set(entry.key, entry);
        changes.push({ type: "put", entry });
      }
    }
    return changes;
  }

  /** Takes a new listing in place of the events that were missed, and returns what differs. */
  replace(listing: Listing): readonly Change[] {
    const gone = new Set(this.#entries.keys());
    const puts: Change[] = [];
    for (const entry of listing.entries) {
      gone.delete(entry.key);
      const before = this.#entries.get(entry.key);
      if (before && same(before, entry)) continue;
      this.#entries.set(entry.key, entry);
      puts.push({ type: "put", entry });
    }
    for (const key of gone) this.#entries.delete(key);
    this.#revision = listing.revision;
    return [...[...gone].map((key): Change => ({ type: "del", key, revision: listing.revision })), ...puts];
  }
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
