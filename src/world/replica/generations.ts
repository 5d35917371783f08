import { randomUUID } from "node:crypto";
import { chmod, chown } from "node:fs/promises";
import type { IEvent } from "etcd3";
import { QuorateError } from "../../errors.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { Damaged } from "./entry.ts";
import type { RawChange } from "./entry.ts";
import { ReplicaFile } from "./file.ts";
import { groupId, presentCluster } from "./folder.ts";
import type { FolderRecord, ReplicaFolder } from "./folder.ts";
import type { FollowTarget } from "./follow.ts";
import { formatVersion } from "./format.ts";
import { probe } from "./programs.ts";
import type { Verdict } from "./probe.ts";
import type { Relist, RelistCause } from "./protocol.ts";
import { sealOf } from "./seal.ts";
import type { Seal } from "./seal.ts";
import { ownsKey, rawChange, readPage } from "./wire.ts";
import type { Page, Position } from "./wire.ts";

export interface GenerationsOptions {
  readonly folder: ReplicaFolder;
  readonly keys: Keys;
  readonly client: () => EtcdClient;
  readonly endpoints: () => readonly string[];
  /** Undefined: nobody can tell whether the machine was restarted, so that no file outlives its feeder. */
  readonly bootId: string | undefined;
  readonly group: string | undefined;
  readonly mostBytes: number;
  /** Milliseconds since the machine's start. */
  readonly uptimeMs: () => number;
  /** Milliseconds of the feeder's own clock. */
  readonly nowMs: () => number;
  /** Something else than the position is to be told. */
  readonly onState: () => void;
  readonly onPosition: () => void;
  /** The file in force is not what was written: another listing has to take its place. */
  readonly onDamaged: (why: string) => void;
  /** The file takes more than it may, with its log and its free pages: another listing may take less. */
  readonly onTooLarge: (why: string) => void;
}

/** What an earlier feeder left: its record, and a copy of its file with what is to be said of it. */
export interface Estate {
  readonly record: FolderRecord;
  /** Of the copy. */
  readonly name: string;
  readonly verdict: Promise<Verdict>;
}

/** Pages of a listing grow and shrink towards this many bytes. */
const pageBytes = 2 * 1024 * 1024;
const pageSize = { first: 1_000, most: 20_000 };
const listTimeoutMs = 10_000;
/** Of what a file may take. */
const mostListedAgain = 0.75;
/** As many as a marker names. */
const mostPredecessors = 20;

/**
 * The files of one folder, of which one is in force. Every feeder begins with a new one, a copy of what was found sound; every
 * listing fills a new one, beside which readers keep the old. A file that is not in force is removed; who has it open keeps it.
 */
export class Generations implements FollowTarget {
  readonly #options: GenerationsOptions;
  #file: ReplicaFile | undefined;
  #name: string | undefined;
  /** Of the cluster, where nothing of the World's happened behind the file's revision. */
  #revision = 0;
  #heardMs = 0;
  /** The last file that took too much. */
  #grown: string | undefined;
  #history: string = randomUUID();
  live = false;
  lost: string | undefined;
  progressPossible: boolean | undefined;
  relists: Partial<Record<RelistCause, number>> = {};
  lastRelist: Relist | undefined;
  /** See FolderRecord. */
  predecessors: readonly string[] = [];
  readonly applied = { transactions: 0, changes: 0, ms: 0 };

  constructor(options: GenerationsOptions) {
    this.#options = options;
  }

  get at(): FollowTarget["at"] {
    if (this.#file === undefined) return undefined;
    const { clusterId, term } = this.#file.meta;
    return { clusterId, revision: this.#revision, term };
  }

  /** Name of the file in force. */
  get name(): string | undefined {
    return this.#name;
  }

  get clusterId(): string | undefined {
    return this.#file?.meta.clusterId;
  }

  get skipped(): number {
    return this.#file?.skipped ?? 0;
  }

  get position(): { revision: number; file: number; heardMs: number } {
    return { revision: this.#revision, file: this.#file?.meta.revision ?? 0, heardMs: this.#heardMs };
  }

  /** Takes over what an earlier feeder left, where there is no doubt about it. Says what the doubt is. */
  async inherit(left: Estate | undefined, clusterId: string | undefined, distrust: string | undefined): Promise<Relist> {
    const { folder, keys, bootId } = this.#options;
    if (distrust !== undefined) return { cause: "damaged", why: distrust };
    if (left === undefined) return { cause: "empty", why: "there is no copy yet" };
    const { record, name } = left;
    if (record.namespace !== keys.namespace)
      return { cause: "cluster", why: `it is a copy of the namespace ${record.namespace}` };
    this.#history = record.history;
    this.predecessors = record.predecessors;
    const verdict = await left.verdict;
    if ("doubt" in verdict) {
      const format = verdict.doubt.startsWith("its format");
      return { cause: format ? "format" : "damaged", why: verdict.doubt };
    }
    const { meta } = verdict;
    if (bootId === undefined || meta.bootId !== bootId) {
      return { cause: "reboot", why: "the machine was restarted since it was written" };
    }
    if (meta.clusterId !== presentCluster(clusterId, record) || meta.namespace !== keys.namespace) {
      return { cause: "cluster", why: `it is a copy of cluster ${meta.clusterId}` };
    }
    const file = ReplicaFile.open(folder.filePath(name));
    this.#revision = meta.revision;
    this.#heardMs = meta.heardMs;
    await this.#putInForce(file, name);
    return { cause: "empty", why: "" };
  }

  apply(events: readonly IEvent[]): void {
    const { skipped } = this;
    const changes: RawChange[] = [];
    let revision = this.#revision;
    for (const event of events) {
      const change = rawChange(event);
      const key = change.type === "put" ? change.entry.key : change.key;
      revision = Math.max(revision, change.type === "put" ? change.entry.modRevision : change.revision);
      if (ownsKey(this.#options.keys, key)) changes.push(change);
    }
    this.#heardMs = this.#options.uptimeMs();
    if (changes.length > 0) {
      const from = this.#options.nowMs();
      const done = this.#toFile((file) => {
        file.apply(changes, revision, this.#heardMs);
      });
      if (!done) return;
      this.applied.ms += this.#options.nowMs() - from;
      this.applied.transactions++;
      this.applied.changes += changes.length;
    }
    this.#revision = Math.max(this.#revision, revision);
    this.#options.onPosition();
    if (this.skipped !== skipped) this.#options.onState();
    const { size } = this.#file!;
    // Once: while it is listed anew, more may arrive.
    if (size > this.#options.mostBytes && this.#grown !== this.#name) {
      this.#grown = this.#name;
      this.#options.onTooLarge(new TooLarge(size, this.#options.mostBytes).message);
    }
  }

  progress(revision: number): void {
    this.#heardMs = this.#options.uptimeMs();
    this.#revision = Math.max(this.#revision, revision);
    this.#options.onPosition();
  }

  heard({ term }: Position): void {
    this.#heardMs = this.#options.uptimeMs();
    if (this.#file !== undefined && term > this.#file.meta.term) {
      this.#toFile((file) => {
        file.note({ term, heardMs: this.#heardMs });
      });
    }
    this.#options.onPosition();
  }

  setLive(live: boolean): void {
    if (live === this.live) return;
    this.live = live;
    this.#options.onState();
  }

  setLost(why: string | undefined): void {
    if (why === this.lost) return;
    this.lost = why;
    this.#options.onState();
  }

  setProgress(possible: boolean): void {
    if (possible === this.progressPossible) return;
    this.progressPossible = possible;
    this.#options.onState();
  }

  async relist(why: Relist, from: Position, signal: AbortSignal): Promise<void> {
    const { folder, keys, bootId, mostBytes } = this.#options;
    const name = await folder.nextFile();
    if (why.cause === "restored" || why.cause === "cluster") this.#history = randomUUID();
    const meta = {
      format: formatVersion,
      clusterId: from.clusterId,
      namespace: keys.namespace,
      history: this.#history,
      bootId: bootId ?? "",
    };
    const file = ReplicaFile.create(folder.filePath(name), meta);
    try {
      const revision = await this.#list(file, from.endpoint, signal);
      // One that was listed for its size must leave room, or it would be listed again at once.
      const most = why.cause === "size" ? mostListedAgain * mostBytes : mostBytes;
      if (file.size > most) throw new TooLarge(file.size, mostBytes);
      this.#heardMs = this.#options.uptimeMs();
      file.filled(revision, from.term, this.#heardMs);
      this.#revision = revision;
    } catch (error) {
      await file.close();
      await folder.removeFiles(this.#name);
      throw error;
    }
    this.relists = { ...this.relists, [why.cause]: (this.relists[why.cause] ?? 0) + 1 };
    this.lastRelist = why;
    await this.#putInForce(file, name);
  }

  /** Keeps on disk what is known of quiet times, so that the next feeder resumes from there. */
  note(): void {
    this.#toFile((file) => {
      file.note({ revision: this.#revision, heardMs: this.#heardMs });
    });
  }

  /** Finds out whether what was written last is still there: {@link GenerationsOptions.onDamaged}. */
  verify(): void {
    this.#toFile((file) => {
      file.verify();
    });
  }

  /** Whether it could be done, where there is a file. */
  #toFile(use: (file: ReplicaFile) => void): boolean {
    if (this.#file === undefined) return false;
    try {
      use(this.#file);
      return true;
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      this.#options.onDamaged(error.message);
      return false;
    }
  }

  forgetDeadReaders(): void {
    this.#file?.forgetDeadReaders();
  }

  /** The client has gone over to the successor of that cluster; the listing that follows writes it down. */
  succeeded(predecessor: string): void {
    this.predecessors = [...this.predecessors.filter((id) => id !== predecessor), predecessor].slice(-mostPredecessors);
  }

  /** Judges the file in force once more. */
  async judge(): Promise<string | undefined> {
    if (this.#name === undefined) return undefined;
    const name = this.#name;
    const verdict = await probe(this.#options.folder.filePath(name));
    return "doubt" in verdict && name === this.#name ? verdict.doubt : undefined;
  }

  /** Nobody is to open the file in force any more. */
  withdraw(): void {
    this.#name = undefined;
    this.#options.onState();
  }

  /** The endpoints have changed. */
  async writeRecord(seal?: Seal): Promise<void> {
    if (this.#file === undefined || this.#name === undefined) return;
    const { folder, keys, group, endpoints } = this.#options;
    const { clusterId } = this.#file.meta;
    const [history, file, predecessors] = [this.#history, this.#name, this.predecessors];
    const known = { namespace: keys.namespace, clusterId, endpoints: endpoints(), history, file, predecessors };
    const record = seal === undefined ? known : { ...known, seal };
    await folder.writeRecord(record, group === undefined ? 0o600 : 0o640);
  }

  /** Leaves the file to the next feeder, sealed. */
  async close(): Promise<void> {
    if (this.#file === undefined) return;
    this.note();
    const [file, name] = [this.#file, this.#name];
    await file.close();
    // Withdrawn: there is a doubt about it.
    if (name !== undefined) await this.writeRecord(sealOf(file.path, file.meta));
  }

  async #putInForce(file: ReplicaFile, name: string): Promise<void> {
    const { folder, group } = this.#options;
    const old = this.#file;
    if (group !== undefined) {
      for (const path of [file.path, `${file.path}-lock`]) {
        await chown(path, -1, groupId(group));
        // Readers note in the lock file what they look at.
        await chmod(path, path === file.path ? 0o640 : 0o660);
      }
    }
    this.#file = file;
    this.#name = name;
    await this.writeRecord();
    this.#options.onState();
    this.#options.onPosition();
    await old?.close();
    await folder.removeFiles(name);
  }

  /** In pages of one revision; the next is asked for while one is written. */
  async #list(file: ReplicaFile, endpoint: string, signal: AbortSignal): Promise<number> {
    let revision = 0;
    let limit = pageSize.first;
    for (const range of this.#options.keys.world) {
      let next: Promise<Page> | undefined = this.#page({ start: range.start, end: range.end }, limit, revision, endpoint, signal);
      while (next !== undefined) {
        const page: Page = await next;
        next = undefined;
        revision ||= page.revision;
        const last = page.entries.at(-1);
        if (last !== undefined && page.more) {
          const bytes = page.entries.reduce((sum, { key, value }) => sum + key.length + value.length + 64, 0);
          limit = Math.min(pageSize.most, Math.max(1, Math.ceil((pageBytes / bytes) * page.entries.length)));
          const start = Buffer.concat([last.key, Buffer.from([0])]);
          next = this.#page({ start, end: range.end }, limit, revision, endpoint, signal);
          // Awaited in the next round; until then a failure is nobody's.
          next.catch(() => undefined);
        }
        if (page.entries.length > 0) file.fill(page.entries);
        if (file.size > this.#options.mostBytes) throw new TooLarge(file.size, this.#options.mostBytes);
      }
    }
    return revision;
  }

  #page(
    range: { start: string | Buffer; end: string },
    limit: number,
    revision: number,
    endpoint: string,
    signal: AbortSignal,
  ): Promise<Page> {
    return readPage(this.#options.client(), range, { endpoint, limit, revision, timeoutMs: listTimeoutMs, signal });
  }
}

/** The World's keys take more than a replica may. */
export class TooLarge extends QuorateError {
  constructor(size: number, most: number) {
    const mib = (bytes: number): number => Math.ceil(bytes / 1024 / 1024);
    super("REFUSED", `Cannot keep a replica: the file has ${mib(size)} MiB, at most ${mib(most)} are allowed`, {
      hint: "Keep less in the World, or allow more (mostBytes)",
      data: { size, most },
    });
  }
}
