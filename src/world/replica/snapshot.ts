import { open } from "lmdb";
import type { Transaction } from "lmdb";
import { decodeChanges, decodeEntry } from "./entry.ts";
import type { Entry, LoggedChange } from "./entry.ts";
import { decodeMeta, entriesFrom, envOptions, logKey, logRange, metaKey, revisionOfLogKey } from "./format.ts";
import type { Env, Meta } from "./format.ts";

/**
 * One file, read: what it held at one moment, until `refresh()`. Every read is checked.
 *
 * All reads throw Damaged.
 */
export class FileReader {
  readonly path: string;
  readonly #env: Env;
  #txn: Transaction | undefined;
  #options: { transaction: Transaction } | undefined;
  #meta: Meta | undefined;
  /** Many followers ask for the same. */
  #changes: { readonly after: number; readonly changes: LoggedChange[] } | undefined;
  #closed = false;

  /** The file must have been probed: a damaged one can end the process. Throws what LMDB throws. */
  constructor(path: string) {
    this.path = path;
    this.#env = open<Buffer, Buffer>({ ...envOptions, path, readOnly: true });
  }

  /** Of the moment that is looked at. */
  get meta(): Meta {
    return (this.#meta ??= decodeMeta(this.#env.get(metaKey, this.#at)));
  }

  get(key: string): Entry | undefined {
    const raw = Buffer.from(key, "utf8");
    const bytes = this.#env.get(raw, this.#at);
    return bytes === undefined ? undefined : decodeEntry(raw, key, bytes);
  }

  /** Entries from `start` up to but without `end`, in the order of their bytes. */
  range(start: string, end: string, limit = Infinity): Entry[] {
    const entries: Entry[] = [];
    if (limit <= 0) return entries;
    const from = Buffer.from(start, "utf8");
    const first = Buffer.compare(from, entriesFrom) < 0 ? entriesFrom : from;
    for (const { key, value } of this.#env.getRange({ start: first, end: Buffer.from(end, "utf8"), ...this.#at })) {
      entries.push(decodeEntry(key, key.toString("utf8"), value));
      if (entries.length >= limit) break;
    }
    return entries;
  }

  /** {@link range} without values, which are not looked at. */
  keys(start: string, end: string): string[] {
    const from = Buffer.from(start, "utf8");
    const first = Buffer.compare(from, entriesFrom) < 0 ? entriesFrom : from;
    return [...this.#env.getKeys({ start: first, end: Buffer.from(end, "utf8"), ...this.#at })].map((key) =>
      key.toString("utf8"),
    );
  }

  /** The key at that part of the file, from 0 up to 1. */
  keyAt(part: number): string | undefined {
    const offset = Math.floor(part * this.meta.count);
    for (const key of this.#env.getKeys({ start: entriesFrom, offset, limit: 1, ...this.#at })) return key.toString("utf8");
    return undefined;
  }

  /** Every change behind `revision`, in order; undefined where the log does not reach back that far. */
  changesAfter(revision: number): LoggedChange[] | undefined {
    if (revision < this.meta.logFrom) return undefined;
    if (this.#changes?.after === revision) return this.#changes.changes;
    const changes: LoggedChange[] = [];
    for (const { key, value } of this.#env.getRange({ start: logKey(revision + 1), end: logRange.end, ...this.#at })) {
      if (revisionOfLogKey(key) <= revision) continue;
      for (const change of decodeChanges(value)) if (revisionOfChange(change) > revision) changes.push(change);
    }
    this.#changes = { after: revision, changes };
    return changes;
  }

  /** From now on the newest state is looked at. */
  refresh(): void {
    this.#txn?.done();
    this.#txn = this.#options = this.#meta = this.#changes = undefined;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.refresh();
    await this.#env.close();
  }

  /** One transaction for all reads of one moment: they fit each other, and the revision in it. */
  get #at(): { transaction: Transaction } {
    if (this.#options !== undefined) return this.#options;
    this.#env.resetReadTxn();
    this.#txn = this.#env.useReadTransaction();
    return (this.#options = { transaction: this.#txn });
  }
}

export function revisionOfChange(change: LoggedChange): number {
  return change.type === "put" ? change.entry.modRevision : change.revision;
}
