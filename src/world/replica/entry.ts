import { crc32 } from "node:zlib";

/** One key of the World as etcd holds it. The value is bytes, as they were written. */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Lease id as a decimal int64, "0" where there is none. */
  readonly lease: string;
}

/** `previous` is what the key held before; undefined where it did not exist. */
export type EntryChange =
  | { readonly type: "put"; readonly entry: Entry; readonly previous: Entry | undefined }
  | { readonly type: "del"; readonly key: string; readonly revision: number; readonly previous: Entry | undefined };

/** {@link Entry} with its key in bytes, as the wire and the file have it. */
export interface RawEntry extends Omit<Entry, "key"> {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** What one event of the watch says. */
export type RawChange =
  { readonly type: "put"; readonly entry: RawEntry } | { readonly type: "del"; readonly key: Buffer; readonly revision: number };

/** The file holds something that was never written to it. */
export class Damaged extends Error {}

const header = 36;

/** An entry as the file holds it: a checksum over key and all that follows, the revisions, the lease, the value. */
export function encodeEntry({ key, value, createRevision, modRevision, version, lease }: RawEntry): Buffer {
  const bytes = Buffer.allocUnsafe(header + value.length);
  bytes.writeDoubleBE(modRevision, 4);
  bytes.writeDoubleBE(createRevision, 12);
  bytes.writeDoubleBE(version, 20);
  if (lease === "0") bytes.fill(0, 28, header);
  else bytes.writeBigInt64BE(BigInt(lease), 28);
  value.copy(bytes, header);
  bytes.writeUInt32BE(crc32(bytes.subarray(4), crc32(key)), 0);
  return bytes;
}

/** @throws Damaged */
export function decodeEntry(key: Buffer, name: string, bytes: Buffer): Entry {
  if (bytes.length < header || crc32(bytes.subarray(4), crc32(key)) !== bytes.readUInt32BE(0)) {
    throw new Damaged(`the entry ${JSON.stringify(name)} does not fit its checksum`);
  }
  // Most keys have none, and a bigint is dear.
  const leased = bytes.readInt32BE(28) !== 0 || bytes.readInt32BE(32) !== 0;
  return {
    key: name,
    value: bytes.subarray(header),
    modRevision: bytes.readDoubleBE(4),
    createRevision: bytes.readDoubleBE(12),
    version: bytes.readDoubleBE(20),
    lease: leased ? bytes.readBigInt64BE(28).toString() : "0",
  };
}

/** Of a set of entries, whatever their order: two sums of what is mixed from each checksum. */
export class SetHash {
  #a: number;
  #b: number;

  constructor([a, b]: readonly [number, number] = [0, 0]) {
    this.#a = a;
    this.#b = b;
  }

  add(encoded: Buffer): void {
    const checksum = encoded.readUInt32BE(0);
    this.#a = (this.#a + mix(checksum)) >>> 0;
    this.#b = (this.#b + mix(checksum ^ 0x9e3779b9)) >>> 0;
  }

  remove(encoded: Buffer): void {
    const checksum = encoded.readUInt32BE(0);
    this.#a = (this.#a - mix(checksum)) >>> 0;
    this.#b = (this.#b - mix(checksum ^ 0x9e3779b9)) >>> 0;
  }

  get value(): readonly [number, number] {
    return [this.#a, this.#b];
  }
}

/** A checksum is linear: the same change of two entries would cancel out. This (murmur3's end) is not. */
function mix(checksum: number): number {
  let h = checksum;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Changes as the log holds them: a checksum, then one after the other, each with its length. */
export function encodeChanges(changes: readonly RawChange[]): Buffer {
  const parts: Buffer[] = [Buffer.alloc(4)];
  for (const change of changes) {
    const key = change.type === "put" ? change.entry.key : change.key;
    const head = Buffer.allocUnsafe(change.type === "put" ? 9 : 17);
    head[0] = change.type === "put" ? 1 : 0;
    head.writeUInt32BE(key.length, 1);
    if (change.type === "put") {
      const encoded = encodeEntry(change.entry);
      head.writeUInt32BE(encoded.length, 5);
      parts.push(head, key, encoded);
    } else {
      head.writeUInt32BE(0, 5);
      head.writeDoubleBE(change.revision, 9);
      parts.push(head, key);
    }
  }
  const bytes = Buffer.concat(parts);
  bytes.writeUInt32BE(crc32(bytes.subarray(4)), 0);
  return bytes;
}

export type LoggedChange =
  { readonly type: "put"; readonly entry: Entry } | { readonly type: "del"; readonly key: string; readonly revision: number };

/** @throws Damaged */
export function decodeChanges(bytes: Buffer): LoggedChange[] {
  if (bytes.length < 4 || crc32(bytes.subarray(4)) !== bytes.readUInt32BE(0))
    throw new Damaged("the log does not fit its checksum");
  const changes: LoggedChange[] = [];
  for (let at = 4; at < bytes.length;) {
    const put = bytes[at] === 1;
    const start = at + (put ? 9 : 17);
    const end = start + bytes.readUInt32BE(at + 1);
    const key = bytes.subarray(start, end);
    const name = key.toString("utf8");
    if (put) {
      const next = end + bytes.readUInt32BE(at + 5);
      changes.push({ type: "put", entry: decodeEntry(key, name, bytes.subarray(end, next)) });
      at = next;
    } else {
      changes.push({ type: "del", key: name, revision: bytes.readDoubleBE(at + 9) });
      at = end;
    }
  }
  return changes;
}
