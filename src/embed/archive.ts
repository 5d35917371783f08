import { readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { lockDataDir } from "./lock.ts";

export interface ArchiveOptions {
  /** How many archives of this data dir stay, this one included. */
  readonly keep: number;
  readonly clock: Clock;
}

/**
 * Moves a data dir out of the way, to `<dir>.removed-<UTC time>` beside it. Of such archives the newest `keep` stay, and only
 * while the free disk space exceeds twice the size of this one: else the oldest are deleted, this one last.
 *
 * @returns the path of the archive; undefined where there was nothing to keep or it was not kept.
 * @throws QuorateError DATA_DIR_IN_USE where a server runs on it; DATA_DIR_UNUSABLE where it cannot be moved.
 */
export async function archiveDataDir(dir: string, options: ArchiveOptions): Promise<string | undefined> {
  const lock = await lockDataDir(dir, options.clock, new AbortController().signal);
  try {
    const archive = await moveAway(dir, options.clock.wallTime());
    // Nothing is left of a first start either.
    await rm(`${dir}.first-start`, { force: true });
    if (archive === undefined) return undefined;
    const enough = 2 * (await sizeOf(archive));
    const oldestFirst = await archivesOf(dir);
    while (oldestFirst.length > 0 && (oldestFirst.length > options.keep || (await freeBytes(dirname(dir))) <= enough)) {
      const oldest = oldestFirst.shift();
      if (oldest !== undefined) await rm(oldest, { recursive: true, force: true });
    }
    return oldestFirst.includes(archive) ? archive : undefined;
  } catch (error) {
    if (error instanceof QuorateError) throw error;
    throw new QuorateError("DATA_DIR_UNUSABLE", `Cannot archive the data dir ${dir}`, { cause: error });
  } finally {
    await lock.release();
  }
}

/** Renames it to a name that nothing has and that sorts behind all earlier ones. */
async function moveAway(dir: string, now: Date): Promise<string | undefined> {
  const label = now.toISOString().replaceAll(/[-:]/g, "");
  for (let again = 0; ; again++) {
    const archive = `${dir}.removed-${label}${again === 0 ? "" : `-${String(again).padStart(3, "0")}`}`;
    try {
      if (await missing(archive)) {
        await rename(dir, archive);
        return archive;
      }
    } catch (error) {
      if (await missing(dir)) return undefined;
      throw error;
    }
  }
}

/** Full paths, oldest first. */
async function archivesOf(dir: string): Promise<string[]> {
  const prefix = `${basename(dir)}.removed-`;
  const names = (await readdir(dirname(dir))).filter(
    (name) => name.startsWith(prefix) && /^\d{8}T\d{6}\.\d{3}Z(-\d{3})?$/.test(name.slice(prefix.length)),
  );
  return names.sort().map((name) => join(dirname(dir), name));
}

async function missing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    () => true,
  );
}

/** What a folder takes on the disk, in bytes. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true });
  const sizes = await Promise.all(entries.map(async (entry) => (await stat(join(folder, entry))).blocks * 512));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
