import { isCandidate, watchRange, type Change, type EtcdClient, type KeyValue, type WatchNews } from "../../etcd/index.ts";
import { Doorbell } from "../../clock.ts";
import type { Clock } from "../../clock.ts";
import type { Keys, KeyRange } from "../../keys.ts";
import { parseUrls } from "../../keys.ts";
import type { Logger } from "pino";
import { policySeen, type ClusterPolicy } from "./policy.ts";
import { isRefused, readRecord, type AgentRecord, type PlanRecord, type SeatRecord } from "./records.ts";
import { FormerSeats } from "./former-seats.ts";

/** Whether somebody wants to hear of changes of this key. */
export type About = (key: string) => boolean;

type FamilyEntries = readonly (readonly [host: string, entry: KeyValue])[];

function keyOf(change: Change): string {
  return change.type === "put" ? change.entry.key : change.key;
}

/**
 * What this agent knows of the control keys, from three watches on one stream: the endpoints, and nominations with Quorate's own keys
 * before and behind the events, of which there are too many for an agent to hold. It is behind etcd by nature: it wakes loops and
 * fills status, and nothing irreversible is decided from it.
 */
export class ControlView {
  /** The seats it has heard of, also after they were deleted. */
  readonly formerSeats: FormerSeats;
  readonly #entries = new Map<string, KeyValue>();
  /** Those that wait, with what each wants to hear of; undefined for everything. */
  readonly #bells = new Map<Doorbell, About | undefined>();
  /** By prefix, until something of it changes: every ring asks for several. */
  readonly #families = new Map<string, FamilyEntries>();
  /** What was read in a family as it stands. */
  readonly #read = new WeakMap<FamilyEntries, unknown>();
  readonly #keys: Keys;
  readonly #ranges: readonly KeyRange[];
  #loaded = 0;
  /** How far each watch has come, by the start of its range: one may be behind the other. */
  readonly #revisions = new Map<string, number>();

  constructor(keys: Keys) {
    this.#keys = keys;
    this.formerSeats = new FormerSeats(keys.seats);
    this.#ranges = [keys.endpoints, ...keys.control];
  }

  /** All ranges have been read once. */
  get complete(): boolean {
    return this.#loaded === this.#ranges.length;
  }

  /** Everything that happened to this key up to that revision is in here; so one that is absent was deleted, or never was. */
  hasSeen(key: string, revision: number): boolean {
    const range = this.#ranges.find(({ start, end }) => key >= start && key < end);
    return range !== undefined && (this.#revisions.get(range.start) ?? -1) >= revision;
  }

  /**
   * Rings `bell` until the signal fires: on every change, or with `about` on those of the keys that it holds for. A ring that is not for
   * one key, as {@link ring} or a new listing, is for all.
   */
  subscribe(bell: Doorbell, signal: AbortSignal, about?: About): void {
    this.#bells.set(bell, about);
    signal.addEventListener("abort", () => this.#bells.delete(bell), { once: true });
  }

  /** Settles once `condition` holds, looked at now and after every ring, or those about the keys it depends on. */
  async until(condition: () => boolean, signal: AbortSignal, about?: About): Promise<void> {
    const bell = new Doorbell();
    this.#bells.set(bell, about);
    try {
      while (!condition()) await bell.wait(signal);
    } finally {
      this.#bells.delete(bell);
    }
  }

  /** Wakes everyone, for news that did not come from etcd. */
  ring(): void {
    for (const bell of this.#bells.keys()) bell.ring();
  }

  /** Wakes those that want to hear of one of these keys. */
  #ringAbout(changed: readonly string[]): void {
    for (const [bell, about] of this.#bells) if (about === undefined || changed.some(about)) bell.ring();
  }

  get(key: string): KeyValue | undefined {
    return this.#entries.get(key);
  }

  /** Hosts under one family, with their entries, in order of name. */
  under(family: Pick<Keys["agents"], "prefix" | "nameIn">): FamilyEntries {
    let found = this.#families.get(family.prefix);
    if (!found) {
      found = [...this.#entries.keys()]
        .filter((key) => key.startsWith(family.prefix))
        .sort()
        .flatMap((key) => {
          const name = family.nameIn(key);
          const entry = this.#entries.get(key);
          return name === undefined || !entry ? [] : [[name, entry] as const];
        });
      this.#families.set(family.prefix, found);
    }
    return found;
  }

  agents(): ReadonlyMap<string, AgentRecord> {
    return this.#records("agentRecord", this.#keys.agents);
  }

  seats(): ReadonlyMap<string, SeatRecord> {
    return this.#records("seat", this.#keys.seats);
  }

  plan(): PlanRecord | undefined {
    const entry = this.get(this.#keys.plan);
    if (!entry) return undefined;
    const record = readRecord("planRecord", entry.value);
    return isRefused(record) ? undefined : record;
  }

  /** The cluster's policy; undefined where none is known. */
  policy(): ClusterPolicy | undefined {
    const { inForce, written, last } = policySeen(this.get(this.#keys.policy)?.value, this.get(this.#keys.lastPolicy)?.value);
    return written || last !== undefined ? inForce : undefined;
  }

  /** The agent whose election key is the oldest. */
  leader(): string | undefined {
    let oldest: KeyValue | undefined;
    for (const [, entry] of this.under(this.#keys.leader)) {
      if (!isCandidate(entry, this.#keys.leader.prefix)) continue;
      if (!oldest || entry.createRevision < oldest.createRevision) oldest = entry;
    }
    return oldest?.value;
  }

  /** Client URLs of every agent that says it serves as a voter. */
  endpointsByHost(): ReadonlyMap<string, readonly string[]> {
    return this.#readOnce(this.#keys.endpoints, ({ value }) => {
      const parsed = parseUrls(value);
      return "urls" in parsed ? parsed.urls : undefined;
    });
  }

  #records<K extends "agentRecord" | "seat">(
    kind: K,
    family: Keys["agents"],
  ): ReadonlyMap<string, K extends "seat" ? SeatRecord : AgentRecord> {
    return this.#readOnce(family, ({ value }) => {
      const record = readRecord(kind, value);
      return isRefused(record) ? undefined : (record as K extends "seat" ? SeatRecord : AgentRecord);
    });
  }

  /** A family as `read` makes of it, each entry once until something of it changes; what it makes nothing of is passed over. */
  #readOnce<T>(family: Keys["agents"], read: (entry: KeyValue) => T | undefined): ReadonlyMap<string, T> {
    const entries = this.under(family);
    const known = this.#read.get(entries);
    if (known) return known as ReadonlyMap<string, T>;
    const found = new Map<string, T>();
    for (const [host, entry] of entries) {
      const value = read(entry);
      if (value !== undefined) found.set(host, value);
    }
    this.#read.set(entries, found);
    return found;
  }

  /** Follows all ranges until aborted. */
  async follow(client: EtcdClient, deps: { readonly clock: Clock; readonly log: Logger }, signal: AbortSignal): Promise<never> {
    const done = new AbortController();
    const own = AbortSignal.any([signal, done.signal]);
    const one = (range: KeyRange): Promise<never> => {
      let first = true;
      return watchRange(
        client,
        range,
        (news) => {
          // Whether a watch is heard changes nothing that is known here.
          if (news.kind === "state") return;
          this.#take(range, news);
          if (news.kind === "snapshot" && first) {
            first = false;
            this.#loaded += 1;
          }
          // What came and went while nothing was heard, or before it was taken, is in no change.
          if (news.kind === "changes" && !news.resynced && !news.coalesced) this.#ringAbout(news.changes.map(keyOf));
          else this.ring();
        },
        deps,
        own,
      );
    };
    const running = this.#ranges.map(one);
    try {
      return await Promise.race(running);
    } finally {
      done.abort(new DOMException("The view is closed", "AbortError"));
      await Promise.allSettled(running);
    }
  }

  #take(range: KeyRange, news: Exclude<WatchNews, { readonly kind: "state" }>): void {
    switch (news.kind) {
      case "snapshot":
        this.#families.clear();
        for (const key of [...this.#entries.keys()]) if (key >= range.start && key < range.end) this.#entries.delete(key);
        for (const entry of news.entries) this.#set(entry);
        break;
      case "changes":
        for (const change of news.changes) {
          const key = keyOf(change);
          if (change.type === "put") this.#set(change.entry);
          else this.#entries.delete(key);
          for (const prefix of this.#families.keys()) if (key.startsWith(prefix)) this.#families.delete(prefix);
        }
        break;
    }
    this.#revisions.set(range.start, Math.max(this.#revisions.get(range.start) ?? 0, news.revision));
  }

  #set(entry: KeyValue): void {
    this.#entries.set(entry.key, entry);
    this.formerSeats.hear(entry.key, entry.value);
  }
}
