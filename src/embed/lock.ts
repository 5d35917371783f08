import { randomUUID } from "node:crypto";
import { mkdir, open, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { Logger } from "pino";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { tryFlock } from "../system-tools.ts";
import { type ProcessName, processesWith } from "./sockets.ts";

/** The sole right to run a server on a data dir, or to move the data dir away. */
export interface DataDirLock {
  /** An open descriptor that holds the lock. A child that inherits it holds the lock too, until it ends. */
  readonly fd: number;
  release(): Promise<void>;
}

let warned = false;

/** Tells us from a former process that had our pid: after the restart of a container that is the rule. */
const thisProcess = randomUUID();

/** How long the etcd of an agent that was just killed may take to die. */
const dyingMs = 2_000;
const againMs = 20;

/**
 * Takes the lock of a data dir, or fails: at once where its holder lives, after 2 s where only an etcd is left of it. It is an
 * flock on `<dataDir>.lock`: the kernel gives it to one only, within a process and between processes and containers, and takes
 * it back however the holders end. The file itself stays, because removing it would let two hold it.
 *
 * @throws QuorateError DATA_DIR_IN_USE naming the holder; DATA_DIR_UNUSABLE where the file cannot be made or locked.
 */
export async function lockDataDir(dataDir: string, clock: Clock, signal: AbortSignal, log?: Logger): Promise<DataDirLock> {
  const file = await openLockFile(dataDir);
  try {
    const from = clock.nowMs();
    while (!(await tryLock(file, dataDir, log))) {
      const { writer, others } = await holdersOf(file, dataDir);
      if (writer !== undefined) throw inUse(dataDir, writer);
      if (clock.nowMs() - from >= dyingMs) throw inUse(dataDir, others[0]);
      await clock.sleep(againMs, signal);
    }
    await file.truncate();
    await file.write(`${process.pid} ${thisProcess}\n`);
    return { fd: file.fd, release: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function tryLock(file: FileHandle, dataDir: string, log?: Logger): Promise<boolean> {
  const flocked = await tryFlock(file.fd);
  if (flocked === "taken") return true;
  if (flocked === "held") return false;
  if (flocked !== "none") throw unusable(dataDir, `its lock file cannot be locked (flock ends with ${flocked.status})`);
  if (!warned) log?.warn("There is no flock: nothing keeps a second etcd from waiting for ever on the same data dir");
  warned = true;
  return true;
}

async function openLockFile(dataDir: string): Promise<FileHandle> {
  try {
    await mkdir(dirname(dataDir), { recursive: true, mode: 0o700 });
    return await open(lockFile(dataDir), "a+", 0o600);
  } catch (error) {
    throw unusable(dataDir, "its lock file cannot be opened", error);
  }
}

function unusable(dataDir: string, why: string, cause?: unknown): QuorateError {
  return new QuorateError("DATA_DIR_UNUSABLE", `Cannot use the data dir ${dataDir}: ${why}`, { cause, data: { dataDir } });
}

export function inUse(dataDir: string, holder: ProcessName | undefined): QuorateError {
  const by = holder === undefined ? "another process" : `${holder.process} (pid ${holder.pid})`;
  return new QuorateError("DATA_DIR_IN_USE", `Cannot start a server on ${dataDir}: ${by} runs one there`, {
    hint: "Stop that one first, or use another prefix",
    data: { dataDir, ...holder },
  });
}

/** `writer` took the lock and lives; `others` may be an etcd that it left, or wait for the lock as we do. */
async function holdersOf(file: FileHandle, dataDir: string): Promise<{ writer: ProcessName | undefined; others: ProcessName[] }> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(80), 0, 80, 0);
  const [pid = "", token] = buffer.toString("utf8", 0, bytesRead).trim().split(" ");
  const wrote = ({ pid: its }: ProcessName): boolean => its === Number(pid) && (its !== process.pid || token === thisProcess);
  const having = await processesWith(await realpath(lockFile(dataDir)));
  return { writer: having.find(wrote), others: having.filter((one) => one.pid !== process.pid) };
}

function lockFile(dataDir: string): string {
  return `${dataDir}.lock`;
}
