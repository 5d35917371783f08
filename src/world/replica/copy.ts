import { join } from "node:path";
import type { KeyRange } from "../../keys.ts";
import type { Bridge } from "./bridge.ts";
import { Damaged } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { formatVersion } from "./format.ts";
import type { FeederLink } from "./link.ts";
import type { FeederState } from "./protocol.ts";
import { FileReader } from "./snapshot.ts";
import type { Source } from "./subscription.ts";

/** How a copy comes to what it reads from. */
export interface CopyParts {
  readonly folder: string;
  /** Called once. */
  readonly link: (onNews: () => void) => FeederLink;
  /** What there is to read from until a feeder that is being started is there. */
  readonly bridge: (onNews: () => void) => Promise<Bridge | undefined>;
}

/**
 * The file in force, as this process reads it: opened when the feeder has judged it, exchanged when there is a newer one. While a
 * feeder is being started, the file that the one before has sealed: see Bridge.
 */
export class Copy {
  readonly #parts: CopyParts;
  readonly #onNews: () => void;
  readonly #waiting = new Set<() => void>();
  #link: FeederLink | undefined;
  #reader: FileReader | undefined;
  /** Read from in place of the feeder's file, until that has come as far. */
  #bridge: Bridge | undefined;
  #bridging: Promise<void> | undefined;
  /** Where the bridge was when the feeder's file appeared. */
  #inSight: number | undefined;
  /** A file that is not to be opened: it was doubted, or is gone. */
  #shunned: string | undefined;
  #closing: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(parts: CopyParts, onNews: () => void) {
    this.#parts = parts;
    this.#onNews = onNews;
  }

  /** Idempotent. */
  start(): void {
    if (this.#closed) return;
    this.#link ??= this.#parts.link(() => {
      this.#take();
    });
  }

  get isThere(): boolean {
    return this.#view !== undefined;
  }

  get #view(): Bridge | FileReader | undefined {
    return this.#bridge ?? this.#reader;
  }

  get state(): FeederState | undefined {
    return this.#link?.state;
  }

  get trouble(): string | undefined {
    return this.#link?.trouble;
  }

  /** There is no file, and will hardly be one: whoever needs something has to ask the cluster. */
  get isRefused(): boolean {
    return this.#reader === undefined && this.trouble !== undefined;
  }

  /** Whether this etcd can be asked for progress; undefined until one was asked. */
  get progressPossible(): boolean | undefined {
    return this.#bridge === undefined ? this.state?.progress : this.#bridge.progressPossible;
  }

  get applied(): { readonly transactions: number; readonly changes: number; readonly ms: number } | undefined {
    return this.#link?.position?.applied;
  }

  get connections(): number {
    return this.#link?.connections ?? 0;
  }

  get feederPid(): number | undefined {
    return this.#link?.connected === true ? this.#link.state?.pid : undefined;
  }

  get live(): boolean {
    return this.#bridge?.live === true || (this.#link?.connected === true && this.#link.state?.live === true);
  }

  /** Why the cluster is out of reach, as the feeder sees it. */
  get lost(): string | undefined {
    return this.#bridge?.lost ?? (this.#link?.connected === true ? this.#link.state?.lost : undefined);
  }

  get history(): string {
    return this.#view!.meta.history;
  }

  /** Of the cluster the file is a copy of, hex. */
  get clusterId(): string {
    return this.#view!.meta.clusterId;
  }

  /** The file's, or a later one up to which nothing happened. */
  get revision(): number {
    return this.#bridge?.meta.revision ?? this.#revisionOf(this.#reader!);
  }

  #revisionOf(reader: FileReader): number {
    const { revision } = reader.meta;
    const position = this.#link?.position;
    // What is said of the file holds for what we see of it only once we see as much.
    return position !== undefined && position.file <= revision && position.revision > revision ? position.revision : revision;
  }

  isAt(revision: number): boolean {
    return this.#view !== undefined && this.revision >= revision;
  }

  /** Since the cluster was heard; 0 while changes arrive. */
  ageMs(uptimeMs: number): number {
    if (this.live) return 0;
    const heardMs = Math.max(this.#view?.meta.heardMs ?? 0, this.#link?.position?.heardMs ?? 0);
    return Math.max(0, uptimeMs - heardMs);
  }

  /** @throws Damaged */
  get(key: string): Entry | undefined {
    return this.#view!.get(key);
  }

  /** @throws Damaged */
  range({ start, end }: KeyRange, limit?: number): Entry[] {
    return this.#view!.range(start, end, limit);
  }

  /** {@link range} without values, in no order. @throws Damaged */
  keys({ start, end }: KeyRange): string[] {
    return this.#view!.keys(start, end);
  }

  /** The key at that part of the copy, from 0 up to 1; undefined where it is empty. */
  keyAt(part: number): string | undefined {
    return this.#view!.keyAt(part);
  }

  /**
   * For subscriptions, which need a log. Undefined while there is no file of a feeder. What is damaged is doubted, and read from the next
   * file; its reads throw Damaged then.
   */
  source(): Source | undefined {
    const reader = this.#reader;
    // While the bridge is ahead, the file would tell a watch what reads have left behind.
    if (reader === undefined || this.#bridge !== undefined) return undefined;
    try {
      return {
        revision: this.#revisionOf(reader),
        history: reader.meta.history,
        range: ({ start, end }) => this.#orDoubt(() => reader.range(start, end)),
        changesAfter: (revision) => this.#orDoubt(() => reader.changesAfter(revision)),
      };
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      this.doubt("damaged", error.message);
      return undefined;
    }
  }

  #orDoubt<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof Damaged) this.doubt("damaged", error.message);
      throw error;
    }
  }

  /** The file in force is not read any more; the feeder makes another. */
  doubt(cause: "damaged" | "audit", why: string): void {
    if (this.#bridge !== undefined) {
      this.#burn();
      return;
    }
    const file = this.#link?.state?.file;
    if (file === undefined) return;
    this.#link?.tell({ kind: "doubt", cause, file, why });
    if (cause === "damaged") {
      this.#shunned = file;
      this.#drop();
    }
  }

  /** Resolves once the copy is at `revision`; asks the feeder to find out. Until the signal fires, at most. */
  async reaches(revision: number, signal: AbortSignal): Promise<void> {
    if (this.isAt(revision)) return;
    let told = -1;
    await this.until(() => {
      if (this.isAt(revision)) return true;
      this.#bridge?.want(revision);
      // Again for each feeder: the one before may have died with the question.
      if (told !== this.connections && this.#link?.connected === true) {
        told = this.connections;
        this.#link.tell({ kind: "want", revision });
      }
      return false;
    }, signal);
  }

  /** Resolves when the condition holds, looked at after all news. Stops looking when the signal fires, and never resolves then. */
  until(condition: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!signal.aborted && !condition()) return;
        this.#waiting.delete(look);
        signal.removeEventListener("abort", look);
        if (!signal.aborted) resolve();
      };
      this.#waiting.add(look);
      signal.addEventListener("abort", look);
      look();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#link?.close();
    await this.#bridging;
    this.#burn();
    this.#drop();
    await this.#closing;
    await this.#link?.ended();
  }

  #take(): void {
    if (this.#closed) return;
    if (this.#link?.starting === true && this.#reader === undefined) this.#bridging ??= this.#build();
    this.#exchange();
    this.#reader?.refresh();
    this.#cross();
    for (const look of [...this.#waiting]) look();
    this.#onNews();
  }

  async #build(): Promise<void> {
    const bridge = await this.#parts.bridge(() => {
      this.#take();
    });
    if (bridge === undefined) return;
    this.#bridge = bridge;
    if (this.#closed || this.#reader !== undefined) this.#burn();
    else this.#take();
  }

  /** Over to the feeder's file, where that is as far. Under steady writes it would be a little behind for good: then the bridge waits. */
  #cross(): void {
    const [bridge, reader] = [this.#bridge, this.#reader];
    if (bridge === undefined) return;
    if (reader === undefined) {
      if (this.trouble !== undefined) this.#burn();
      return;
    }
    const revision = this.#revisionOf(reader);
    this.#inSight ??= bridge.meta.revision;
    if (revision >= this.#inSight) bridge.freeze();
    if (revision >= bridge.meta.revision || reader.meta.history !== bridge.meta.history) this.#burn();
  }

  #burn(): void {
    const bridge = this.#bridge;
    this.#bridge = undefined;
    if (bridge !== undefined) this.#closing = Promise.all([this.#closing, bridge.close()]);
  }

  #exchange(): void {
    const link = this.#link;
    if (link?.connected !== true) return;
    const file = link.state?.file;
    // What there is gets no newer.
    if (link.state?.refused !== undefined) this.#drop();
    if (file === undefined || file === this.#shunned) return;
    const path = join(this.#parts.folder, file);
    if (this.#reader?.path === path) return;
    try {
      const reader = new FileReader(path);
      if (reader.meta.format !== formatVersion) throw new Damaged("it is of another format");
      this.#drop();
      this.#reader = reader;
    } catch {
      // It was exchanged meanwhile; the next is told of.
      this.#shunned = file;
    }
  }

  #drop(): void {
    const old = this.#reader;
    this.#reader = undefined;
    if (old !== undefined) this.#closing = Promise.all([this.#closing, old.close()]);
  }
}
