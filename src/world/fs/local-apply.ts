import { versionOf } from "./engine/index.ts";
import type { Difference, Entry, Tree } from "./engine/types.ts";
import { FsConflict } from "./error.ts";
import { contentOf, isSameContent } from "./local-content.ts";
import { localVolume } from "./local.ts";
import { fetchFile } from "./transfer.ts";

/**
 * Makes of a local folder what a tree differs by. Nothing is written where somebody has changed one of the same paths.
 *
 * @throws FsConflict
 */
export async function applyTo(folder: string, tree: Tree, differences: readonly Difference[], what: string): Promise<void> {
  const local = localVolume(folder);
  for (const { path, before, after } of differences) {
    const there = await entryAt(folder, path);
    if (isSame(there, before)) continue;
    const version = (entry: Entry | undefined) => entry && versionOf(entry);
    throw new FsConflict(what, { path: `/${path}`, base: version(before), ours: version(after), theirs: version(there) });
  }
  for (const { path, before, after } of [...differences].reverse()) {
    if (before !== undefined && before.kind !== after?.kind) await local.remove(path, before.kind, false);
  }
  for (const { path, before, after } of differences) {
    if (after?.kind === "folder") {
      if (before?.kind !== "folder") await local.mkdir(path, after.mode);
      else await local.chmod(path, after.mode);
    } else if (after?.kind === "link") {
      if (before?.kind === "link") await local.remove(path, "link", false);
      await local.symlink(after.target, path);
    } else if (after?.kind === "file") await fetchFile(tree, after, local, folder, path, false);
  }
}

async function entryAt(folder: string, path: string): Promise<Entry | undefined> {
  const found = await localVolume(folder).look(path);
  if (found === undefined) return undefined;
  const attributes = { mode: found.mode, mtimeMs: Math.floor(found.mtimeMs) };
  if (found.kind === "folder") return { kind: "folder", ...attributes, node: undefined, entries: 0, bytes: 0 };
  if (found.kind === "link") return { kind: "link", ...attributes, target: found.target ?? "" };
  if (found.kind === "file") return { kind: "file", ...attributes, ...(await contentOf(`${folder}/${path}`)) };
  return { kind: "file", ...attributes, size: 0, chunks: [] };
}

function isSame(a: Entry | undefined, b: Entry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.kind === "folder") return b.kind === "folder";
  if (a.kind === "link") return b.kind === "link" && a.target === b.target;
  return b.kind === "file" && a.mode === b.mode && isSameContent(a, b);
}
