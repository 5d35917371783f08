import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { ReplicaFile } from "../../../src/world/replica/file.ts";
import { formatVersion } from "../../../src/world/replica/format.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";

/** The numbers that the head of a lock file is made of. */
function numbers(path: string): bigint[] {
  const lock = readFileSync(`${path}-lock`);
  return Array.from({ length: 16 }, (_, i) => lock.readBigUInt64LE(8 * i));
}

/** Where in a lock file it says which transaction is the last: found by what a transaction changes there. */
async function placeOfLast(): Promise<number> {
  const path = join(await temporaryFolder(), "a.mdb");
  const file = ReplicaFile.create(path, { format: formatVersion, clusterId: "c", namespace: "/n", history: "h", bootId: "b" });
  file.filled(1, 1, 1);
  const before = numbers(path);
  file.note({ revision: 2 });
  const place = numbers(path).findIndex((number, i) => number === before[i]! + 1n);
  await file.close();
  return place;
}

/** Has LMDB take the transaction before the last one for the last, as it may when another process opens the file: see ReplicaFile. */
export async function forgetLast(path: string): Promise<void> {
  const place = await placeOfLast();
  const number = Buffer.alloc(8);
  number.writeBigUInt64LE(numbers(path)[place]! - 1n);
  await using lock = await open(`${path}-lock`, "r+");
  await lock.write(number, 0, 8, 8 * place);
}
