import type { IEvent } from "etcd3";
import type { Clock } from "../../clock.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import { QuorateError } from "../../errors.ts";
import type { Keys } from "../../keys.ts";
import type { Entry } from "./entry.ts";
import type { FeederSettings } from "./feeder-settings.ts";
import { bootId, presentCluster } from "./folder.ts";
import type { ReplicaFolder } from "./folder.ts";
import { Follow } from "./follow.ts";
import type { FollowTarget } from "./follow.ts";
import { formatVersion, longestKey } from "./format.ts";
import type { Meta } from "./format.ts";
import { fitsSeal } from "./seal.ts";
import { FileReader } from "./snapshot.ts";
import { named, ownsKey, rawChange } from "./wire.ts";
import type { Position } from "./wire.ts";

export interface BridgeDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  /** Milliseconds since the machine's start. */
  readonly uptimeMs: () => number;
  /** Called after anything has changed; must not throw. */
  readonly onNews: () => void;
}

/** What it keeps in memory; beyond it the feeder is waited for. */
const most = { changes: 10_000, bytes: 16 * 1024 * 1024 };

/**
 * What a program reads from until the feeder it has started is there, which takes a process longer than all else: the file that an
 * earlier feeder has sealed, and what has happened since, in memory, by a watch of its own. Nothing is written.
 *
 * Where it can go on no longer (the history is gone, or there is too much of it) it stays as it is. All reads throw Damaged.
 */
export class Bridge implements FollowTarget {
  readonly #reader: FileReader;
  readonly #keys: Keys;
  readonly #uptimeMs: () => number;
  readonly #onNews: () => void;
  readonly #stop = new AbortController();
  readonly #follow: Follow;
  readonly #running: Promise<unknown>;
  /** Undefined: it was deleted. */
  readonly #changed = new Map<string, Entry | undefined>();
  #bytes = 0;
  #meta: Meta;
  live = false;
  lost: string | undefined;
  /** As `progress` of FeederState. */
  progressPossible: boolean | undefined;

  private constructor(reader: FileReader, { client, keys, clock, uptimeMs, onNews }: BridgeDeps) {
    this.#reader = reader;
    this.#keys = keys;
    this.#uptimeMs = uptimeMs;
    this.#onNews = onNews;
    this.#meta = reader.meta;
    this.#follow = new Follow(client, keys.aroundWorld, this, clock, this.#stop.signal);
    // Whatever ends it: the feeder comes in any case.
    this.#running = this.#follow.run({ cause: "empty", why: "" }).catch(() => undefined);
  }

  /** Undefined where there is no file that is as it was sealed, in this life of the machine, of that cluster and namespace. */
  static async open(folder: ReplicaFolder, settings: FeederSettings, deps: BridgeDeps): Promise<Bridge | undefined> {
    const record = await folder.record();
    if (record?.seal === undefined || record.namespace !== settings.namespace) return undefined;
    const { meta } = record.seal;
    const isPresent =
      meta.format === formatVersion &&
      meta.namespace === settings.namespace &&
      meta.clusterId === presentCluster(settings.clusterId, record) &&
      meta.bootId === bootId(settings.bootIdPath);
    const path = folder.filePath(record.file);
    if (!isPresent || !(await fitsSeal(path, record.seal))) return undefined;
    let reader: FileReader | undefined;
    try {
      reader = new FileReader(path);
      return new Bridge(reader, deps);
    } catch {
      // A feeder has taken it away meanwhile.
      await reader?.close();
      return undefined;
    }
  }

  /** What the file and the changes since are a copy of. */
  get meta(): Meta {
    return this.#meta;
  }

  get at(): Meta {
    return this.#meta;
  }

  get(key: string): Entry | undefined {
    return this.#changed.has(key) ? this.#changed.get(key) : this.#reader.get(key);
  }

  /** Entries from `start` up to but without `end`, in the order of their bytes. */
  range(start: string, end: string, limit = Infinity): Entry[] {
    const inRange = [...this.#changed].filter(([key]) => key >= start && key < end);
    const kept = this.#reader.range(start, end, limit + inRange.length).filter(({ key }) => !this.#changed.has(key));
    const puts = inRange.flatMap(([, entry]) => (entry === undefined ? [] : [entry]));
    if (puts.length === 0) return kept.slice(0, limit);
    return [...kept, ...puts].sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))).slice(0, limit);
  }

  /** {@link range} without values. */
  keys(start: string, end: string): string[] {
    const changed = [...this.#changed].filter(([key]) => key >= start && key < end);
    const kept = this.#reader.keys(start, end).filter((key) => !this.#changed.has(key));
    return [...kept, ...changed.flatMap(([key, entry]) => (entry === undefined ? [] : [key]))];
  }

  /** The key at that part of the file, from 0 up to 1. */
  keyAt(part: number): string | undefined {
    return this.#reader.keyAt(part);
  }

  /** Somebody waits for that revision. */
  want(revision: number): void {
    this.#follow.want(revision);
  }

  /** The file of a feeder is there: nothing is added any more, so that it comes as far. Idempotent. */
  freeze(): void {
    this.#stop.abort(new Error("The feeder is there"));
  }

  async close(): Promise<void> {
    this.freeze();
    await this.#running;
    await this.#reader.close();
  }

  apply(events: readonly IEvent[]): void {
    let { revision } = this.#meta;
    for (const event of events) {
      const change = rawChange(event);
      const key = change.type === "put" ? change.entry.key : change.key;
      revision = Math.max(revision, change.type === "put" ? change.entry.modRevision : change.revision);
      if (key.length > longestKey || !ownsKey(this.#keys, key)) continue;
      this.#bytes += key.length + (change.type === "put" ? change.entry.value.length : 0);
      this.#changed.set(key.toString("utf8"), change.type === "put" ? named(change.entry) : undefined);
    }
    this.#heardAt({ revision });
    if (this.#changed.size > most.changes || this.#bytes > most.bytes) throw noFurther("it does not fit in memory");
  }

  progress(revision: number): void {
    this.#heardAt({ revision });
  }

  relist(): Promise<never> {
    return Promise.reject(noFurther("its history is gone, or too long"));
  }

  heard({ term }: Position): void {
    this.#heardAt({ term });
  }

  setLive(live: boolean): void {
    this.live = live;
    this.#onNews();
  }

  setLost(why: string | undefined): void {
    this.lost = why;
    this.#onNews();
  }

  setProgress(possible: boolean): void {
    this.progressPossible = possible;
    this.#onNews();
  }

  #heardAt({ revision = 0, term = 0 }: { readonly revision?: number; readonly term?: number }): void {
    const before = this.#meta;
    const now = { revision: Math.max(before.revision, revision), term: Math.max(before.term, term) };
    this.#meta = { ...before, ...now, heardMs: this.#uptimeMs() };
    this.#onNews();
  }
}

function noFurther(why: string): QuorateError {
  return new QuorateError("FAILED", `Cannot go on without the feeder: ${why}`);
}
