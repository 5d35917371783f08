import { encodeFolder, isSame, noEntries, totalsOf, addressOf, mostFolderBytes, emptyFolder } from "./node.ts";
import type { Entries, StoredEntry, StoredFolder } from "./node.ts";
import { WorldError } from "../../error.ts";
import type { Address, Attributes } from "./types.ts";

/** The same path was changed by both. */
export class MergeConflict extends Error {
  readonly path: string;
  readonly versions: Versions;

  constructor(path: string, versions: Versions) {
    super(`both have changed ${path}`);
    this.path = path;
    this.versions = versions;
  }
}

/** Of one path; undefined where there was, or is, nothing. */
export interface Versions {
  readonly base: StoredEntry | undefined;
  readonly ours: StoredEntry | undefined;
  readonly theirs: StoredEntry | undefined;
}

export interface Merging {
  /** What is in a folder. */
  readonly read: (node: Address) => Promise<Entries>;
  /** Objects of folders that are made. */
  readonly made: (node: Address, bytes: Buffer) => void;
}

/**
 * Both changes of one tree, by path. What only one of them has changed is as that one has it; a folder that one deleted stays with what the
 * other put into it meanwhile; of times the later counts.
 *
 * @throws MergeConflict where both have changed the same path, and not alike
 */
export async function mergeRoots(
  base: StoredFolder,
  ours: StoredFolder,
  theirs: StoredFolder,
  how: Merging,
): Promise<StoredFolder> {
  const merged = await mergePath("", { base, ours, theirs }, how);
  return merged?.kind === "folder" ? merged : folderOf(noEntries, base, how);
}

async function mergePath(path: string, versions: Versions, how: Merging): Promise<StoredEntry | undefined> {
  const { base, ours, theirs } = versions;
  if (isSame(ours, theirs) || isSame(theirs, base)) return timed(ours, versions);
  if (isSame(ours, base)) return timed(theirs, versions);
  const asFolder = folderIn(base);
  if (isFolderOr(ours, asFolder) && isFolderOr(theirs, asFolder)) return await mergeFolders(path, versions, how);
  throw new MergeConflict(path, versions);
}

/** A folder, or nothing where there was a folder: to be merged by what is in it. */
function isFolderOr(entry: StoredEntry | undefined, before: StoredFolder | undefined): boolean {
  return entry === undefined ? before !== undefined : entry.kind === "folder";
}

async function mergeFolders(path: string, versions: Versions, how: Merging): Promise<StoredEntry | undefined> {
  const [base, ours, theirs] = [folderIn(versions.base), folderIn(versions.ours), folderIn(versions.theirs)];
  const [before, mine, others] = await Promise.all([base, ours, theirs].map((one) => entriesIn(one, how)));
  const merged = new Map<string, StoredEntry>();
  for (const name of new Set([...mine!.keys(), ...others!.keys()])) {
    const below = { base: before!.get(name), ours: mine!.get(name), theirs: others!.get(name) };
    const entry = await mergePath(path === "" ? name : `${path}/${name}`, below, how);
    if (entry !== undefined) merged.set(name, entry);
  }
  const kept = ours ?? theirs;
  if (ours === undefined || theirs === undefined) {
    if (merged.size === 0) {
      if (kept!.mode !== base!.mode) throw new MergeConflict(path, versions);
      return undefined;
    }
    return folderOf(merged, kept!, how);
  }
  const mode = ours.mode === theirs.mode || theirs.mode === base?.mode ? ours.mode : theirs.mode;
  if (mode !== ours.mode && ours.mode !== base?.mode) throw new MergeConflict(path, versions);
  return folderOf(merged, { mode, mtimeMs: timeOf(versions) }, how);
}

/** A folder of these entries. @throws WorldError TOO_LARGE */
export function folderOf(entries: Entries, { mode, mtimeMs }: Attributes, { made }: Pick<Merging, "made">): StoredFolder {
  const bytes = encodeFolder(entries);
  if (bytes.length > mostFolderBytes) {
    throw new WorldError(
      "TOO_LARGE",
      `Cannot keep a folder of ${entries.size} entries: what is said of them takes ${bytes.length} bytes, at most ${mostFolderBytes} are allowed`,
      { hint: "Divide it into several folders", data: { limit: "folder", bytes: bytes.length, most: mostFolderBytes } },
    );
  }
  const node = addressOf(bytes);
  if (node !== emptyFolder) made(node, bytes);
  return { kind: "folder", mode, mtimeMs, node, ...totalsOf(entries) };
}

async function entriesIn(folder: StoredFolder | undefined, { read }: Merging): Promise<Entries> {
  return folder === undefined ? noEntries : await read(folder.node);
}

function folderIn(entry: StoredEntry | undefined): StoredFolder | undefined {
  return entry?.kind === "folder" ? entry : undefined;
}

function timed(entry: StoredEntry | undefined, versions: Versions): StoredEntry | undefined {
  return entry === undefined ? undefined : { ...entry, mtimeMs: timeOf(versions) };
}

function timeOf({ base, ours, theirs }: Versions): number {
  if (ours === undefined || theirs === undefined) return (ours ?? theirs)!.mtimeMs;
  if (ours.mtimeMs === base?.mtimeMs) return theirs.mtimeMs;
  return theirs.mtimeMs === base?.mtimeMs ? ours.mtimeMs : Math.max(ours.mtimeMs, theirs.mtimeMs);
}
