import type { RecordAnswer, RecordOp } from "../../../etcd/index.ts";
import { WorldError } from "../../error.ts";
import { bytesOf, emptyFolder, gone } from "./node.ts";
import { inTurn, portions } from "./objects.ts";
import type { Store, StoreLease } from "./store.ts";
import { mostBytesInTxn, mostInTxn } from "./store.ts";
import type { Address } from "./types.ts";

/** What one commit writes beside its root. More is stored ahead. */
export const mostAtOnce = { objects: 60, bytes: 768 * 1024 };
/** Transactions with objects that are under way at a time. */
const mostInFlight = 4;
/** etcd writes an object again when it is taken off its lease: not too many at a time. */
const mostDetachedBytes = 8 * 1024 * 1024;

/** How the objects of a draft got there. */
type Kept =
  /** By this draft, under its lease. */
  | "leased"
  /** By others, before; touched by this draft, so that no collection that has not seen its commit deletes it. */
  | "touched";

/**
 * Objects of one draft on their way to the store. A few wait in memory; beyond that they are stored ahead, under a lease of this draft, in
 * the shelter of its pin: while that is there no object is deleted that was written or touched since.
 */
export class Upload {
  readonly #store: Store;
  /** Throws where the pin may be lost. */
  readonly #check: () => void;
  /** Objects that the pin keeps in any case. */
  readonly #sheltered: () => Promise<ReadonlySet<Address>>;
  readonly #waiting = new Map<Address, Buffer>();
  readonly #flying = new Map<Address, Buffer>();
  readonly #kept = new Map<Address, Kept>();
  readonly #flights = new Set<Promise<void>>();
  #waitingBytes = 0;
  #known: ReadonlySet<Address> = new Set();
  #opening: Promise<StoreLease> | undefined;
  #lease: StoreLease | undefined;
  #failure: { readonly error: unknown } | undefined;
  #closed = false;

  constructor(store: Store, check: () => void, sheltered: () => Promise<ReadonlySet<Address>>) {
    this.#store = store;
    this.#check = check;
    this.#sheltered = sheltered;
  }

  /** What is not in the store yet. */
  find(address: Address): Buffer | undefined {
    return this.#waiting.get(address) ?? this.#flying.get(address);
  }

  /** Whether it is there for the commit, or waits to be. */
  holds(address: Address): boolean {
    return this.#waiting.has(address) || this.#flying.has(address) || this.#kept.has(address);
  }

  /** The bytes are not to be changed any more. Waits while too much is under way. */
  async add(address: Address, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    this.#throwIfFailed();
    if (this.holds(address) || this.#known.has(address) || address === emptyFolder) return;
    this.#waiting.set(address, bytes);
    this.#waitingBytes += bytes.length;
    if (this.#lease === undefined && this.#waitingBytes <= mostAtOnce.bytes && this.#waiting.size <= mostAtOnce.objects) return;
    await this.open(signal);
    while (this.#waitingBytes >= mostBytesInTxn - 256 * 1024 || this.#waiting.size >= mostInTxn) await this.#launch(signal);
  }

  /** Those that wait, of these. */
  waitingOf(needed: ReadonlySet<Address>): [Address, Buffer][] {
    return [...this.#waiting].filter(([address]) => needed.has(address));
  }

  get isAhead(): boolean {
    return this.#lease !== undefined;
  }

  /** Begins to store ahead. */
  async open(signal?: AbortSignal): Promise<void> {
    if (this.#lease !== undefined) return;
    this.#opening ??= this.#open(signal).finally(() => (this.#opening = undefined));
    await this.#opening;
  }

  async #open(signal?: AbortSignal): Promise<StoreLease> {
    this.#known = await this.#sheltered();
    for (const [address, bytes] of this.#waiting) if (this.#known.has(address)) this.#forget(address, bytes);
    const lease = await this.#store.lease(signal);
    this.#lease = lease;
    if (this.#closed) await lease.close();
    return lease;
  }

  #forget(address: Address, bytes: Buffer): void {
    if (this.#waiting.delete(address)) this.#waitingBytes -= bytes.length;
  }

  /** All of these that wait are stored; those that are not needed are forgotten. Has to be open. */
  async finish(needed: ReadonlySet<Address>, signal?: AbortSignal): Promise<void> {
    for (const [address, bytes] of [...this.#waiting]) if (!needed.has(address)) this.#forget(address, bytes);
    while (this.#waiting.size > 0) await this.#launch(signal);
    await Promise.allSettled([...this.#flights]);
    this.#throwIfFailed();
  }

  /** Objects that others have stored and nothing else keeps for certain. @throws WorldError STALE where one is not there any more */
  async touch(addresses: readonly Address[], signal?: AbortSignal): Promise<void> {
    await inTurn(inParts(addresses), 2, async (some) => {
      const { answers } = await this.#send(
        some.map((address) => this.#touchIfThere(address)),
        signal,
      );
      for (const [i, address] of some.entries()) {
        if (answers[i]?.succeeded !== true) throw gone(address);
        this.#kept.set(address, "touched");
      }
    });
  }

  /** What this draft has stored and is needed outlives its lease. @throws WorldError SESSION_LOST where it has not */
  async detach(needed: ReadonlySet<Address>, signal?: AbortSignal): Promise<void> {
    const leased = [...this.#kept].flatMap(([address, how]) => (how === "leased" && needed.has(address) ? [address] : []));
    try {
      await this.touch(leased, signal);
    } catch (error) {
      if (!(error instanceof WorldError) || error.code !== "STALE") throw error;
      throw new WorldError("SESSION_LOST", "Cannot commit: what was stored for it is gone, as its lease has expired", {
        retryable: true,
        cause: error,
      });
    }
  }

  /** Takes the next portion; waits for one before where that many are under way. */
  async #launch(signal?: AbortSignal): Promise<void> {
    while (this.#flights.size >= mostInFlight) await Promise.race(this.#flights);
    this.#throwIfFailed();
    const [portion] = portions([...this.#waiting], ([, bytes]) => bytes.length);
    if (portion === undefined) return;
    for (const [address, bytes] of portion) {
      this.#forget(address, bytes);
      this.#flying.set(address, bytes);
    }
    const flight = this.#fly(portion, signal)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#flights.delete(flight);
        for (const [address] of portion) this.#flying.delete(address);
      });
    this.#flights.add(flight);
  }

  /** What is there already is not sent. */
  async #fly(portion: readonly (readonly [Address, Buffer])[], signal?: AbortSignal): Promise<void> {
    const { objects } = this.#store.keys.fs;
    const looks = portion.map(([address]) => ({ get: objects.key(address), keysOnly: true }));
    const looked = await this.#store.txn({ when: [], then: looks }, { signal });
    const there = portion.filter((_, i) => isThere(looked.answers[i]));
    const missing = portion.filter((_, i) => !isThere(looked.answers[i]));
    if (there.length > 0) {
      const { answers } = await this.#send(
        there.map(([address]) => this.#touchIfThere(address)),
        signal,
      );
      for (const [i, one] of there.entries()) {
        if (answers[i]?.succeeded === true) this.#kept.set(one[0], "touched");
        else missing.push(one);
      }
    }
    if (missing.length === 0) return;
    const lease = this.#lease!.id;
    const { answers } = await this.#send(
      missing.map(([address, bytes]) => putIfAbsent(objects.key(address), bytes, lease)),
      signal,
    );
    for (const [i, [address]] of missing.entries()) {
      this.#kept.set(address, answers[i]?.succeeded === true ? "leased" : "touched");
    }
  }

  #touchIfThere(address: Address): RecordOp {
    const key = this.#store.keys.fs.objects.key(address);
    return { when: [{ key, exists: true }], then: [{ touch: key }] };
  }

  #send(then: readonly RecordOp[], signal: AbortSignal | undefined): Promise<RecordAnswer> {
    const check = (): void => {
      this.#check();
      this.#lease?.check();
    };
    return this.#store.txn({ when: [], then }, { signal, check });
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** What was not detached is gone. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.clear();
    await Promise.allSettled([...this.#flights, this.#opening]);
    await this.#lease?.close();
  }
}

/** Where somebody has stored it meanwhile it is touched, and theirs: it outlives their lease as well. */
export function putIfAbsent(key: string, value: Buffer, lease?: string): RecordOp {
  const put = lease === undefined ? { put: key, value } : { put: key, value, lease };
  return { when: [{ key, createRevision: 0 }], then: [put], otherwise: [{ touch: key }] };
}

function isThere(answer: RecordAnswer | undefined): boolean {
  return answer?.records[0] !== undefined;
}

function inParts(addresses: readonly Address[]): Address[][] {
  const parts: Address[][] = [];
  let bytes = 0;
  for (const address of addresses) {
    const part = parts.at(-1);
    bytes += bytesOf(address);
    if (part === undefined || part.length >= mostInTxn || bytes > mostDetachedBytes) {
      parts.push([address]);
      bytes = bytesOf(address);
    } else part.push(address);
  }
  return parts;
}
