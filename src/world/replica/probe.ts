import { open } from "lmdb";
import { decodeChanges, decodeEntry, Damaged, SetHash } from "./entry.ts";
import { decodeMeta, encodeMeta, entriesFrom, envOptions, formatVersion, logRange, metaKey } from "./format.ts";
import type { Env, Meta } from "./format.ts";

/** What a probe says of a file; one that dies says nothing. */
export type Verdict = { readonly meta: Meta } | { readonly doubt: string };

/** Written to the copy at a time. */
const pieceBytes = 1024 * 1024;

/**
 * Reads a whole file and says whether it is what was written. With `copyTo` all that is found sound is written to a new file: that has
 * a free list of its own, so that nothing is ever written into a page because a damaged list calls it free. (LMDB's own compact copy
 * is no choice: lmdb 3.5.6 fails an assertion in mdb_page_alloc when a large transaction follows one.) May end the process it runs in.
 */
export async function judge(path: string, copyTo: string | undefined): Promise<Verdict> {
  const copy = copyTo === undefined ? undefined : new Copying(copyTo);
  try {
    const meta = await verified(path, copy);
    copy?.end(meta);
    return { meta };
  } catch (error) {
    return { doubt: error instanceof Error ? error.message : String(error) };
  } finally {
    await copy?.close();
  }
}

async function verified(path: string, copy: Copying | undefined): Promise<Meta> {
  const env = open<Buffer, Buffer>({ ...envOptions, path, readOnly: true });
  const transaction = env.useReadTransaction();
  try {
    const meta = decodeMeta(env.get(metaKey, { transaction }));
    if (meta.format !== formatVersion) throw new Damaged(`its format is ${meta.format}, not ${formatVersion}`);
    for (const { key, value } of env.getRange({ ...logRange, transaction })) {
      decodeChanges(value);
      copy?.put(key, value);
    }
    const hash = new SetHash();
    let count = 0;
    for (const { key, value } of env.getRange({ start: entriesFrom, transaction })) {
      const { modRevision } = decodeEntry(key, "of some key", value);
      if (modRevision > meta.revision)
        throw new Damaged(`an entry is of revision ${modRevision}, behind its own ${meta.revision}`);
      hash.add(value);
      count++;
      copy?.put(key, value);
    }
    if (count !== meta.count) throw new Damaged(`it has ${count} entries, not ${meta.count}`);
    const [a, b] = hash.value;
    if (a !== meta.hash[0] || b !== meta.hash[1]) throw new Damaged("its entries are not those that were written last");
    return meta;
  } finally {
    transaction.done();
    await env.close();
  }
}

/** A file that is written in order of its keys. */
class Copying {
  readonly #env: Env;
  #waiting: (readonly [Buffer, Buffer])[] = [];
  #bytes = 0;

  constructor(path: string) {
    this.#env = open<Buffer, Buffer>({ ...envOptions, path, noSync: true, overlappingSync: false });
  }

  put(key: Buffer, value: Buffer): void {
    this.#waiting.push([key, value]);
    this.#bytes += value.length;
    if (this.#bytes > pieceBytes) this.#write();
  }

  /** Until then it is a copy of nothing. */
  end(meta: Meta): void {
    this.put(metaKey, encodeMeta(meta));
    this.#write();
  }

  async close(): Promise<void> {
    await this.#env.close();
  }

  #write(): void {
    this.#env.transactionSync(() => {
      for (const [key, value] of this.#waiting) this.#env.putSync(key, value);
    });
    this.#waiting = [];
    this.#bytes = 0;
  }
}
