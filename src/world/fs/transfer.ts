import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import * as system from "node:fs/promises";
import type { FsProgress, FsTransferOptions, FsTransferred } from "../api/fs.ts";
import { chunkBytes } from "./engine/types.ts";
import { bytesOf, chunkAddresses } from "./engine/node.ts";
import type { Address, Draft, Entry, FileEntry, Reading } from "./engine/types.ts";
import { aborted, FsError } from "./error.ts";
import { contentOf, isSameContent, piecesOf } from "./local-content.ts";
import { localVolume } from "./local.ts";
import { within } from "./volume.ts";
import type { Found, Volume } from "./volume.ts";

/** Files that are read, and moved, at a time. */
const atOnce = 8;

/** What a file is called while it is written. */
const isTemporary = /^\.quorate-[0-9a-f]{16}$/;

type Counts = { -readonly [name in keyof FsTransferred]: FsTransferred[name] };
interface Options extends Pick<FsTransferOptions, "mirror" | "onProgress" | "signal"> {
  /** Files that were last changed before that, at the same time and to the same size as those that are there, are not read. */
  readonly unchangedBefore?: number;
}

/** Of a folder, with what is in it below it. */
interface Item<T> {
  /** Below where it began. */
  readonly path: string;
  readonly of: T;
}

/** Copies a local folder into a folder of a draft, which has to be there. */
export async function uploadInto(draft: Draft, into: string, folder: string, options: Options): Promise<FsTransferred> {
  const { mirror = false, signal } = options;
  const local = localVolume(folder);
  const all = await below(local, "");
  const files = all.filter(({ of }) => of.kind === "file");
  const counted = counter(files.length, sum(files), options);
  const there = (path: string): Promise<Entry | undefined> => draft.entry(within2(into, path), signal);
  if (mirror) counted.counts.deleted = await removeOthers(draft, into, new Set(all.map(({ path }) => path)), signal);
  for (const { path, of } of all) {
    check(signal, "upload");
    const at = within2(into, path);
    const before = await there(path);
    const { mode } = of;
    const mtimeMs = Math.floor(of.mtimeMs);
    if (of.kind === "folder") {
      counted.counts.folders++;
      if (before?.kind !== "folder") await draft.put(at, { kind: "folder", mode, mtimeMs }, signal);
      else if (before.mode !== mode) await draft.set(at, { mode }, signal);
    } else if (of.kind === "link") {
      counted.counts.links++;
      const target = of.target ?? "";
      if (before?.kind === "link" && before.target === target) continue;
      if (before?.kind === "folder") await checkRoom(draft, at, mirror);
      await draft.put(at, { kind: "link", mode: 0o777, mtimeMs, target }, signal);
    }
  }
  let moved = 0;
  const written = new Set<Address>();
  const isMoved = async (chunk: Address): Promise<boolean> => {
    if (written.has(chunk)) return false;
    written.add(chunk);
    return !(await draft.has(chunk, signal));
  };
  const isUnchanged = async (path: string, { size, mode, mtimeMs }: Found): Promise<boolean> => {
    if (options.unchangedBefore === undefined || mtimeMs >= options.unchangedBefore) return false;
    const before = await there(path);
    return before?.kind === "file" && before.size === size && before.mode === mode && before.mtimeMs === Math.floor(mtimeMs);
  };
  let turn: Promise<unknown> = Promise.resolve();
  await each(files, atOnce, async ({ path, of }) => {
    check(signal, "upload");
    if (await isUnchanged(path, of)) {
      counted.file(of.size, 0);
      return;
    }
    const content = await draft.write(piecesOf(`${folder}/${path}`, signal), signal);
    for (const chunk of chunkAddresses(content)) if (await isMoved(chunk)) moved += bytesOf(chunk);
    const put = turn.then(async () => {
      const before = await there(path);
      counted.file(content.size, moved - counted.counts.moved);
      if (before?.kind === "folder") await checkRoom(draft, within2(into, path), mirror);
      const isSame = before?.kind === "file" && before.mode === of.mode && isSameContent(before, content);
      // Who goes by the time needs the new one.
      if (isSame && options.unchangedBefore === undefined) return;
      const file: FileEntry = { kind: "file", mode: of.mode, mtimeMs: Math.floor(of.mtimeMs), ...content };
      await draft.put(within2(into, path), file, signal);
    });
    turn = put.catch(() => undefined);
    await put;
  });
  return counted.counts;
}

/** Copies a folder of a tree into a local one. */
export async function downloadInto(tree: Reading, from: string, folder: string, options: Options): Promise<FsTransferred> {
  const { mirror = false, signal } = options;
  await system.mkdir(folder, { recursive: true });
  const local = localVolume(folder);
  const all = await entriesBelow(tree, from, "", signal);
  const files = all.flatMap(({ path, of }) => (of.kind === "file" ? [{ path, of }] : []));
  const counted = counter(files.length, sum(files), options);
  if (mirror) {
    const wanted = new Set(all.map(({ path }) => path));
    for (const { path, of } of (await below(local, "")).reverse()) {
      if (wanted.has(path)) continue;
      await local.remove(path, of.kind === "other" ? "file" : of.kind, false);
      counted.counts.deleted++;
    }
  }
  for (const { path, of } of all) {
    check(signal, "download");
    const found = await local.look(path);
    if (of.kind === "folder") {
      counted.counts.folders++;
      if (found !== undefined && found.kind !== "folder") await local.remove(path, "file", false);
      if (found?.kind !== "folder") await local.mkdir(path, 0o777);
    } else if (of.kind === "link") {
      counted.counts.links++;
      if (found?.kind === "link" && found.target === of.target) continue;
      await makeRoom(local, path, found, mirror);
      await local.symlink(of.target, path);
    }
  }
  await each(files, atOnce, async ({ path, of }) => {
    check(signal, "download");
    counted.file(of.size, await fetchFile(tree, of, local, folder, path, mirror, signal));
  });
  // What may not be written into is so at the end only.
  for (const { path, of } of [...all].reverse()) if (of.kind === "folder") await local.chmod(path, of.mode);
  return counted.counts;
}

/** Whoever reads it has the old one, or the new one whole. Gives how many bytes were moved. */
export async function fetchFile(
  tree: Reading,
  entry: FileEntry,
  local: Volume,
  folder: string,
  path: string,
  mirror: boolean,
  signal?: AbortSignal,
): Promise<number> {
  const real = `${folder}/${path}`;
  const found = await local.look(path);
  if (found?.kind === "file" && found.size === entry.size && isSameContent(await contentOf(real, signal), entry)) {
    if (found.mode !== entry.mode) await local.chmod(path, entry.mode);
    return 0;
  }
  if (found?.kind === "folder") await makeRoom(local, path, found, mirror);
  const temporary = `${real.slice(0, real.lastIndexOf("/") + 1)}.quorate-${randomBytes(8).toString("hex")}`;
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    const handle = await system.open(temporary, flags, 0o600);
    try {
      for (let at = 0; at < entry.size; at += chunkBytes) {
        check(signal, "download");
        await handle.writeFile(await tree.read(entry, at, at + chunkBytes, signal));
      }
      await handle.chmod(entry.mode);
      await handle.utimes(entry.mtimeMs / 1_000, entry.mtimeMs / 1_000);
    } finally {
      await handle.close();
    }
    await system.rename(temporary, real);
  } catch (error) {
    await system.rm(temporary, { force: true });
    throw error;
  }
  return entry.size;
}

/** What is to be something else goes; a folder that is not empty only where that is meant. */
async function makeRoom(local: Volume, path: string, found: Found | undefined, deep: boolean): Promise<void> {
  if (found === undefined) return;
  await local.remove(path, found.kind === "folder" ? "folder" : "file", found.kind === "folder" && deep);
}

/** All that is in it, folders before what is in them. */
async function below(volume: Volume, folder: string): Promise<Item<Found>[]> {
  const all: Item<Found>[] = [];
  for (const { name } of await volume.list(folder)) {
    const path = within(folder, name);
    const of = await volume.look(path);
    // Sockets and the like are nothing that a tree could have; what is half written by a download is no file yet.
    if (of === undefined || of.kind === "other" || isTemporary.test(name)) continue;
    all.push({ path, of });
    if (of.kind === "folder") all.push(...(await below(volume, path)));
  }
  return all;
}

export async function entriesBelow(tree: Reading, at: string, path: string, signal?: AbortSignal): Promise<Item<Entry>[]> {
  const all: Item<Entry>[] = [];
  for (const [name, of] of (await tree.list(within2(at, path), signal)) ?? []) {
    all.push({ path: within(path, name), of });
    if (of.kind === "folder") all.push(...(await entriesBelow(tree, at, within(path, name), signal)));
  }
  return all;
}

/** A folder that is not empty gives way only where that is meant. */
async function checkRoom(draft: Draft, path: string, mirror: boolean): Promise<void> {
  if (mirror || (await draft.list(path))?.size === 0) return;
  throw new FsError("ENOTEMPTY", { syscall: "upload", path: `/${path}` });
}

async function removeOthers(draft: Draft, at: string, wanted: ReadonlySet<string>, signal?: AbortSignal): Promise<number> {
  const all = await entriesBelow(draft, at, "", signal);
  const others = all.filter(({ path }) => !wanted.has(path));
  for (const { path } of others.reverse()) await draft.remove(within2(at, path), signal);
  return others.length;
}

function within2(folder: string, path: string): string {
  return path === "" ? folder : within(folder, path);
}

interface Counter {
  readonly counts: Counts;
  file(bytes: number, moved: number): void;
}

function counter(filesInAll: number, bytesInAll: number, { onProgress }: Options): Counter {
  const counts: Counts = { files: 0, folders: 0, links: 0, bytes: 0, moved: 0, deleted: 0 };
  return {
    counts,
    file: (bytes, moved) => {
      counts.files++;
      counts.bytes += bytes;
      counts.moved += moved;
      const progress: FsProgress = { files: counts.files, filesInAll, bytes: counts.bytes, bytesInAll, moved: counts.moved };
      onProgress?.(progress);
    },
  };
}

function sum(files: readonly Item<{ readonly kind: string; readonly size?: number }>[]): number {
  return files.reduce((bytes, { of }) => bytes + (of.size ?? 0), 0);
}

/** Some at a time; settles when all have, and throws the first failure then. */
async function each<T>(all: readonly T[], most: number, task: (one: T) => Promise<void>): Promise<void> {
  const left = [...all];
  let failed = false;
  const run = async (): Promise<void> => {
    for (let one = left.shift(); one !== undefined && !failed; one = left.shift()) {
      try {
        await task(one);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: Math.min(most, all.length) }, run));
  for (const one of settled) {
    if (one.status === "fulfilled") continue;
    const reason: unknown = one.reason;
    throw reason;
  }
}

function check(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw aborted(what, signal);
}
