import type { IEvent } from "etcd3";
import type { Clock } from "../../clock.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { KeyRange } from "../../keys.ts";
import type { Entry, LoggedChange } from "./entry.ts";
import { Follow } from "./follow.ts";
import type { FollowTarget } from "./follow.ts";
import type { Relist } from "./protocol.ts";
import { revisionOfChange } from "./snapshot.ts";
import { selectedOf } from "./subscription.ts";
import type { Source } from "./subscription.ts";
import type { Select } from "./types.ts";
import { named, rawChange, readPage } from "./wire.ts";
import type { Position } from "./wire.ts";

/** What may wait for a slow consumer; beyond it becomes a difference. */
const mostWaiting = 10_000;
const pageSize = 1_000;

/** What is followed of one range, in this process's memory, kept by a watch of its own: what a subscription reads from where there is no replica. */
export class RangeCopy implements FollowTarget {
  readonly #client: EtcdClient;
  readonly #range: KeyRange;
  readonly #onNews: () => void;
  readonly #select: Select;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  readonly #name: string;
  readonly #entries = new Map<string, Entry>();
  #log: LoggedChange[] = [];
  #logFrom = 0;
  #at: { clusterId: string; revision: number; term: number } | undefined;
  #histories = 0;
  #live = false;

  /** `name`: no other source of the same subscription has it. `onEnd`: it cannot go on. */
  constructor(
    client: EtcdClient,
    range: KeyRange,
    clock: Clock,
    name: string,
    { onNews, onEnd }: { readonly onNews: () => void; readonly onEnd: (error: unknown) => void },
    select: Select = () => "entry",
  ) {
    this.#client = client;
    this.#range = range;
    this.#onNews = onNews;
    this.#select = select;
    this.#name = name;
    const follow = new Follow(client, range, this, clock, this.#stop.signal);
    this.#running = follow.run({ cause: "empty", why: "" }).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) onEnd(error);
    });
  }

  get at(): FollowTarget["at"] {
    return this.#at;
  }

  /** Undefined before the first listing. */
  get source(): Source | undefined {
    if (this.#at === undefined) return undefined;
    return {
      revision: this.#at.revision,
      history: `${this.#name} ${this.#histories}`,
      range: () => [...this.#entries.values()].sort((a, b) => (a.key < b.key ? -1 : 1)),
      changesAfter: (revision) => this.#changesAfter(revision),
    };
  }

  #changesAfter(revision: number): readonly LoggedChange[] | undefined {
    if (revision < this.#logFrom) return undefined;
    this.#log = this.#log.filter((change) => revisionOfChange(change) > revision);
    this.#logFrom = revision;
    return this.#log;
  }

  apply(events: readonly IEvent[]): void {
    const known = this.#at!.revision;
    for (const event of events) {
      const raw = rawChange(event);
      const change: LoggedChange =
        raw.type === "put"
          ? { type: "put", entry: named(raw.entry) }
          : { type: "del", key: raw.key.toString("utf8"), revision: raw.revision };
      const revision = revisionOfChange(change);
      if (revision <= known) continue;
      this.#keep(change);
      this.#at = { ...this.#at!, revision: Math.max(this.#at!.revision, revision) };
    }
    if (this.#log.length > mostWaiting) {
      this.#log = [];
      this.#logFrom = this.#at!.revision;
    }
    this.#onNews();
  }

  #keep(change: LoggedChange): void {
    if (change.type === "del") {
      if (this.#entries.delete(change.key)) this.#log.push(change);
      return;
    }
    const entry = selectedOf(change.entry, this.#select);
    if (entry === undefined) return;
    this.#entries.set(entry.key, entry);
    this.#log.push({ type: "put", entry });
  }

  progress(revision: number): void {
    this.#at = { ...this.#at!, revision: Math.max(this.#at!.revision, revision) };
  }

  async relist(why: Relist, from: Position, signal: AbortSignal): Promise<void> {
    const entries: Entry[] = [];
    let start: string | Buffer = this.#range.start;
    let revision = 0;
    for (;;) {
      const options = { endpoint: from.endpoint, revision, limit: pageSize, signal };
      const page = await readPage(this.#client, { start, end: this.#range.end }, options);
      revision ||= page.revision;
      entries.push(...page.entries.flatMap((entry) => selectedOf(named(entry), this.#select) ?? []));
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
    this.#onNews();
  }

  heard({ term }: Position): void {
    if (this.#at !== undefined) this.#at = { ...this.#at, term: Math.max(term, this.#at.term) };
  }

  setLive(live: boolean): void {
    this.#live = live;
    this.#onNews();
  }

  get live(): boolean {
    return this.#live;
  }

  setLost(): void {
    // Reads find out for themselves.
  }

  setProgress(): void {
    // Nobody asks.
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("Nobody follows any more"));
    await this.#running;
  }
}
