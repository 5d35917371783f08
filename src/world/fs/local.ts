import { constants } from "node:fs";
import * as system from "node:fs/promises";
import type { Stats } from "node:fs";
import type { FsKind } from "../api/fs.ts";
import type { Access } from "./flags.ts";
import { byName } from "./volume.ts";
import type { Found, Named, RawFile, Volume } from "./volume.ts";
import type { Run, Way } from "./way.ts";

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;

/** Of what is asked of the system: whoever opens a pipe would wait for its other end. */
const notWaiting = constants.O_NONBLOCK;

/** A folder of this machine. Links are not followed, by the system either, in the last level of a path. */
export function localVolume(folder: string): Volume {
  const real = (path: string): string => (path === "" ? folder : `${folder}/${path}`);
  return {
    look: async (path) => {
      let stats: Stats;
      try {
        stats = await (path === "" ? system.stat(folder) : system.lstat(real(path)));
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENOENT" || code === "ENOTDIR") return undefined;
        throw error;
      }
      const found = foundOf(stats);
      return found.kind === "link" ? { ...found, target: await system.readlink(real(path)) } : found;
    },
    list: async (path) => {
      const entries = await system.readdir(real(path), { withFileTypes: true });
      return entries.map((entry): Named => ({ name: entry.name, kind: kindOf(entry) })).sort(byName);
    },
    open: async (path, access, mode) => rawFile(await system.open(real(path), systemFlags(access), mode)),
    mkdir: async (path, mode) => {
      await system.mkdir(real(path), { mode });
    },
    symlink: (target, path) => system.symlink(target, real(path)),
    chmod: async (path, mode) => {
      const handle = await system.open(real(path), O_RDONLY | O_NOFOLLOW | notWaiting).catch(() => undefined);
      // A file that may not be read can be changed all the same.
      if (handle === undefined) return await system.chmod(real(path), mode);
      try {
        await handle.chmod(mode);
      } finally {
        await handle.close();
      }
    },
    remove: async (path, kind, deep) => {
      if (deep) await system.rm(real(path), { recursive: true });
      else await (kind === "folder" ? system.rmdir(real(path)) : system.unlink(real(path)));
    },
    move: (from, to) => system.rename(real(from), real(to)),
    copy: async (from, to, kind) => {
      await system.cp(real(from), real(to), { recursive: kind === "folder", verbatimSymlinks: true });
    },
  };
}

function systemFlags({ read, write, append, create, exclusive, truncate }: Access): number {
  const way = read && write ? O_RDWR : write ? O_WRONLY : O_RDONLY;
  const more = [append && O_APPEND, create && O_CREAT, exclusive && O_EXCL, truncate && O_TRUNC];
  return more.reduce<number>((flags, one) => flags | (one === false ? 0 : one), way | O_NOFOLLOW);
}

type Kinds = Pick<Stats, "isFile" | "isDirectory" | "isSymbolicLink">;

function kindOf(one: Kinds): FsKind | "other" {
  return one.isFile() ? "file" : one.isDirectory() ? "folder" : one.isSymbolicLink() ? "link" : "other";
}

function foundOf(stats: Stats): Found {
  return { kind: kindOf(stats), size: stats.size, mode: stats.mode & 0o7777, mtimeMs: stats.mtimeMs };
}

function rawFile(handle: system.FileHandle): RawFile {
  const close = (): Promise<void> => handle.close();
  return {
    stat: async () => foundOf(await handle.stat()),
    read: async (into, at) => {
      let done = 0;
      while (done < into.byteLength) {
        const { bytesRead } = await handle.read(into, done, into.byteLength - done, at + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done;
    },
    write: async (bytes, at) => {
      let done = 0;
      while (done < bytes.byteLength) {
        const place = at === undefined ? null : at + done;
        done += (await handle.write(bytes, done, bytes.byteLength - done, place)).bytesWritten;
      }
      return at === undefined ? (await handle.stat()).size : at + done;
    },
    truncate: (size) => handle.truncate(size),
    chmod: (mode) => handle.chmod(mode),
    sync: () => handle.sync(),
    close,
    abandon: close,
  };
}

/** Calls on that folder, as it is. */
export function localWay(folder: string, run: Run): Way {
  const volume = localVolume(folder);
  return {
    read: (call, act) => run(call, () => act(volume)),
    change: (call, _again, act) => run(call, () => act(volume)),
    open: (call, access, plan) =>
      run(call, async () => {
        const { path, mode } = await plan(volume);
        return await volume.open(path, access, mode);
      }),
  };
}
