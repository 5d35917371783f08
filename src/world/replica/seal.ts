import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import type { Meta } from "./format.ts";

/**
 * What a feeder says of its file when it ends: every byte of it. A file that still has them is what LMDB wrote and nobody has touched
 * since, so that it needs no probe; of a feeder that was killed there is no seal.
 */
export interface Seal {
  readonly size: number;
  /** Over the file's bytes and `meta`. */
  readonly checksum: number;
  readonly meta: Meta;
}

const pieceBytes = 1024 * 1024;

/** Of a file that nobody writes any more. Throws what reading throws. */
export function sealOf(path: string, meta: Meta): Seal {
  return { ...read(path, undefined, meta), meta };
}

/** Copies a file byte by byte. False, and no copy, where it is not as it was sealed. */
export function copySealed(path: string, to: string, seal: Seal): boolean {
  try {
    const { size, checksum } = read(path, to, seal.meta);
    if (size === seal.size && checksum === seal.checksum) return true;
  } catch {
    // There is none, or no room: the probe says what is the matter.
  }
  rmSync(to, { force: true });
  return false;
}

/** Beyond this a feeder is as fast as a program that looks at every byte. */
const mostLookedAt = 64 * 1024 * 1024;

/** Whether a file is as it was sealed. Keeps nobody waiting meanwhile; false also for a large file. */
export async function fitsSeal(path: string, seal: Seal): Promise<boolean> {
  if (seal.size > mostLookedAt) return false;
  try {
    await using file = await open(path);
    const piece = Buffer.allocUnsafe(pieceBytes);
    let size = 0;
    let checksum = crc32(JSON.stringify(seal.meta));
    for (;;) {
      const { bytesRead } = await file.read(piece);
      if (bytesRead === 0) return size === seal.size && checksum === seal.checksum;
      checksum = crc32(piece.subarray(0, bytesRead), checksum);
      size += bytesRead;
    }
  } catch {
    return false;
  }
}

function read(path: string, to: string | undefined, meta: Meta): Omit<Seal, "meta"> {
  const from = openSync(path, "r");
  try {
    const copy = to === undefined ? undefined : openSync(to, "wx", 0o600);
    try {
      const piece = Buffer.allocUnsafe(pieceBytes);
      let size = 0;
      let checksum = crc32(JSON.stringify(meta));
      for (let length; (length = readSync(from, piece)) > 0; size += length) {
        const bytes = piece.subarray(0, length);
        checksum = crc32(bytes, checksum);
        for (let done = 0; copy !== undefined && done < length;) done += writeSync(copy, bytes, done);
      }
      return { size, checksum };
    } finally {
      if (copy !== undefined) closeSync(copy);
    }
  } finally {
    closeSync(from);
  }
}

/** Whether what was read from disk is one. */
export function isSeal(seal: unknown): seal is Seal {
  const { size, checksum, meta } = (seal ?? {}) as Partial<Seal>;
  return typeof size === "number" && typeof checksum === "number" && typeof meta === "object";
}
