import { crc32 } from "node:zlib";
import type { RootDatabase, RootDatabaseOptions } from "lmdb";
import { Damaged } from "./entry.ts";

/** Changes with everything that makes older files unreadable. */
export const formatVersion = 1;

/** Longest key LMDB takes, in bytes (FACTS.md). Longer ones are left out; World's own have 1,900 at most. */
export const longestKey = 1_978;

/** What a file is a copy of, and how far. Written in the transaction of the entries it speaks of. */
export interface Meta {
  readonly format: number;
  readonly clusterId: string;
  readonly namespace: string;
  /** A new one each time the store is another than before: a restore, a successor. Revisions of two do not compare. */
  readonly history: string;
  /** Of the machine's start in which the file was written: it is never synced to disk. */
  readonly bootId: string;
  readonly revision: number;
  /** Highest raft term seen. */
  readonly term: number;
  readonly count: number;
  readonly hash: readonly [number, number];
  /** When the cluster was last heard, in milliseconds since the machine's start. */
  readonly heardMs: number;
  /** The log has every change behind this revision. */
  readonly logFrom: number;
}

/** No key of etcd's begins with these bytes: the namespace begins with a slash. */
export const metaKey = Buffer.from([0]);
const logTag = 1;
export const logRange = { start: Buffer.from([logTag]), end: Buffer.from([logTag + 1]) };
export const entriesFrom = Buffer.from([logTag + 1]);

/** The key of a piece of log, by the last revision in it. */
export function logKey(revision: number): Buffer {
  const key = Buffer.alloc(9);
  key[0] = logTag;
  key.writeBigUInt64BE(BigInt(revision), 1);
  return key;
}

export function revisionOfLogKey(key: Buffer): number {
  return Number(key.readBigUInt64BE(1));
}

export function encodeMeta(meta: Meta): Buffer {
  const json = Buffer.from(JSON.stringify(meta));
  const bytes = Buffer.allocUnsafe(4 + json.length);
  json.copy(bytes, 4);
  bytes.writeUInt32BE(crc32(json), 0);
  return bytes;
}

/** @throws Damaged */
export function decodeMeta(bytes: Buffer | undefined): Meta {
  if (bytes === undefined) throw new Damaged("it does not say what it is a copy of");
  if (bytes.length < 4 || crc32(bytes.subarray(4)) !== bytes.readUInt32BE(0)) {
    throw new Damaged("what it says of itself does not fit its checksum");
  }
  return JSON.parse(bytes.toString("utf8", 4)) as Meta;
}

export type Env = RootDatabase<Buffer, Buffer>;

/** How a file is opened everywhere. */
export const envOptions = {
  noSubdir: true,
  encoding: "binary",
  keyEncoding: "binary",
  cache: false,
  maxReaders: 1_024,
  pageSize: 4_096,
  // Grows by itself; the feeder keeps to a limit of its own.
  mapSize: 64 * 1024 * 1024,
} as const satisfies RootDatabaseOptions;
