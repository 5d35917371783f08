import { QuorateError } from "../../errors.ts";
import { Damaged } from "./entry.ts";
import type { KeyRange } from "../../keys.ts";
import type { Entry, EntryChange, LoggedChange } from "./entry.ts";
import { revisionOfChange } from "./snapshot.ts";
import type { Following, OnReplicaNews, ReplicaNews, Select } from "./types.ts";

/** What a subscription reads from: always of one moment. */
export interface Source {
  readonly revision: number;
  /** Revisions of two histories do not compare. */
  readonly history: string;
  range(range: KeyRange): readonly Entry[];
  /** Every change behind a revision, of all ranges; undefined where they cannot be had one by one. */
  changesAfter(revision: number): readonly LoggedChange[] | undefined;
}

/**
 * What one consumer is told of one range. It has what it was told, and reads on from there: what a slow consumer has not taken waits
 * in the log, and what is no longer there becomes a difference.
 */
export class Subscription implements Following {
  readonly over: Promise<void>;
  readonly #range: KeyRange;
  readonly #onNews: OnReplicaNews;
  readonly #source: () => Source | undefined;
  readonly #select: Select | undefined;
  readonly #onOver: (subscription: Subscription) => void;
  readonly #told = new Map<string, Entry>();
  /** Everything up to it was told. Undefined before the snapshot. */
  #revision: number | undefined;
  #history = "";
  #pumping: Promise<void> | undefined;
  #again = false;
  #settled = false;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor(
    range: KeyRange,
    onNews: OnReplicaNews,
    source: () => Source | undefined,
    onOver: (one: Subscription) => void,
    select: Select | undefined,
  ) {
    this.#select = select;
    this.#range = range;
    this.#onNews = onNews;
    this.#source = source;
    this.#onOver = onOver;
    this.over = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.over.catch(() => undefined);
  }

  /** Something may be new. */
  pump(): void {
    this.#again = true;
    if (this.#settled) return;
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
      // It may have been asked for after the last look.
      if (this.#again) this.pump();
    });
  }

  async stop(): Promise<void> {
    this.#settle(() => this.#resolve());
    await this.#pumping;
  }

  /** It cannot go on. By default because the replica is closed. */
  end(error?: unknown): void {
    const closed = (): QuorateError => new QuorateError("CLOSED", `Cannot follow ${this.#range.start}: the replica was closed`);
    this.#settle(() => this.#reject(error ?? closed()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #settle(how: () => void): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#onOver(this);
    how();
  }

  async #pump(): Promise<void> {
    // Never from within the call that brought the news.
    await Promise.resolve();
    try {
      while (this.#again && !this.#settled) {
        this.#again = false;
        const source = this.#source();
        if (source === undefined) return;
        for (const news of this.#newsOrNothing(source)) {
          if (this.#isSettled()) return;
          await this.#onNews(news);
        }
      }
    } catch (error) {
      this.#settle(() => this.#reject(error));
    }
  }

  #isSettled(): boolean {
    return this.#settled;
  }

  /** Nothing from a source that turns out to be damaged: there will be another. */
  #newsOrNothing(source: Source): ReplicaNews[] {
    try {
      return this.#newsOf(source);
    } catch (error) {
      if (error instanceof Damaged) return [];
      throw error;
    }
  }

  #newsOf(source: Source): ReplicaNews[] {
    const { revision, history } = source;
    if (this.#revision === undefined) {
      const entries = this.#selected(source.range(this.#range));
      for (const entry of entries) this.#told.set(entry.key, entry);
      this.#revision = revision;
      this.#history = history;
      return [{ kind: "snapshot", entries, revision }];
    }
    const same = history === this.#history;
    // A feeder that begins again from an older file catches up with what was told before it tells more.
    if (same && revision <= this.#revision) return [];
    const logged = same ? source.changesAfter(this.#revision) : undefined;
    this.#history = history;
    if (logged === undefined) {
      const changes = this.#difference(this.#selected(source.range(this.#range)), revision);
      this.#revision = revision;
      return changes.length === 0 ? [] : [{ kind: "resynced", changes, revision }];
    }
    this.#revision = revision;
    return this.#byRevision(logged);
  }

  #byRevision(logged: readonly LoggedChange[]): ReplicaNews[] {
    const news: { kind: "changes"; changes: EntryChange[]; revision: number }[] = [];
    for (const one of logged) {
      const key = one.type === "put" ? one.entry.key : one.key;
      if (key < this.#range.start || key >= this.#range.end) continue;
      const selected = this.#select?.(key) ?? "entry";
      if (selected === "nothing") continue;
      const revision = revisionOfChange(one);
      const change = this.#take(
        selected === "entry" || one.type === "del" ? one : { type: "put", entry: withoutValue(one.entry) },
      );
      if (news.at(-1)?.revision === revision) news.at(-1)!.changes.push(change);
      else news.push({ kind: "changes", changes: [change], revision });
    }
    return news;
  }

  #selected(entries: readonly Entry[]): readonly Entry[] {
    const select = this.#select;
    return select === undefined ? entries : entries.flatMap((entry) => selectedOf(entry, select) ?? []);
  }

  #take(change: LoggedChange): EntryChange {
    const key = change.type === "put" ? change.entry.key : change.key;
    const previous = this.#told.get(key);
    if (change.type === "put") this.#told.set(key, change.entry);
    else this.#told.delete(key);
    return { ...change, previous };
  }

  /** Both are in order of keys. In the end in order of revision, deletions last: nobody knows when those were. */
  #difference(entries: readonly Entry[], revision: number): EntryChange[] {
    const gone = new Set(this.#told.keys());
    const puts: EntryChange[] = [];
    for (const entry of entries) {
      gone.delete(entry.key);
      const previous = this.#told.get(entry.key);
      if (previous !== undefined && isSame(previous, entry)) continue;
      puts.push(this.#take({ type: "put", entry }));
    }
    puts.sort((a, b) => revisionOfChange(a) - revisionOfChange(b));
    return [...puts, ...[...gone].map((key) => this.#take({ type: "del", key, revision }))];
  }
}

/** What of an entry is followed. */
export function selectedOf(entry: Entry, select: Select): Entry | undefined {
  const selected = select(entry.key);
  return selected === "nothing" ? undefined : selected === "entry" ? entry : withoutValue(entry);
}

const noValue = new Uint8Array(0);

function withoutValue(entry: Entry): Entry {
  return { ...entry, value: noValue };
}

/** The whole entry counts: after a restore the same revision may hold another value. */
function isSame(a: Entry, b: Entry): boolean {
  return (
    a.modRevision === b.modRevision &&
    a.createRevision === b.createRevision &&
    a.version === b.version &&
    a.lease === b.lease &&
    Buffer.compare(a.value, b.value) === 0
  );
}
