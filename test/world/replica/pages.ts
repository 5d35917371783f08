// Enough of LMDB's file format (data version 2) to find the pages of one part of a file.
import { readFileSync } from "node:fs";

export const pageSize = 4_096;
export type Place = "meta" | "branch" | "leaf" | "overflow" | "free list";
export const places: readonly Place[] = ["meta", "branch", "leaf", "overflow", "free list"];

const header = 24;
const isBranch = 1;
const isBig = 1;

/** Number of a page that is in use, of that kind. Of several the one in the middle. */
export function pageOf(path: string, place: Place): number {
  const file = readFileSync(path);
  const txnOf = (meta: number): bigint => file.readBigUInt64LE(meta * pageSize + 152);
  const meta = txnOf(0) > txnOf(1) ? 0 : 1;
  if (place === "meta") return meta;
  const freeRoot = file.readBigUInt64LE(meta * pageSize + 88);
  const root = file.readBigUInt64LE(meta * pageSize + 136);
  if (place === "free list") {
    if (freeRoot === 2n ** 64n - 1n) throw new Error("The file has no free list");
    return Number(freeRoot);
  }
  const found: Record<"branch" | "leaf" | "overflow", number[]> = { branch: [], leaf: [], overflow: [] };
  const walk = (page: number): void => {
    const at = page * pageSize;
    const branch = (file.readUInt16LE(at + 18) & isBranch) !== 0;
    found[branch ? "branch" : "leaf"].push(page);
    const nodes = file.readUInt16LE(at + 20) / 2;
    for (let i = 0; i < nodes; i++) {
      const node = at + header + file.readUInt16LE(at + header + 2 * i);
      const [low, high, flags] = [file.readUInt16LE(node), file.readUInt16LE(node + 2), file.readUInt16LE(node + 4)];
      if (branch) walk(low + high * 2 ** 16 + flags * 2 ** 32);
      else if ((flags & isBig) !== 0) found.overflow.push(Number(file.readBigUInt64LE(node + 8 + file.readUInt16LE(node + 6))));
    }
  };
  walk(Number(root));
  const pages = found[place];
  const page = pages[Math.floor(pages.length / 2)];
  if (page === undefined) throw new Error(`The file has no ${place} page`);
  return page;
}
