import { addressOf, bytesOf, chunkAddress, damaged, emptyFolder, gone, noEntries, parseFolder } from "./node.ts";
import type { Entries } from "./node.ts";
import { mostBytesInTxn, mostInTxn } from "./store.ts";
import type { Store } from "./store.ts";
import { chunkBytes } from "./types.ts";
import type { Address, Content } from "./types.ts";

/** Requests for objects that are under way at a time, for one caller. */
const mostInFlight = 4;
const mostKept = { folders: 32 * 1024 * 1024, chunks: 8 * 1024 * 1024 };

/** Where a reader finds what is not in the store yet. */
export type Pending = (address: Address) => Buffer | undefined;

/** Objects as they are read: each is what its address says, and those of late are kept. */
export class Objects {
  readonly #store: Store;
  readonly #folders = new Kept<Entries>(mostKept.folders);
  readonly #chunks = new Kept<Buffer>(mostKept.chunks);

  constructor(store: Store) {
    this.#store = store;
  }

  /** @throws WorldError STALE, INVALID_VALUE */
  async folder(address: Address, signal?: AbortSignal, pending?: Pending): Promise<Entries> {
    const [entries] = await this.folders([address], signal, pending);
    return entries!;
  }

  /** Of each address. @throws WorldError STALE, INVALID_VALUE */
  async folders(addresses: readonly Address[], signal?: AbortSignal, pending?: Pending): Promise<Entries[]> {
    const known = new Map<Address, Entries>();
    for (const address of addresses) {
      const kept = address === emptyFolder ? noEntries : this.#folders.get(address);
      if (kept !== undefined) known.set(address, kept);
      else {
        const bytes = pending?.(address);
        if (bytes !== undefined) known.set(address, parseFolder(address, bytes));
      }
    }
    const wanted = [...new Set(addresses)].filter((address) => !known.has(address));
    await this.#fetch(wanted, signal, (address, bytes) => {
      const entries = parseFolder(address, bytes);
      this.#folders.keep(address, entries, 2 * bytes.length + 200);
      known.set(address, entries);
    });
    return addresses.map((address) => known.get(address)!);
  }

  /** A folder's object that was stored just now. */
  learn(address: Address, bytes: Buffer): void {
    this.#folders.keep(address, parseFolder(address, bytes), 2 * bytes.length + 200);
  }

  /** Bytes from `from` up to but without `to`, as far as there are any. @throws WorldError STALE, INVALID_VALUE */
  async read(content: Content, from: number, to: number, signal?: AbortSignal, pending?: Pending): Promise<Buffer> {
    const end = Math.min(to, content.size);
    if (from >= end) return Buffer.alloc(0);
    const first = Math.floor(from / chunkBytes);
    const last = Math.floor((end - 1) / chunkBytes);
    const found = new Map<Address, Buffer>();
    const addresses = Array.from({ length: last - first + 1 }, (_, i) => chunkAddress(content, first + i));
    for (const address of addresses) {
      const bytes = pending?.(address) ?? this.#chunks.get(address);
      if (bytes !== undefined) found.set(address, bytes);
    }
    await this.#fetch(
      [...new Set(addresses)].filter((address) => !found.has(address)),
      signal,
      (address, bytes) => {
        this.#chunks.keep(address, bytes, bytes.length);
        found.set(address, bytes);
      },
    );
    const parts = addresses.map((address, i) => {
      const at = (first + i) * chunkBytes;
      return found.get(address)!.subarray(Math.max(0, from - at), end - at);
    });
    return parts.length === 1 ? Buffer.from(parts[0]!) : Buffer.concat(parts);
  }

  /** Addresses of all folders and chunks below some folders, these among them. `visited` are not looked into again. */
  async walk(
    roots: readonly Address[],
    visited: Set<Address>,
    onObject: (address: Address) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    let level = roots;
    while (level.length > 0) {
      const unseen = [...new Set(level)].filter((address) => address !== emptyFolder && !visited.has(address));
      const next: Address[] = [];
      // A few at a time: a wide tree is not to be in memory as a whole.
      for (let i = 0; i < unseen.length; i += mostInTxn) {
        const some = unseen.slice(i, i + mostInTxn);
        const folders = await this.folders(some, signal);
        for (const [n, entries] of folders.entries()) {
          visited.add(some[n]!);
          onObject(some[n]!);
          for (const entry of entries.values()) {
            if (entry.kind === "folder") next.push(entry.node);
            else if (entry.kind === "file") entry.chunks.forEach((_, at) => onObject(chunkAddress(entry, at)));
          }
        }
      }
      level = next;
    }
  }

  async #fetch(
    addresses: readonly Address[],
    signal: AbortSignal | undefined,
    take: (address: Address, bytes: Buffer) => void,
  ): Promise<void> {
    const { objects } = this.#store.keys.fs;
    await inTurn(portions(addresses, bytesOf), mostInFlight, async (some) => {
      const then = some.map((address) => ({ get: objects.key(address) }));
      const { answers } = await this.#store.txn({ when: [], then }, { signal });
      for (const [i, address] of some.entries()) {
        const bytes = answers[i]?.records[0]?.value;
        if (bytes === undefined) throw gone(address);
        if (addressOf(bytes) !== address) throw damaged(address, "it is not what its address says");
        take(address, bytes);
      }
    });
  }
}

/** What goes into one transaction together, in order. */
export function portions<T>(all: readonly T[], bytesIn: (one: T) => number): T[][] {
  const found: T[][] = [];
  let bytes = 0;
  for (const one of all) {
    const own = bytesIn(one);
    const present = found.at(-1);
    if (present === undefined || present.length >= mostInTxn || bytes + own > mostBytesInTxn) {
      found.push([one]);
      bytes = own;
    } else {
      present.push(one);
      bytes += own;
    }
  }
  return found;
}

/** Runs a task for each, so many at a time. Rejects with the first failure, once none is running. */
export async function inTurn<T>(all: readonly T[], atOnce: number, task: (one: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const run = async (): Promise<void> => {
    while (next < all.length && !failed) {
      try {
        await task(all[next++]!);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: Math.min(atOnce, all.length) }, run));
  for (const one of settled) if (one.status === "rejected") throw one.reason as unknown;
}

/** The latest, as many as fit. */
class Kept<T> {
  readonly #most: number;
  readonly #items = new Map<Address, { readonly item: T; readonly bytes: number }>();
  #bytes = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get(address: Address): T | undefined {
    const found = this.#items.get(address);
    if (found === undefined) return undefined;
    this.#items.delete(address);
    this.#items.set(address, found);
    return found.item;
  }

  keep(address: Address, item: T, bytes: number): void {
    if (this.#items.has(address) || bytes > this.#most) return;
    this.#items.set(address, { item, bytes });
    this.#bytes += bytes;
    for (const [oldest, { bytes: own }] of this.#items) {
      if (this.#bytes <= this.#most) break;
      this.#items.delete(oldest);
      this.#bytes -= own;
    }
  }
}
