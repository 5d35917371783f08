import { access, mkdir, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { inUse, lockDataDir } from "./lock.ts";
import { processesWith } from "./sockets.ts";

/** What a data dir holds. `damaged`: etcd would start on it and silently begin a new log, or lose acknowledged writes. */
export type DataDirState = "absent" | "empty" | "has-data" | "damaged";

/** A data dir of ours: locked, and looked at. */
export interface DataDir {
  readonly hasData: boolean;
  /** For the child: it holds the lock as well then. */
  readonly fd: number;
  /** Makes it ready for the next try. */
  prepare(): Promise<void>;
  /** The server has served: what is there now is its data. */
  booted(): Promise<void>;
  /** Clears away what a first start that came to nothing has left, and lets go. The server must be gone. Never rejects. */
  close(): Promise<void>;
}

/**
 * Takes a data dir for one server. `walDir`: where its log is, if not in there.
 *
 * @throws QuorateError DATA_DIR_IN_USE, DATA_DIR_UNUSABLE.
 */
export async function openDataDir(
  dir: string,
  clock: Clock,
  signal: AbortSignal,
  log?: Logger,
  walDir?: string,
): Promise<DataDir> {
  const lock = await lockDataDir(dir, clock, signal, log);
  try {
    const state = await inspectDataDir(dir, walDir);
    if (state === "damaged") throw damaged(dir);
    const hasData = state === "has-data";
    if (hasData) await assertUnused(dir);
    // Its first start was cut short behind the point that counts.
    if (hasData) await rm(firstStart(dir), { force: true });
    return {
      hasData,
      fd: lock.fd,
      prepare: async () => {
        if (hasData) return;
        await writeFile(firstStart(dir), "");
        await clearFirstStart(dir, walDir);
        await mkdir(dir, { recursive: true, mode: 0o700 });
      },
      booted: () => rm(firstStart(dir), { force: true }),
      close: async () => {
        try {
          if (await exists(firstStart(dir))) {
            await clearFirstStart(dir, walDir);
            await rm(firstStart(dir), { force: true });
          }
        } catch (error) {
          log?.warn({ err: error, dataDir: dir }, "Cannot clear away what the first start left");
        }
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** An etcd that somebody started by hand knows nothing of our lock; a second one waits for its database for ever, without a word. */
async function assertUnused(dir: string): Promise<void> {
  const [holder] = await processesWith(await realpath(join(dir, "member", "snap", "db")));
  if (holder !== undefined) throw inUse(dir, holder);
}

/**
 * Looks at a data dir as etcd lays it out: `member/snap/db` and `member/wal/*.wal`, or `*.wal` in a folder of their own, belong together. A
 * first start that did not get as far as a log leaves nothing that counts: `empty`.
 */
export async function inspectDataDir(dir: string, walDir = ""): Promise<DataDirState> {
  const entries = await entriesOf(dir);
  if (entries === undefined) return "absent";
  const snap = (await entriesOf(join(dir, "member", "snap"))) ?? [];
  const wal = (await entriesOf(walFolder(dir, walDir))) ?? [];
  const hasWal = wal.some((name) => name.endsWith(".wal"));
  if (hasWal) return snap.includes("db") ? "has-data" : "damaged";
  if (snap.length === 0 && wal.length === 0) return "empty";
  return (await exists(firstStart(dir))) ? "empty" : "damaged";
}

/** Exists from the first try to start a server on an empty data dir until it served: a db without WAL is nobody's data then. */
function firstStart(dir: string): string {
  return `${dir}.first-start`;
}

async function clearFirstStart(dir: string, walDir = ""): Promise<void> {
  const wal = (await entriesOf(walFolder(dir, walDir))) ?? [];
  if (!wal.some((name) => name.endsWith(".wal"))) await rm(join(dir, "member"), { recursive: true, force: true });
}

function walFolder(dir: string, walDir: string): string {
  return walDir === "" ? join(dir, "member", "wal") : walDir;
}

function damaged(dir: string): QuorateError {
  return new QuorateError(
    "DATA_DIR_UNUSABLE",
    `Cannot use the data dir ${dir}: it is damaged, its database and its log do not belong together`,
    {
      hint: `Move ${dir} away: this server then joins as a new member`,
      data: { dataDir: dir },
    },
  );
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Names in a folder; undefined where there is none. */
async function entriesOf(folder: string): Promise<string[] | undefined> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new QuorateError("DATA_DIR_UNUSABLE", `Cannot read ${folder}`, { cause: error });
  }
}
