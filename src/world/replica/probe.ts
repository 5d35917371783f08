import { open } from "lmdb";
import { decodeChanges, decodeEntry, Damaged, SetHash } from "./entry.ts";
import { decodeMeta, entriesFrom, envOptions, formatVersion, logRange, metaKey } from "./format.ts";
import type { Env, Meta } from "./format.ts";

/** What a probe says of a file. `lmdb`: LMDB itself refused it; a probe that dies says nothing. */
export type Verdict = { readonly meta: Meta } | { readonly doubt: string };

/**
 * Reads a whole file and says whether it is what was written. With `copyTo` it first makes a compact copy and judges that: a copy has
 * no free list, so that nothing is ever written into a page because a damaged list calls it free. May end the process it runs in.
 */
export async function judge(path: string, copyTo: string | undefined): Promise<Verdict> {
  try {
    if (copyTo === undefined) return { meta: await verified(path) };
    const env = openToRead(path);
    await env.backup(copyTo, true);
    await env.close();
    return { meta: await verified(copyTo) };
  } catch (error) {
    return { doubt: error instanceof Error ? error.message : String(error) };
  }
}

async function verified(path: string): Promise<Meta> {
  const env = openToRead(path);
  const transaction = env.useReadTransaction();
  try {
    const meta = decodeMeta(env.get(metaKey, { transaction }));
    if (meta.format !== formatVersion) throw new Damaged(`its format is ${meta.format}, not ${formatVersion}`);
    const hash = new SetHash();
    let count = 0;
    for (const { key, value } of env.getRange({ start: entriesFrom, transaction })) {
      const { modRevision } = decodeEntry(key, key.toString("utf8"), value);
      if (modRevision > meta.revision)
        throw new Damaged(`an entry is of revision ${modRevision}, behind its own ${meta.revision}`);
      hash.add(value);
      count++;
    }
    if (count !== meta.count) throw new Damaged(`it has ${count} entries, not ${meta.count}`);
    const [a, b] = hash.value;
    if (a !== meta.hash[0] || b !== meta.hash[1]) throw new Damaged("its entries are not those that were written last");
    for (const { value } of env.getRange({ ...logRange, transaction })) decodeChanges(value);
    return meta;
  } finally {
    transaction.done();
    await env.close();
  }
}

function openToRead(path: string): Env {
  return open<Buffer, Buffer>({ ...envOptions, path, readOnly: true });
}
