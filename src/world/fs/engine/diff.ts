import { isSame, noEntries } from "./node.ts";
import type { Entries, StoredEntry } from "./node.ts";
import type { Address } from "./types.ts";

export interface StoredDifference {
  readonly path: string;
  readonly before: StoredEntry | undefined;
  readonly after: StoredEntry | undefined;
}

/**
 * What differs, folders before what is in them, names in order. Folders that are the same are not looked into.
 *
 * @param which also folders in which anything differs, or only those that came, went, or have another mode
 */
export async function* differences(
  path: string,
  before: StoredEntry | undefined,
  after: StoredEntry | undefined,
  read: (node: Address) => Promise<Entries>,
  which: "every folder" | "changed folders" = "changed folders",
): AsyncGenerator<StoredDifference, undefined> {
  if (isSame(before, after) && before?.mtimeMs === after?.mtimeMs) return;
  const bothFolders = before?.kind === "folder" && after?.kind === "folder";
  if (!bothFolders || which === "every folder" || before.mode !== after.mode) yield { path, before, after };
  if (bothFolders && before.node === after.node) return;
  const [old, present] = await Promise.all([entriesOf(before, read), entriesOf(after, read)]);
  for (const name of [...new Set([...old.keys(), ...present.keys()])].sort()) {
    yield* differences(path === "" ? name : `${path}/${name}`, old.get(name), present.get(name), read, which);
  }
}

async function entriesOf(entry: StoredEntry | undefined, read: (node: Address) => Promise<Entries>): Promise<Entries> {
  return entry?.kind === "folder" ? await read(entry.node) : noEntries;
}
