import type { FsCallOptions, FsDirent, FsEncoding, FsReader, FsReadFileOptions } from "../api/fs-files.ts";
import { FsError } from "./error.ts";
import type { Place } from "./error.ts";
import { accessOf, modeOf, numberOf } from "./flags.ts";
import type { Access } from "./flags.ts";
import { handleOver } from "./handle.ts";
import { readStream } from "./streams.ts";
import { direntOf, statsOf, within } from "./volume.ts";
import type { Found, Named, RawFile, Volume } from "./volume.ts";
import { checkPath, walk } from "./walk.ts";
import type { Call, Opening, Way } from "./way.ts";

/** The functions of Node that read. */
export function readerOver(way: Way): FsReader {
  const stats =
    (syscall: "stat" | "lstat") =>
    async (path: string, options: FsCallOptions = {}) => {
      checkPath(path);
      const place = { syscall, path };
      return await way.read(callOf(place, options), async (volume) =>
        statsOf(await present(volume, path, place, syscall === "stat")),
      );
    };

  function readFile(path: string, options?: (FsReadFileOptions & { readonly encoding?: null }) | null): Promise<Buffer>;
  function readFile(path: string, options: FsEncoding | (FsReadFileOptions & { readonly encoding: FsEncoding })): Promise<string>;
  async function readFile(path: string, options?: FsEncoding | FsReadFileOptions | null): Promise<Buffer | string> {
    checkPath(path);
    const given = typeof options === "string" ? { encoding: options } : (options ?? {});
    const access = accessOf(numberOf(given.flag ?? "r"));
    const call = callOf({ syscall: "open", path }, given);
    const read = async (raw: RawFile, isFolder: boolean): Promise<Buffer | string> => {
      const handle = handleOver(raw, access, isFolder);
      try {
        return await (given.encoding ? handle.readFile(given.encoding) : handle.readFile());
      } finally {
        await handle.close();
      }
    };
    if (access.write) return await way.open(call, access, planOf(path, access, 0o666)).then((raw) => read(raw, false));
    return await way.read(call, async (volume) => {
      const opening = await planOf(path, access, 0o666)(volume);
      return await read(await volume.open(opening.path, access, 0), opening.found?.kind === "folder");
    });
  }

  function readdir(
    path: string,
    options?: FsCallOptions & { readonly recursive?: boolean; readonly withFileTypes?: false },
  ): Promise<string[]>;
  function readdir(
    path: string,
    options: FsCallOptions & { readonly recursive?: boolean; readonly withFileTypes: true },
  ): Promise<FsDirent[]>;
  async function readdir(
    path: string,
    options: FsCallOptions & { readonly recursive?: boolean; readonly withFileTypes?: boolean } = {},
  ): Promise<string[] | FsDirent[]> {
    checkPath(path);
    const place = { syscall: "scandir", path };
    const found = await way.read(callOf(place, options), async (volume) => {
      const walked = await walk(volume, path, place, true);
      if (walked.found === undefined) throw new FsError("ENOENT", place);
      if (walked.found.kind !== "folder") throw new FsError("ENOTDIR", place);
      return await below(volume, walked.path, "", options.recursive === true);
    });
    if (options.withFileTypes !== true) return found.map(({ folder, name }) => within(folder, name));
    return found.map((one) => direntOf(one, one.folder === "" ? path : `${path.replace(/\/$/, "")}/${one.folder}`));
  }

  return {
    readFile,
    readdir,
    stat: stats("stat"),
    lstat: stats("lstat"),
    readlink: async (path, options = {}) => {
      checkPath(path);
      const place = { syscall: "readlink", path };
      return await way.read(callOf(place, options), async (volume) => {
        const { kind, target } = await present(volume, path, place, false);
        if (kind !== "link") throw new FsError("EINVAL", place);
        return target ?? "";
      });
    },
    realpath: async (path, options = {}) => {
      checkPath(path);
      const place = { syscall: "realpath", path };
      return await way.read(callOf(place, options), async (volume) => {
        const walked = await walk(volume, path, place, true);
        if (walked.found === undefined) throw new FsError("ENOENT", place);
        return `/${walked.path}`;
      });
    },
    access: async (path, options = {}) => {
      checkPath(path);
      const place = { syscall: "access", path };
      await way.read(callOf(place, options), (volume) => present(volume, path, place, true));
    },
    createReadStream: (path, options = {}) => {
      checkPath(path);
      const access = accessOf(numberOf("r"));
      const open = () => openOver(way, path, access, 0o666, options);
      return readStream(open, options);
    },
  };
}

export function callOf(place: Place, { signal }: FsCallOptions): Call {
  return { place, signal };
}

export interface OpenFile {
  readonly raw: RawFile;
  readonly isFolder: boolean;
}

export async function openOver(way: Way, path: string, access: Access, mode: number, options: FsCallOptions): Promise<OpenFile> {
  let isFolder = false;
  const plan = planOf(path, access, mode);
  const raw = await way.open(callOf({ syscall: "open", path }, options), access, async (volume) => {
    const opening = await plan(volume);
    isFolder = opening.found?.kind === "folder";
    return opening;
  });
  return { raw, isFolder };
}

/** What opening a path comes to, or what Linux refuses. */
export function planOf(path: string, access: Access, mode: number): (volume: Volume) => Promise<Opening> {
  const place = { syscall: "open", path };
  return async (volume) => {
    const { exclusive, create, write } = access;
    const walked = await walk(volume, path, place, !exclusive);
    const { found, asFolder } = walked;
    if (found === undefined && !create) throw new FsError("ENOENT", place);
    if (found === undefined && asFolder) throw new FsError("EISDIR", place);
    if (found !== undefined && exclusive) throw new FsError("EEXIST", place);
    if (found?.kind === "folder" && (write || create)) throw new FsError("EISDIR", place);
    if (found?.kind === "other") throw new FsError("ENXIO", place);
    return { path: walked.path, found, access, mode: modeOf(mode, 0o666) };
  };
}

/** @throws FsError ENOENT */
export async function present(volume: Volume, path: string, place: Place, follow: boolean): Promise<Found> {
  const { found } = await walk(volume, path, place, follow);
  if (found === undefined) throw new FsError("ENOENT", place);
  return found;
}

export type Below = Named & { readonly folder: string };

async function below(volume: Volume, path: string, folder: string, deep: boolean): Promise<Below[]> {
  const all: Below[] = [];
  for (const one of await volume.list(path)) {
    all.push({ ...one, folder });
    if (deep && one.kind === "folder") all.push(...(await below(volume, within(path, one.name), within(folder, one.name), deep)));
  }
  return all;
}
