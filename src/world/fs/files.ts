import type { FsEncoding, FsFiles, FsWriteFileOptions } from "../api/fs-files.ts";
import { badType, checkInteger, FsError, step } from "./error.ts";
import type { Place } from "./error.ts";
import { copyOver } from "./copy.ts";
import { accessOf, modeOf, numberOf } from "./flags.ts";
import { bytesOf, handleOver } from "./handle.ts";
import { callOf, openOver, planOf, readerOver } from "./reader.ts";
import { writeStream } from "./streams.ts";
import type { Found, Volume } from "./volume.ts";
import { checkPath, walk } from "./walk.ts";
import type { Way } from "./way.ts";

/** The functions of Node that read and change. */
export function filesOver(way: Way): FsFiles {
  const writeFile = async (
    path: string,
    data: string | Uint8Array,
    options: FsEncoding | FsWriteFileOptions | undefined,
    otherwise: "w" | "a",
  ): Promise<void> => {
    checkPath(path);
    const given = typeof options === "string" ? { encoding: options } : (options ?? {});
    const bytes = bytesOf(data, given.encoding);
    const access = accessOf(numberOf(given.flag ?? otherwise));
    const plan = planOf(path, access, modeOf(given.mode, 0o666));
    // Who appends, or wants to be the only one, does not undo what somebody else has done.
    const again = access.append || access.exclusive;
    await way.change(callOf({ syscall: "open", path }, given), again, async (volume) => {
      const { path: at, mode } = await plan(volume);
      await withHandle(volume, at, access, mode, (handle) => handle.writeFile(bytes));
    });
  };

  return {
    ...readerOver(way),
    writeFile: (path, data, options) => writeFile(path, data, options, "w"),
    appendFile: (path, data, options) => writeFile(path, data, options, "a"),
    mkdir: async (path, options = {}) => {
      checkPath(path);
      const given = typeof options === "object" ? options : { mode: options };
      const mode = modeOf(given.mode, 0o777);
      const place = { syscall: "mkdir", path };
      return await way.change(callOf(place, given), true, async (volume) => {
        if (given.recursive === true) return await makeAll(volume, path, mode);
        const { found, path: at } = await walk(volume, path, place, false);
        if (found !== undefined) throw new FsError("EEXIST", place);
        await volume.mkdir(at, mode);
        return undefined;
      });
    },
    rename: async (from, to, options = {}) => {
      checkPath(from, "oldPath");
      checkPath(to, "newPath");
      const place = { syscall: "rename", path: from, dest: to };
      await way.change(callOf(place, options), false, async (volume) => {
        const source = await walk(volume, from, place, false);
        const target = await walk(volume, to, place, false);
        if (source.byDots || target.byDots || source.path === "" || target.path === "") throw new FsError("EBUSY", place);
        if (source.found === undefined) throw new FsError("ENOENT", place);
        const isFolder = source.found.kind === "folder";
        if (!isFolder && target.asFolder) throw new FsError("ENOTDIR", place);
        if (target.path.startsWith(`${source.path}/`)) throw new FsError("EINVAL", place);
        if (source.path.startsWith(`${target.path}/`)) throw new FsError("ENOTEMPTY", place);
        if (source.path === target.path) return;
        if (target.found !== undefined) {
          const overFolder = target.found.kind === "folder";
          if (overFolder && !isFolder) throw new FsError("EISDIR", place);
          if (!overFolder && isFolder) throw new FsError("ENOTDIR", place);
          if (overFolder && (await volume.list(target.path)).length > 0) throw new FsError("ENOTEMPTY", place);
        }
        await volume.move(source.path, target.path);
      });
    },
    rm: async (path, options = {}) => {
      checkPath(path);
      const place = { syscall: "lstat", path };
      await way.change(callOf(place, options), false, async (volume) => {
        const { found, path: at } = await walk(volume, path, place, false).catch((error: unknown) => {
          if (options.force === true && error instanceof FsError && error.code === "ENOENT")
            return { found: undefined, path: "" };
          throw error;
        });
        if (found === undefined) {
          if (options.force === true) return;
          throw new FsError("ENOENT", place);
        }
        const kind = found.kind === "other" ? "file" : found.kind;
        const removal = { syscall: "rm", path };
        if (kind === "folder" && options.recursive !== true) throw new FsError("ERR_FS_EISDIR", removal);
        if (at === "") throw new FsError("EBUSY", removal);
        await step(removal, () => volume.remove(at, kind, kind === "folder"));
      });
    },
    rmdir: async (path, options = {}) => {
      checkPath(path);
      const place = { syscall: "rmdir", path };
      await way.change(callOf(place, options), false, async (volume) => {
        const { found, path: at, byDots } = await walk(volume, path, place, false);
        if (found === undefined) throw new FsError("ENOENT", place);
        if (found.kind !== "folder") throw new FsError("ENOTDIR", place);
        if (byDots) throw new FsError(/\.\.\/*$/.test(path) ? "ENOTEMPTY" : "EINVAL", place);
        if (at === "") throw new FsError("EBUSY", place);
        if ((await volume.list(at)).length > 0) throw new FsError("ENOTEMPTY", place);
        await volume.remove(at, "folder", false);
      });
    },
    unlink: async (path, options = {}) => {
      checkPath(path);
      const place = { syscall: "unlink", path };
      await way.change(callOf(place, options), false, async (volume) => {
        const { found, path: at } = await walk(volume, path, place, false);
        if (found === undefined) throw new FsError("ENOENT", place);
        if (found.kind === "folder") throw new FsError("EISDIR", place);
        await volume.remove(at, found.kind === "other" ? "file" : found.kind, false);
      });
    },
    cp: async (from, to, options = {}) => {
      checkPath(from, "src");
      checkPath(to, "dest");
      const call = callOf({ syscall: "cp", path: from, dest: to }, options);
      await way.change(call, false, (volume) => copyOver(volume, from, to, options));
    },
    symlink: async (target, path, options = {}) => {
      checkPath(target, "target");
      checkPath(path);
      const place = { syscall: "symlink", path: target, dest: path };
      await way.change(callOf(place, options), true, async (volume) => {
        if (target === "") throw new FsError("ENOENT", place);
        if (Buffer.byteLength(target) > 4_095) throw new FsError("ENAMETOOLONG", place);
        const { found, path: at, asFolder } = await walk(volume, path, place, false);
        if (found !== undefined) throw new FsError("EEXIST", place);
        if (asFolder) throw new FsError("ENOENT", place);
        await volume.symlink(target, at);
      });
    },
    chmod: async (path, mode, options = {}) => {
      checkPath(path);
      if (typeof mode !== "number" && typeof mode !== "string") throw badType("mode", "of type number", mode);
      const permissions = modeOf(mode, 0);
      const place = { syscall: "chmod", path };
      await way.change(callOf(place, options), true, async (volume) => {
        const { found, path: at } = await walk(volume, path, place, true);
        if (found === undefined) throw new FsError("ENOENT", place);
        await volume.chmod(at, permissions);
      });
    },
    truncate: async (path, length = 0, options = {}) => {
      checkPath(path);
      const size = checkInteger("len", length, Number.MIN_SAFE_INTEGER);
      const access = accessOf(numberOf("r+"));
      const plan = planOf(path, access, 0o666);
      await way.change(callOf({ syscall: "open", path }, options), false, async (volume) => {
        const { path: at } = await plan(volume);
        await withHandle(volume, at, access, 0, (handle) => handle.truncate(size));
      });
    },
    open: async (path, flags = "r", mode = 0o666) => {
      checkPath(path);
      const access = accessOf(numberOf(flags));
      const { raw, isFolder } = await openOver(way, path, access, modeOf(mode, 0o666), {});
      return handleOver(raw, access, isFolder);
    },
    createWriteStream: (path, options = {}) => {
      checkPath(path);
      const access = accessOf(numberOf(options.flags ?? "w"));
      const mode = modeOf(options.mode, 0o666);
      const open = () => openOver(way, path, access, mode, options);
      return writeStream(open, access, options);
    },
  };
}

type Handle = ReturnType<typeof handleOver>;
type Access = ReturnType<typeof accessOf>;

/** Of one call: it is closed when that is over. */
async function withHandle(
  volume: Volume,
  path: string,
  access: Access,
  mode: number,
  use: (handle: Handle) => Promise<void>,
): Promise<void> {
  const handle = handleOver(await volume.open(path, access, mode), access, false);
  try {
    await use(handle);
  } finally {
    await handle.close();
  }
}

/** As `mkdir -p`. Gives the first that was made. */
async function makeAll(volume: Volume, path: string, mode: number): Promise<string | undefined> {
  const place = { syscall: "mkdir", path };
  const levels = path.split("/").filter((level) => level !== "");
  if (path === "") throw new FsError("ENOENT", place);
  let first: string | undefined;
  for (let i = 1; i <= levels.length; i++) {
    const upTo = `/${levels.slice(0, i).join("/")}`;
    const here = await walk(volume, upTo, place, false);
    if (here.found === undefined) {
      await volume.mkdir(here.path, mode);
      first ??= upTo;
      continue;
    }
    if (here.found.kind === "folder") continue;
    const isLast = i === levels.length;
    if (here.found.kind !== "link") throw new FsError(isLast ? "EEXIST" : "ENOTDIR", place);
    const found = await targetOf(volume, upTo, place);
    if (found?.kind === "folder") continue;
    if (found !== undefined) throw new FsError(isLast ? "EEXIST" : "ENOTDIR", place);
    throw isLast ? new FsError("ENOENT", place) : new FsError("ENOTDIR", { ...place, path: upTo });
  }
  return first;
}

/** Of a link; undefined where it leads nowhere. */
async function targetOf(volume: Volume, path: string, place: Place): Promise<Found | undefined> {
  try {
    return (await walk(volume, path, place, true)).found;
  } catch (error) {
    if (error instanceof FsError && error.code === "ENOENT") return undefined;
    throw error;
  }
}
