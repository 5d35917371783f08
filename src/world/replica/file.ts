import { statSync } from "node:fs";
import { open } from "lmdb";
import { Damaged, encodeChanges, encodeEntry, SetHash } from "./entry.ts";
import type { RawChange, RawEntry } from "./entry.ts";
import { decodeMeta, encodeMeta, envOptions, logKey, logRange, longestKey, metaKey, revisionOfLogKey } from "./format.ts";
import type { Env, Meta } from "./format.ts";

/** What the log may take, in bytes: readers that are further behind get a difference instead of every change. */
const mostLog = 16 * 1024 * 1024;

/** What a file says of itself before anything is in it. */
export type NewMeta = Pick<Meta, "format" | "clusterId" | "namespace" | "history" | "bootId">;

/**
 * One file, written: by one process, the feeder. Entries and the revision they belong to change together or not at all. Once a write
 * has thrown (a full disk) the file is still sound, and this object of no more use.
 *
 * Whoever opens a file of LMDB's writes into the lock file which transaction is the last (`mdb_env_open2` in lmdb 3.5.6), also where
 * another one was committed since it looked: the next transaction would then begin from the one before, and what was committed be lost.
 * So each begins with a look at what the last one has written: where that is gone, nothing is written, and all throw Damaged.
 */
export class ReplicaFile {
  readonly path: string;
  readonly #env: Env;
  readonly #hash: SetHash;
  #meta: Meta;
  /** What the last transaction has left of that in the file. */
  #written: Buffer | undefined;
  /** Pieces of the log, oldest first. */
  readonly #log: { readonly revision: number; readonly bytes: number }[] = [];
  #logBytes = 0;
  /** Keys that no file can hold. */
  #skipped = 0;

  private constructor(path: string, env: Env, meta: Meta, written: Buffer | undefined) {
    this.path = path;
    this.#env = env;
    this.#meta = meta;
    this.#written = written;
    this.#hash = new SetHash(meta.hash);
  }

  /** A new file, to be filled. Until `filled()` nobody may take it for a copy of anything. */
  static create(path: string, meta: NewMeta): ReplicaFile {
    const env = openEnv(path);
    const empty = { revision: 0, term: 0, count: 0, hash: [0, 0], heardMs: 0, logFrom: 0 } as const;
    return new ReplicaFile(path, env, { ...meta, ...empty }, undefined);
  }

  /** A file that was found sound. Throws what LMDB throws. */
  static open(path: string): ReplicaFile {
    const env = openEnv(path);
    const written = env.get(metaKey);
    const file = new ReplicaFile(path, env, decodeMeta(written), written);
    for (const { key, value } of env.getRange(logRange)) file.#logged(revisionOfLogKey(key), value.length);
    return file;
  }

  get meta(): Meta {
    return this.#meta;
  }

  get skipped(): number {
    return this.#skipped;
  }

  /** Of the file on disk, in bytes. */
  get size(): number {
    return statSync(this.path).size;
  }

  /** One page of a listing, of keys that are not in the file yet. */
  fill(entries: readonly RawEntry[]): void {
    this.#env.transactionSync(() => {
      let count = 0;
      for (const entry of entries) {
        if (entry.key.length > longestKey) {
          this.#skipped++;
          continue;
        }
        const encoded = encodeEntry(entry);
        this.#hash.add(encoded);
        this.#env.putSync(entry.key, encoded);
        count++;
      }
      this.#meta = { ...this.#meta, count: this.#meta.count + count };
    });
  }

  /** The listing is complete: the file is a copy of that revision. */
  filled(revision: number, term: number, heardMs: number): void {
    this.#commit({ revision, term, heardMs, logFrom: revision }, () => undefined);
  }

  /** Applies changes in order of revision, all of `revision` and before. What the file has already is left alone. */
  apply(changes: readonly RawChange[], revision: number, heardMs: number): void {
    const known = this.#meta.revision;
    const news = changes.filter((change) => revisionOf(change) > known);
    this.#commit({ revision: Math.max(known, revision), heardMs }, () => {
      for (const change of news) {
        if (change.type === "put") this.#put(change.entry);
        else this.#del(change.key);
      }
      if (news.length > 0) this.#append(encodeChanges(news), revision);
    });
  }

  /** What is known beside the entries: nothing happened up to `revision`. */
  note(known: { readonly revision?: number; readonly term?: number; readonly heardMs?: number }): void {
    this.#commit({ ...known, revision: Math.max(this.#meta.revision, known.revision ?? 0) }, () => undefined);
  }

  /** @throws Damaged where what was written last is gone */
  verify(): void {
    this.#env.resetReadTxn();
    this.#look();
  }

  /** Gives the places of readers that were killed free. */
  forgetDeadReaders(): void {
    this.#env.readerCheck();
  }

  async close(): Promise<void> {
    await this.#env.close();
  }

  #commit(changed: Partial<Meta>, write: () => void): void {
    this.#env.transactionSync(() => {
      this.#look();
      write();
      this.#meta = { ...this.#meta, ...changed, hash: this.#hash.value };
      this.#written = encodeMeta(this.#meta);
      this.#env.putSync(metaKey, this.#written);
    });
  }

  #look(): void {
    const written = this.#written;
    if (written !== undefined && this.#env.get(metaKey)?.equals(written) !== true)
      throw new Damaged("what was written to it last is gone");
  }

  #put(entry: RawEntry): void {
    if (entry.key.length > longestKey) {
      this.#skipped++;
      return;
    }
    const encoded = encodeEntry(entry);
    const before = this.#env.get(entry.key);
    if (before !== undefined) this.#hash.remove(before);
    else this.#meta = { ...this.#meta, count: this.#meta.count + 1 };
    this.#hash.add(encoded);
    this.#env.putSync(entry.key, encoded);
  }

  #del(key: Buffer): void {
    const before = key.length > longestKey ? undefined : this.#env.get(key);
    if (before === undefined) return;
    this.#hash.remove(before);
    this.#meta = { ...this.#meta, count: this.#meta.count - 1 };
    this.#env.removeSync(key);
  }

  #append(piece: Buffer, revision: number): void {
    this.#env.putSync(logKey(revision), piece);
    this.#logged(revision, piece.length);
    while (this.#logBytes > mostLog) {
      const oldest = this.#log.shift()!;
      this.#logBytes -= oldest.bytes;
      this.#env.removeSync(logKey(oldest.revision));
      this.#meta = { ...this.#meta, logFrom: oldest.revision };
    }
  }

  #logged(revision: number, bytes: number): void {
    this.#log.push({ revision, bytes });
    this.#logBytes += bytes;
  }
}

function openEnv(path: string): Env {
  return open<Buffer, Buffer>({ ...envOptions, path, noSync: true, overlappingSync: false });
}

function revisionOf(change: RawChange): number {
  return change.type === "put" ? change.entry.modRevision : change.revision;
}
