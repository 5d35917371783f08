import type { FsErrorCode } from "./error.ts";
import { FsError } from "./error.ts";
import { emptyContent } from "./engine/types.ts";
import type { Content, Draft, Entry, FileEntry, Reading } from "./engine/types.ts";
import type { Access } from "./flags.ts";
import { isSameContent } from "./local-content.ts";
import type { Found, Named, RawFile, Volume } from "./volume.ts";

/** Who writes on all hosts has no umask: that of most is taken. */
const umask = 0o022;

/** A tree as it is: it can be read. */
export function treeVolume(tree: Reading, signal: AbortSignal | undefined): Volume {
  return {
    look: async (path) => foundOf(await tree.entry(path, signal)),
    list: async (path) => {
      const entries = await tree.list(path, signal);
      if (entries === undefined) throw refused("ENOTDIR");
      return [...entries].map(([name, { kind }]): Named => ({ name, kind }));
    },
    open: async (path) => {
      const entry = await tree.entry(path, signal);
      if (entry === undefined) throw refused("ENOENT");
      return storedFile(tree, entry, signal);
    },
    mkdir: readOnly,
    symlink: readOnly,
    chmod: readOnly,
    remove: readOnly,
    move: readOnly,
    copy: readOnly,
  };
}

/** A draft, which can be changed as well. @param now milliseconds of the wall clock, for what is changed */
export function draftVolume(draft: Draft, now: () => number, signal: AbortSignal | undefined): Volume {
  const created = (mode: number) => ({ mode: mode & ~umask, mtimeMs: now() });
  return {
    ...treeVolume(draft, signal),
    open: async (path, access, mode) => {
      const entry = await draft.entry(path, signal);
      if (entry === undefined) {
        const file: FileEntry = { kind: "file", ...created(mode), ...emptyContent };
        await draft.put(path, file, signal);
        return draftFile(draft, path, file, access, now);
      }
      return entry.kind === "file" ? draftFile(draft, path, entry, access, now) : storedFile(draft, entry, signal);
    },
    mkdir: (path, mode) => draft.put(path, { kind: "folder", ...created(mode) }, signal),
    symlink: (target, path) => draft.put(path, { kind: "link", target, mode: 0o777, mtimeMs: now() }, signal),
    chmod: (path, mode) => draft.set(path, { mode }, signal),
    remove: (path) => draft.remove(path, signal),
    move: async (from, to) => {
      await draft.remove(to, signal);
      await draft.copy(from, to, undefined, signal);
      await draft.remove(from, signal);
    },
    copy: (from, to) => draft.copy(from, to, undefined, signal),
  };
}

/** What is stored, open to be read. */
export function storedFile(reading: Reading, entry: Entry, signal: AbortSignal | undefined): RawFile {
  const done = (): Promise<void> => Promise.resolve();
  return {
    stat: () => Promise.resolve(foundOf(entry)),
    read: async (into, at) =>
      entry.kind === "file" ? fill(into, await reading.read(entry, at, at + into.byteLength, signal)) : 0,
    write: readOnly,
    truncate: readOnly,
    chmod: readOnly,
    sync: done,
    close: done,
    abandon: done,
  };
}

/** A file of a draft, open to be changed: what it becomes is a part of the draft once it is synced. */
export function draftFile(draft: Draft, path: string, entry: FileEntry, access: Access, now: () => number): RawFile {
  let last = entry;
  let { mode } = entry;
  let editing = access.truncate && entry.size > 0 ? draft.edit(emptyContent) : undefined;
  let isChanged = editing !== undefined;
  const edit = () => (editing ??= draft.edit(last));
  const sync = async (): Promise<void> => {
    if (!isChanged) return;
    const content: Content = editing === undefined ? last : await editing.finish();
    isChanged = false;
    const there = await draft.entry(path);
    // What was removed meanwhile stays so: whoever has it open goes on with it alone.
    if (there?.kind !== "file") return;
    // What is as it was is not written.
    if (there.mode === mode && isSameContent(there, content)) return;
    last = { kind: "file", mode, mtimeMs: now(), size: content.size, chunks: content.chunks };
    await draft.put(path, last);
  };
  return {
    stat: () => Promise.resolve(foundOf({ ...last, mode, size: editing?.size ?? last.size })),
    read: async (into, at) => {
      const to = at + into.byteLength;
      return fill(into, editing === undefined ? await draft.read(last, at, to) : await editing.read(at, to));
    },
    write: async (bytes, at) => {
      const to = edit();
      const from = at ?? to.size;
      await to.write(from, bytes);
      isChanged = true;
      return from + bytes.byteLength;
    },
    truncate: async (size) => {
      if (size === (editing?.size ?? last.size)) return;
      await edit().truncate(size);
      isChanged = true;
    },
    chmod: (to) => {
      if (to !== mode) isChanged = true;
      mode = to;
      return Promise.resolve();
    },
    sync,
    close: sync,
    abandon: () => Promise.resolve(),
  };
}

export function foundOf(entry: Entry): Found;
export function foundOf(entry: Entry | undefined): Found | undefined;
export function foundOf(entry: Entry | undefined): Found | undefined {
  if (entry === undefined) return undefined;
  const { kind, mode, mtimeMs } = entry;
  if (kind === "file") return { kind, size: entry.size, mode, mtimeMs };
  if (kind === "folder") return { kind, size: 0, mode, mtimeMs };
  return { kind, size: Buffer.byteLength(entry.target), mode: 0o777, mtimeMs, target: entry.target };
}

function fill(into: Uint8Array, bytes: Uint8Array): number {
  into.set(bytes);
  return bytes.byteLength;
}

/** Whoever called says what was being done. */
function refused(code: FsErrorCode): FsError {
  return new FsError(code, { syscall: "access" });
}

async function readOnly(): Promise<never> {
  throw refused("EROFS");
}
