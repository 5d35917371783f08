import type { Compare, KeyValue, Op } from "./types.ts";

/** A condition on the key that is written. `createRevision: 0` means that it does not exist. */
export type When =
  | { readonly createRevision: number }
  | { readonly modRevision: number }
  | { readonly value: string }
  | { readonly lease: string };

/** What came of one write. */
export interface Written {
  /** False where a condition did not hold: then nothing was written. */
  readonly succeeded: boolean;
  /** Store revision at which it was written, or the condition was looked at. */
  readonly revision: number;
  /** Where the condition of a single key did not hold: what is there. */
  readonly entry?: KeyValue;
  /** Which of its operations wrote nothing, as it is so already: see {@link WriteOp}. Absent where all wrote. */
  readonly unchanged?: ReadonlySet<number>;
  /** Where a condition of an atomic write did not hold: what it was to look at, in order. */
  readonly seen?: readonly (KeyValue | undefined)[];
  /** A later write of the same key was waiting already, and was written in its place. */
  readonly superseded?: true;
}

/**
 * Puts and deletes of single keys. With `unlessSame` nothing is written, and no revision made, where the key holds that value under that
 * lease already (none where none is given), or where there is nothing to delete.
 */
export type WriteOp = (Extract<Op, { readonly put: string }> | { readonly del: string }) & { readonly unlessSame?: boolean };

/** A key that is read where the conditions of an atomic write do not hold: with `keysOnly` without its value. */
export interface Look {
  readonly range: string;
  readonly keysOnly?: boolean;
}

export interface Waiter {
  readonly op: WriteOp | undefined;
  /** Without it nothing is written any more. */
  readonly session: { check(): void } | undefined;
  readonly resolve: (written: Written) => void;
  readonly reject: (error: unknown) => void;
}

/** One transaction on its way: whether it has left, and whether somebody has taken back what is in it before that. */
export interface Flight {
  sent: boolean;
  withdrawn: boolean;
}

/** What is written together or not at all, and who waits for it. Several wait for one key's latest value. */
export interface Unit {
  readonly compare: readonly Compare[];
  readonly ops: readonly WriteOp[];
  /** Read where the conditions fail. */
  readonly looks: readonly Look[];
  /** On one key: that is looked at. */
  readonly single: boolean;
  readonly keys: readonly string[];
  bytes: number;
  readonly sinceMs: number;
  waiters: Waiter[];
  /** The last one that it was taken for. */
  flight: Flight | undefined;
  /** It does not fit into a transaction that first looks whether there is anything to do. */
  loud?: true;
}

export interface Limits {
  /** Operations of one transaction, as etcd counts them: those of the deepest path. */
  readonly ops: number;
  readonly bytes: number;
}

/** Besides keys and values: lengths, tags and revisions. */
const overhead = 32;
/** How far ahead is looked for writes that may go before one that has to wait for its key. */
const lookahead = 4_000;

/** What one write is made of. `fence` is a key that nobody writes here, so that many may go together. */
export interface Parts {
  readonly compare: readonly Compare[];
  readonly ops: readonly WriteOp[];
  readonly single: boolean;
  readonly sinceMs: number;
  readonly fence?: Compare | undefined;
  readonly looks?: readonly Look[] | undefined;
}

const noLooks: readonly Look[] = [];

export function unitOf({ compare, ops, single, sinceMs, fence, looks = noLooks }: Parts): Unit {
  const keys = single ? [keyOf(ops[0]!)] : [...new Set([...ops.map(keyOf), ...compare.map(({ key }) => key)])];
  let bytes = overhead;
  // What may be the same is sent three times: to look whether there is anything to do, to compare, and to write.
  for (const op of ops) {
    const size = overhead + keyOf(op).length + ("put" in op ? Buffer.byteLength(op.value) : 0);
    bytes += op.unlessSame === true ? 3 * size : size;
  }
  const all = fence === undefined ? compare : [...compare, fence];
  for (const one of all) bytes += overhead + one.key.length + ("value" in one ? one.value.length : 0);
  return {
    compare: all,
    ops,
    looks: single ? [{ range: keys[0]! }] : looks,
    single,
    keys,
    bytes,
    sinceMs,
    waiters: [],
    flight: undefined,
  };
}

/** Refuses what relies on a session that is over; returns what may still be sent. */
export function admitted(units: readonly Unit[]): Unit[] {
  return units.filter((unit) => {
    if (unit.waiters.every(({ session }) => session === undefined)) return unit.waiters.length > 0;
    unit.waiters = unit.waiters.filter(({ session, reject }) => {
      try {
        session?.check();
        return true;
      } catch (over) {
        reject(over);
        return false;
      }
    });
    return unit.waiters.length > 0;
  });
}

/** Of the operations of a unit that can be given for its whole: what is sent is the last that still waits. */
export function opsOf(unit: Unit): readonly WriteOp[] {
  const latest = unit.waiters.at(-1)?.op;
  return latest === undefined ? unit.ops : [latest];
}

/** What is sent together, and all keys of it. */
export interface Taken {
  readonly units: Unit[];
  readonly keys: ReadonlySet<string>;
}

/**
 * Writes that wait, in order. In an array, and in a map that is new whenever nothing waits: the tables of a set or map from which as much
 * is deleted as is added hold on to what was in them, and clearing up after that costs more than the writes.
 */
export class BatchQueue {
  readonly #waiting: Unit[] = [];
  /** The last unit that waits for each key. */
  #tails = new Map<string, Unit>();
  #bytes = 0;
  #writes = 0;

  /** Units. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Of callers. */
  get writes(): number {
    return this.#writes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** A write without condition takes the place of one before it that still waits, unless something else of that key is between. */
  add(unit: Unit, waiter: Waiter): Unit {
    this.#writes++;
    const tail = waiter.op === undefined ? undefined : this.#tails.get(keyOf(waiter.op));
    if (tail !== undefined && isPlain(tail)) {
      tail.waiters.push(waiter);
      const more = Math.max(0, unit.bytes - tail.bytes);
      tail.bytes += more;
      this.#bytes += more;
      return tail;
    }
    unit.waiters.push(waiter);
    this.#waiting.push(unit);
    this.#bytes += unit.bytes;
    for (const one of unit.keys) this.#tails.set(one, unit);
    return unit;
  }

  /** Takes back what still waits, here or for a connection. Returns false when it does not. */
  remove(unit: Unit, waiter: Waiter): boolean {
    const at = this.#waiting.indexOf(unit);
    if (at === -1) return withdrawn(unit, waiter);
    unit.waiters = unit.waiters.filter((one) => one !== waiter);
    this.#writes--;
    if (unit.waiters.length === 0) {
      this.#waiting.splice(at, 1);
      this.#forget([unit]);
    }
    return true;
  }

  /** Puts back what was taken and has had no effect, before everything else. */
  putBack(units: readonly Unit[]): void {
    this.#waiting.unshift(...units);
    for (const unit of units) {
      this.#bytes += unit.bytes;
      this.#writes += unit.waiters.length;
    }
  }

  /**
   * Takes what may be sent together: no key twice, none that is in `busy`, nothing before what waits longer for the same key. Takes one at
   * least where one may be sent, also when it is beyond the limits: whether that is too much is for etcd to say.
   */
  take(limits: Limits, busy: readonly ReadonlySet<string>[]): Taken {
    const units: Unit[] = [];
    const keys = new Set<string>();
    const waiting = this.#waiting;
    /** Keys of those that have to wait. */
    const passed = new Set<string>();
    let deepest = 0;
    let compares = 0;
    let quiet = true;
    let bytes = 0;
    let left = 0;
    let at = 0;
    const isTaken = (key: string): boolean => {
      if (keys.has(key) || passed.has(key)) return true;
      for (const some of busy) if (some.has(key)) return true;
      return false;
    };
    for (; at < waiting.length && at < lookahead; at++) {
      const unit = waiting[at]!;
      if (unit.keys.some(isTaken)) {
        for (const key of unit.keys) passed.add(key);
        waiting[left++] = unit;
        continue;
      }
      const depth = Math.max(deepest, depthOf(unit));
      const quietWith: boolean = quiet && isQuiet(unit);
      const width = quietWith ? Math.max(compares + sameCompares(unit), units.length + 2) : units.length + 1;
      const full = width + depth > limits.ops || bytes + unit.bytes > limits.bytes;
      if (full && units.length > 0) break;
      deepest = depth;
      quiet = quietWith;
      compares += quiet ? sameCompares(unit) : 0;
      bytes += unit.bytes;
      units.push(unit);
      for (const key of unit.keys) keys.add(key);
    }
    // By hand: copyWithin takes many times as long (50 ms in place of 1 for what 10,000 writes need), and much may wait.
    for (; at < waiting.length; at++) waiting[left++] = waiting[at]!;
    waiting.length = left;
    this.#forget(units);
    return { units, keys };
  }

  /** Everything that waits since before `beforeMs`. */
  takeOlder(beforeMs: number): Unit[] {
    const young = this.#waiting.findIndex(({ sinceMs }) => sinceMs >= beforeMs);
    if (young === 0) return [];
    const old = this.#waiting.splice(0, young === -1 ? this.#waiting.length : young);
    this.#forget(old);
    return old;
  }

  /** They do not wait any more. */
  #forget(units: readonly Unit[]): void {
    for (const unit of units) {
      this.#bytes -= unit.bytes;
      this.#writes -= unit.waiters.length;
    }
    if (this.#waiting.length === 0) this.#tails = new Map();
    else for (const unit of units) for (const key of unit.keys) if (this.#tails.get(key) === unit) this.#tails.delete(key);
  }
}

/** The transaction that it is in does not leave then: what else is in it goes with another. */
function withdrawn(unit: Unit, waiter: Waiter): boolean {
  const { flight } = unit;
  if (flight === undefined || flight.sent) return false;
  flight.withdrawn = true;
  unit.waiters = unit.waiters.filter((one) => one !== waiter);
  return true;
}

/** One key, no condition. */
export function isPlain(unit: Unit): boolean {
  return unit.single && unit.compare.length === 0;
}

/** Operations that a unit adds to those beside it, as etcd counts them: the widest list of each level. */
function depthOf({ compare, ops, looks }: Unit): number {
  const nested = ops.some(({ unlessSame }) => unlessSame === true) ? comparedWithSame : 0;
  if (compare.length === 0 && ops.length === 1) return nested;
  return Math.max(ops.length, compare.length, looks.length) + nested;
}

/** It may come to nothing, and is to make no revision then. */
export function isQuiet({ ops, loud }: Unit): boolean {
  return loud !== true && ops.every(({ unlessSame }) => unlessSame === true);
}

function sameCompares({ compare, ops }: Unit): number {
  return ops.reduce((sum, op) => sum + ("put" in op ? comparedWithSame : 1), compare.length);
}

/** A value and a lease. */
const comparedWithSame = 2;

export function keyOf(op: WriteOp): string {
  return "put" in op ? op.put : op.del;
}

/** What etcd says of a condition, where the store holds `entries`. */
export function holds(condition: Compare, entries: ReadonlyMap<string, KeyValue>): boolean {
  if ("end" in condition) return ![...entries.keys()].some((key) => key >= condition.key && key < condition.end);
  const entry = entries.get(condition.key);
  if ("exists" in condition) return entry !== undefined;
  if ("createRevision" in condition) return condition.createRevision === (entry?.createRevision ?? 0);
  if ("modRevision" in condition) return condition.modRevision === (entry?.modRevision ?? 0);
  if ("value" in condition) return condition.value === entry?.value;
  return condition.lease === (entry?.lease ?? "0");
}

/** What has to hold for an operation with `unlessSame` to write nothing. */
export function sameAs(op: WriteOp): readonly Compare[] {
  if ("del" in op) return [{ key: op.del, createRevision: 0 }];
  return [
    { key: op.put, value: op.value },
    { key: op.put, lease: op.lease ?? "0" },
  ];
}
