import type { FsCpOptions } from "../api/fs-files.ts";
import { FsError, step } from "./error.ts";
import { parentOf, within } from "./volume.ts";
import type { Found, Volume } from "./volume.ts";
import { walk } from "./walk.ts";

/** As `cp` of Node, which leaves links as they are. */
export async function copyOver(volume: Volume, from: string, to: string, options: FsCpOptions): Promise<void> {
  const looking = { syscall: "lstat", path: from };
  const source = await walk(volume, from, looking, false);
  if (source.found === undefined) throw new FsError("ENOENT", looking);
  const target = await walkTo(volume, to);
  const refused = (code: ConstructorParameters<typeof FsError>[0], path: string): FsError =>
    new FsError(code, { syscall: "cp", path });
  const isFolder = source.found.kind === "folder";
  if (source.path === target.path) throw refused("ERR_FS_CP_EINVAL", to);
  if (target.found !== undefined) {
    const overFolder = target.found.kind === "folder";
    if (isFolder && !overFolder) throw refused("ERR_FS_CP_DIR_TO_NON_DIR", to);
    if (!isFolder && overFolder) throw refused("ERR_FS_CP_NON_DIR_TO_DIR", to);
  }
  if (isFolder && (source.path === "" || target.path.startsWith(`${source.path}/`))) throw refused("ERR_FS_CP_EINVAL", to);
  if (isFolder && options.recursive !== true) throw refused("ERR_FS_EISDIR", from);
  await step({ syscall: "cp", path: from, dest: to }, async () => {
    await makeFolders(volume, parentOf(target.path));
    await copyEntry(volume, source.path, source.found!, target.path, target.found, options, to);
  });
}

/** Folders on the way that are not there are made later. */
async function walkTo(volume: Volume, to: string): Promise<{ readonly path: string; readonly found: Found | undefined }> {
  const place = { syscall: "lstat", path: to };
  const levels = to.split("/").filter((level) => level !== "" && level !== ".");
  for (let there = levels.length; there > 0; there--) {
    try {
      const { path, found } = await walk(volume, `/${levels.slice(0, there).join("/")}`, place, there < levels.length);
      const rest = levels.slice(there);
      return rest.length === 0 ? { path, found } : { path: rest.reduce(within, path), found: undefined };
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== "ENOENT") throw error;
    }
  }
  return { path: "", found: await volume.look("") };
}

async function makeFolders(volume: Volume, path: string): Promise<void> {
  if (path === "") return;
  const found = await volume.look(path);
  if (found?.kind === "folder") return;
  await makeFolders(volume, parentOf(path));
  await volume.mkdir(path, 0o777);
}

async function copyEntry(
  volume: Volume,
  from: string,
  source: Found,
  to: string,
  target: Found | undefined,
  options: FsCpOptions,
  told: string,
): Promise<void> {
  const { kind } = source;
  if (kind === "other") throw new FsError("EINVAL", { syscall: "cp", path: told });
  if (kind !== "folder") {
    if (target !== undefined && options.force === false) {
      if (options.errorOnExist === true) throw new FsError("ERR_FS_CP_EEXIST", { syscall: "cp", path: told });
      return;
    }
    await volume.copy(from, to, kind);
    return;
  }
  if (target === undefined) {
    await volume.copy(from, to, kind);
    return;
  }
  for (const { name } of await volume.list(from)) {
    const [below, beyond] = [within(from, name), within(to, name)];
    const found = await volume.look(below);
    const over = await volume.look(beyond);
    if (found === undefined) continue;
    const place = { syscall: "cp", path: `${told}/${name}` };
    if (over !== undefined && (found.kind === "folder") !== (over.kind === "folder")) {
      throw new FsError(found.kind === "folder" ? "ERR_FS_CP_DIR_TO_NON_DIR" : "ERR_FS_CP_NON_DIR_TO_DIR", place);
    }
    await copyEntry(volume, below, found, beyond, over, options, `${told}/${name}`);
  }
}
