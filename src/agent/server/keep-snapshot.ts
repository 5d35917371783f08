import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { mkdir, readdir, rename, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { receiveSnapshot, type EtcdClient } from "../../etcd/index.ts";

export interface KeepSnapshot {
  /** Made (0700) where it is missing. */
  readonly folder: string;
  /** How many snapshots stay, this one included. */
  readonly keep: number;
  readonly clock: Clock;
}

/**
 * Saves a snapshot of one server to `<folder>/<UTC time>.db`, whole and on disk before it has that name. `etcdctl snapshot restore`
 * reads it. The oldest beyond `keep` are deleted. Returns its path.
 *
 * @throws QuorateError FAILED where the disk has no room for it or cannot be written; what `receiveSnapshot` throws
 */
export async function keepSnapshot(
  client: EtcdClient,
  endpoint: string,
  { folder, keep, clock }: KeepSnapshot,
  signal: AbortSignal,
): Promise<string> {
  const label = clock.wallTime().toISOString().replaceAll(/[-:]/g, "");
  const file = join(folder, `${label}.db`);
  const unfinished = `${file}.part`;
  const { dbSize } = await client.status(endpoint, { signal });
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(folder)) if (name.endsWith(".db.part")) await rm(join(folder, name), { force: true });
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < 2 * dbSize) {
      throw new QuorateError(
        "FAILED",
        `Cannot keep a snapshot in ${folder}: the disk has ${bavail * bsize} bytes free, and twice ${dbSize} are wanted`,
      );
    }
    const descriptor = openSync(unfinished, "wx", 0o600);
    try {
      // Written at once, so that no more than a piece of it is ever in memory.
      await receiveSnapshot(client, endpoint, (piece) => writeAll(descriptor, piece), signal);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    await rename(unfinished, file);
    const kept = (await readdir(folder)).filter((name) => /^\d{8}T\d{6}\.\d{3}Z\.db$/.test(name)).sort();
    for (const name of kept.slice(0, Math.max(0, kept.length - keep))) await rm(join(folder, name), { force: true });
    return file;
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    signal.throwIfAborted();
    if (error instanceof QuorateError) throw error;
    throw new QuorateError("FAILED", `Cannot keep a snapshot in ${folder}`, { cause: error });
  }
}

function writeAll(descriptor: number, piece: Buffer): void {
  for (let written = 0; written < piece.length;) written += writeSync(descriptor, piece, written);
}
