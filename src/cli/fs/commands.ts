import { isUtf8 } from "node:buffer";
import { createReadStream, createWriteStream } from "node:fs";
import { basename, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import type { FsProgress, FsStats, FsTransferred } from "../../world/index.ts";
import type { Io } from "../io.ts";
import { encode, plain } from "../output.ts";
import { oneLine, printTable, withNull } from "../world/print.ts";
import type { FsSettings } from "./settings.ts";
import { withReader, withTree } from "./with-tree.ts";

/** `quorate fs ls [PATH]`. */
export async function list(settings: FsSettings, path: string, recursive: boolean, io: Io): Promise<number> {
  return await withReader(settings, io, async (tree, root) => {
    const top = await tree.stat(path);
    const names = top.isDirectory() ? await tree.readdir(path, { recursive }) : [""];
    const entries = await Promise.all(
      names.map(async (name) => {
        const at = name === "" ? path : `${path.replace(/\/$/, "")}/${name}`;
        const stats = await tree.lstat(at);
        const target = stats.isSymbolicLink() ? await tree.readlink(at) : undefined;
        return { path: name === "" ? basename(path) : name, stats, target };
      }),
    );
    if (settings.output !== "table") {
      const shown = entries.map(({ path: name, stats, target }) => ({ path: name, ...factsOf(stats), target }));
      io.out(encode(withNull({ uri: settings.uri, root, path, entries: shown }), settings.output));
    } else if (entries.length === 0) io.err("note: there is nothing in it\n");
    else {
      const columns = [{ title: "MODE", spare: 2 }, { title: "SIZE" }, { title: "CHANGED", spare: 1 }, { title: "NAME" }];
      const rows = entries.map(({ path: name, stats, target }) => {
        const { kind, size, mode, mtime } = factsOf(stats);
        const end = kind === "folder" ? "/" : target === undefined ? "" : ` -> ${target}`;
        return [mode, kind === "folder" ? "" : String(size), mtime, oneLine(`${name}${end}`)];
      });
      printTable(columns, rows, io);
    }
    return 0;
  });
}

function factsOf(stats: FsStats) {
  const kind = stats.isDirectory() ? "folder" : stats.isSymbolicLink() ? "link" : "file";
  return { kind, size: stats.size, mode: (stats.mode & 0o7777).toString(8).padStart(4, "0"), mtime: stats.mtime.toISOString() };
}

/** `quorate fs cat PATH`: its bytes. */
export async function cat(settings: FsSettings, path: string, io: Io): Promise<number> {
  return await withReader(settings, io, async (tree, root) => {
    const bytes = await tree.readFile(path);
    if (settings.output !== "table") {
      const encoding = isUtf8(bytes) ? "utf8" : "base64";
      const shown = { uri: settings.uri, root, path, size: bytes.length, encoding, content: bytes.toString(encoding) };
      io.out(encode(shown, settings.output));
    } else if (io.tty) io.out(`${plain(bytes.toString("utf8"))}\n`);
    else if (io.outBytes !== undefined) io.outBytes(bytes);
    else io.out(bytes.toString("utf8"));
    return 0;
  });
}

/** `quorate fs put FILE PATH`; `-` is standard input. */
export async function put(settings: FsSettings, file: string, path: string, io: Io): Promise<number> {
  return await withTree(settings, io, async ({ fs, signal }) => {
    const { changed, root, revision } = await fs.transaction(
      async (tx) => {
        const to = tx.createWriteStream(path, { signal });
        if (file !== "-") await pipeline(createReadStream(file), to);
        else await pipeline([(await io.input?.()) ?? new Uint8Array()], to);
      },
      { signal },
    );
    if (settings.output !== "table") io.out(encode({ uri: settings.uri, path, changed, root, revision }, settings.output));
    else io.out(`${changed ? `wrote ${oneLine(path)}` : "nothing changed: it was so already"} at revision ${revision}\n`);
    return 0;
  });
}

/** `quorate fs get PATH [FILE]`: a file, or a folder with all that is in it; `-` is standard output. */
export async function get(settings: FsSettings, path: string, file: string | undefined, io: Io): Promise<number> {
  if (file === "-") return await cat(settings, path, io);
  return await withReader(settings, io, async (tree, root) => {
    const stats = await tree.stat(path);
    const to = resolve(file ?? (basename(path) || "."));
    if (stats.isDirectory()) {
      const done = await tree.download(to, { path, onProgress: progress(io) });
      return tellTransfer(`downloaded ${oneLine(path)} to ${oneLine(to)}`, { ...done, root }, settings, io);
    }
    await pipeline(tree.createReadStream(path), createWriteStream(to, { mode: stats.mode & 0o777 }));
    const done = { files: 1, folders: 0, links: 0, bytes: stats.size, moved: stats.size, deleted: 0 };
    return tellTransfer(`downloaded ${oneLine(path)} to ${oneLine(to)}`, { ...done, root }, settings, io);
  });
}

export interface Sync {
  readonly folder: string;
  readonly path: string | undefined;
  readonly down: boolean;
  readonly keep: boolean;
}

/** `quorate fs sync DIR [PATH]`: the tree becomes what the folder is, or with `--down` the folder what the tree is. */
export async function sync(settings: FsSettings, { folder, path, down, keep }: Sync, io: Io): Promise<number> {
  const options = { mirror: !keep, onProgress: progress(io), ...(path === undefined ? {} : { path }) };
  const local = resolve(folder);
  if (down) {
    return await withReader(settings, io, async (tree, root) => {
      const done = await tree.download(local, options);
      return tellTransfer(`downloaded to ${oneLine(local)}`, { ...done, root }, settings, io);
    });
  }
  return await withTree(settings, io, async ({ fs, signal }) => {
    const done = await fs.upload(local, { ...options, signal });
    return tellTransfer(`uploaded ${oneLine(local)}`, done, settings, io);
  });
}

interface Transfer extends FsTransferred {
  readonly root: string;
  readonly changed?: boolean;
  readonly revision?: number;
}

function tellTransfer(what: string, done: Transfer, { output, uri }: FsSettings, io: Io): number {
  if (output !== "table") {
    io.out(encode({ uri, ...done }, output));
    return 0;
  }
  const { files, bytes, moved, deleted, root, revision } = done;
  const parts = [`${files} files of ${bytes} bytes`, `${moved} bytes moved`, ...(deleted === 0 ? [] : [`${deleted} deleted`])];
  io.out(`${what}: ${parts.join(", ")}${revision === undefined ? "" : `, at revision ${revision}`}\nroot ${root}\n`);
  return 0;
}

/** Where a person looks on: each percent on a line of its own that the next one takes the place of. */
function progress(io: Io): (progress: FsProgress) => void {
  let last = -1;
  return ({ bytes, bytesInAll }) => {
    const percent = bytesInAll === 0 ? 100 : Math.floor((100 * bytes) / bytesInAll);
    if (!io.tty || percent === last) return;
    last = percent;
    io.err(`\r${percent} %${percent === 100 ? "\n" : ""}`);
  };
}

/** `quorate fs log`: the newest first. */
export async function log(settings: FsSettings, newest: number | undefined, io: Io): Promise<number> {
  return await withTree(settings, io, async ({ fs, signal }) => {
    const commits = await fs.log({ signal, ...(newest === undefined ? {} : { limit: newest }) });
    if (settings.output !== "table") io.out(encode(withNull({ uri: settings.uri, commits }), settings.output));
    else if (commits.length === 0) io.err("note: there are none yet\n");
    else {
      const columns = [
        { title: "N" },
        { title: "REVISION", spare: 2 },
        { title: "BY" },
        { title: "AT", spare: 1 },
        { title: "ROOT" },
      ];
      const rows = commits.map(({ generation, revision, by, at, root }) => [`${generation}`, `${revision}`, by, at, root]);
      printTable(columns, rows, io);
    }
    return 0;
  });
}

/** `quorate fs gc`. */
export async function gc(settings: FsSettings, dryRun: boolean, io: Io): Promise<number> {
  return await withTree(settings, io, async ({ fs, signal }) => {
    const done = await fs.gc({ dryRun, signal });
    if (settings.output !== "table") io.out(encode({ dryRun, ...done }, settings.output));
    else {
      const { objects, bytes, deletedObjects, deletedBytes } = done;
      const verb = dryRun ? "would delete" : "deleted";
      io.out(`${verb} ${deletedObjects} of ${objects} objects, ${deletedBytes} of ${bytes} bytes\n`);
    }
    return 0;
  });
}
