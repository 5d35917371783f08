import { join } from "node:path";
import type { KeyRange } from "../../keys.ts";
import { Damaged } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { formatVersion } from "./format.ts";
import type { FeederLink } from "./link.ts";
import type { FeederState } from "./protocol.ts";
import { FileReader } from "./snapshot.ts";
import type { Source } from "./subscription.ts";

/** The file in force, as this process reads it: opened when the feeder has judged it, exchanged when there is a newer one. */
export class Copy {
  readonly #folder: string;
  readonly #open: (onNews: () => void) => FeederLink;
  readonly #onNews: () => void;
  readonly #waiting = new Set<() => void>();
  #link: FeederLink | undefined;
  #reader: FileReader | undefined;
  /** A file that is not to be opened: it was doubted, or is gone. */
  #shunned: string | undefined;
  #closing: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(folder: string, open: (onNews: () => void) => FeederLink, onNews: () => void) {
    this.#folder = folder;
    this.#open = open;
    this.#onNews = onNews;
  }

  /** Idempotent. */
  start(): void {
    if (this.#closed) return;
    this.#link ??= this.#open(() => {
      this.#take();
    });
  }

  get isThere(): boolean {
    return this.#reader !== undefined;
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
    return this.#link?.connected === true && this.#link.state?.live === true;
  }

  /** Why the cluster is out of reach, as the feeder sees it. */
  get lost(): string | undefined {
    return this.#link?.connected === true ? this.#link.state?.lost : undefined;
  }

  get history(): string {
    return this.#reader!.meta.history;
  }

  /** Of the cluster the file is a copy of, hex. */
  get clusterId(): string {
    return this.#reader!.meta.clusterId;
  }

  /** The file's, or a later one up to which nothing happened. */
  get revision(): number {
    const { revision } = this.#reader!.meta;
    const position = this.#link?.position;
    // What is said of the file holds for what we see of it only once we see as much.
    return position !== undefined && position.file <= revision && position.revision > revision ? position.revision : revision;
  }

  isAt(revision: number): boolean {
    return this.#reader !== undefined && this.revision >= revision;
  }

  /** Since the cluster was heard; 0 while changes arrive. */
  ageMs(uptimeMs: number): number {
    if (this.live) return 0;
    const heardMs = Math.max(this.#reader?.meta.heardMs ?? 0, this.#link?.position?.heardMs ?? 0);
    return Math.max(0, uptimeMs - heardMs);
  }

  /** @throws Damaged */
  get(key: string): Entry | undefined {
    return this.#reader!.get(key);
  }

  /** @throws Damaged */
  range({ start, end }: KeyRange, limit?: number): Entry[] {
    return this.#reader!.range(start, end, limit);
  }

  /** The key at that part of the copy, from 0 up to 1; undefined where it is empty. */
  keyAt(part: number): string | undefined {
    return this.#reader!.keyAt(part);
  }

  /** For subscriptions. Undefined while there is no file. What is damaged is doubted, and read from the next file. */
  source(): Source | undefined {
    if (this.#reader === undefined) return undefined;
    try {
      return { revision: this.revision, history: this.history, ...this.#reading() };
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      this.doubt("damaged", error.message);
      return undefined;
    }
  }

  #reading(): Pick<Source, "range" | "changesAfter"> {
    const reader = this.#reader!;
    return {
      range: ({ start, end }) => reader.range(start, end),
      changesAfter: (revision) => reader.changesAfter(revision),
    };
  }

  /** The file in force is not read any more; the feeder makes another. */
  doubt(cause: "damaged" | "audit", why: string): void {
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
    this.#drop();
    await this.#closing;
  }

  #take(): void {
    if (this.#closed) return;
    this.#exchange();
    this.#reader?.refresh();
    for (const look of [...this.#waiting]) look();
    this.#onNews();
  }

  #exchange(): void {
    const link = this.#link;
    if (link?.connected !== true) return;
    const file = link.state?.file;
    // What there is gets no newer.
    if (link.state?.refused !== undefined) this.#drop();
    if (file === undefined || file === this.#shunned) return;
    const path = join(this.#folder, file);
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
