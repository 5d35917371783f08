import type { IEvent } from "etcd3";
import type { Clock } from "../../clock.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { KeyRange } from "../../keys.ts";
import type { Entry, LoggedChange } from "./entry.ts";
import { Follow } from "./follow.ts";
import type { FollowTarget } from "./follow.ts";
import type { Relist } from "./protocol.ts";
import { revisionOfChange } from "./snapshot.ts";
import { Subscription } from "./subscription.ts";
import type { Source } from "./subscription.ts";
import type { Following, OnReplicaNews } from "./types.ts";
import { named, rawChange, readPage } from "./wire.ts";
import type { Position } from "./wire.ts";

/** What may wait for a slow consumer; beyond it becomes a difference. */
const mostWaiting = 10_000;
const pageSize = 1_000;

/** Follows one range without a replica: a watch of its own, with the same promises. */
export class FollowDirect implements Following, FollowTarget, Source {
  readonly over: Promise<void>;
  readonly #client: EtcdClient;
  readonly #range: KeyRange;
  readonly #inner: Subscription;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  readonly #entries = new Map<string, Entry>();
  #log: LoggedChange[] = [];
  #logFrom = 0;
  #at: { clusterId: string; revision: number; term: number } | undefined;
  #histories = 0;

  constructor(client: EtcdClient, range: KeyRange, onNews: OnReplicaNews, clock: Clock, onOver: (one: FollowDirect) => void) {
    this.#client = client;
    this.#range = range;
    this.#inner = new Subscription(
      range,
      onNews,
      () => (this.#at === undefined ? undefined : this),
      () => {
        this.#stop.abort(new Error("Nobody follows any more"));
        onOver(this);
      },
    );
    this.over = this.#inner.over;
    const follow = new Follow(client, range, this, clock, this.#stop.signal);
    this.#running = follow.run({ cause: "empty", why: "" }).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#inner.end(error);
    });
  }

  get at(): FollowTarget["at"] {
    return this.#at;
  }

  get revision(): number {
    return this.#at!.revision;
  }

  get history(): string {
    return String(this.#histories);
  }

  range(): readonly Entry[] {
    return [...this.#entries.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  changesAfter(revision: number): readonly LoggedChange[] | undefined {
    if (revision < this.#logFrom) return undefined;
    this.#log = this.#log.filter((change) => revisionOfChange(change) > revision);
    this.#logFrom = revision;
    return this.#log;
  }

  apply(events: readonly IEvent[]): void {
    const known = this.revision;
    for (const event of events) {
      const raw = rawChange(event);
      const change: LoggedChange =
        raw.type === "put"
          ? { type: "put", entry: named(raw.entry) }
          : { type: "del", key: raw.key.toString("utf8"), revision: raw.revision };
      const revision = revisionOfChange(change);
      if (revision <= known) continue;
      if (change.type === "put") this.#entries.set(change.entry.key, change.entry);
      else this.#entries.delete(change.key);
      this.#log.push(change);
      this.#at = { ...this.#at!, revision: Math.max(this.#at!.revision, revision) };
    }
    if (this.#log.length > mostWaiting) {
      this.#log = [];
      this.#logFrom = this.revision;
    }
    this.pump();
  }

  progress(revision: number): void {
    this.#at = { ...this.#at!, revision: Math.max(this.revision, revision) };
  }

  async relist(why: Relist, from: Position, signal: AbortSignal): Promise<void> {
    const entries: Entry[] = [];
    let start: string | Buffer = this.#range.start;
    let revision = 0;
    for (;;) {
      const options = { endpoint: from.endpoint, revision, limit: pageSize, signal };
      const page = await readPage(this.#client, { start, end: this.#range.end }, options);
      revision ||= page.revision;
      for (const entry of page.entries) entries.push(named(entry));
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) break;
      start = Buffer.concat([last.key, Buffer.from([0])]);
    }
    this.#entries.clear();
    for (const entry of entries) this.#entries.set(entry.key, entry);
    if (why.cause === "restored" || why.cause === "cluster") this.#histories++;
    this.#at = { clusterId: from.clusterId, revision, term: from.term };
    this.#log = [];
    this.#logFrom = revision;
    this.pump();
  }

  heard({ term }: Position): void {
    if (this.#at !== undefined) this.#at = { ...this.#at, term: Math.max(term, this.#at.term) };
  }

  setLive(): void {
    // Nobody is told of it.
  }

  setLost(): void {
    // Reads find out for themselves.
  }

  setProgress(): void {
    // Nobody asks.
  }

  pump(): void {
    this.#inner.pump();
  }

  /** The replica is closed. */
  end(): void {
    this.#inner.end();
  }

  async stop(): Promise<void> {
    await this.#inner.stop();
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
