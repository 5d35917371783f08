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
  /** A later write of the same key was waiting already, and was written in its place. */
  readonly superseded?: true;
}

/** Puts and deletes of single keys. */
export type WriteOp = Extract<Op, { readonly put: string }> | { readonly del: string };

export interface Waiter {
  readonly op: WriteOp | undefined;
  /** Without it nothing is written any more. */
  readonly session: { check(): void } | undefined;
  readonly resolve: (written: Written) => void;
  readonly reject: (error: unknown) => void;
}

/** What is written together or not at all, and who waits for it. Several wait for one key's latest value. */
export interface Unit {
  readonly compare: readonly Compare[];
  readonly ops: readonly WriteOp[];
  /** On one key: its present entry is wanted where the condition fails. */
  readonly single: boolean;
  readonly keys: readonly string[];
  bytes: number;
  readonly sinceMs: number;
  waiters: Waiter[];
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

export function unitOf(compare: readonly Compare[], ops: readonly WriteOp[], single: boolean, sinceMs: number): Unit {
  const keys = single ? [keyOf(ops[0]!)] : [...new Set([...ops.map(keyOf), ...compare.map(({ key }) => key)])];
  let bytes = overhead;
  for (const op of ops) bytes += overhead + keyOf(op).length + ("put" in op ? Buffer.byteLength(op.value) : 0);
  for (const one of compare) bytes += overhead + one.key.length + ("value" in one ? one.value.length : 0);
  return { compare, ops, single, keys, bytes, sinceMs, waiters: [] };
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

  /** Takes back what still waits. Returns false when it does not. */
  remove(unit: Unit, waiter: Waiter): boolean {
    const at = this.#waiting.indexOf(unit);
    if (at === -1) return false;
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
    let bytes = 0;
    let left = 0;
    let at = 0;
    for (; at < waiting.length && at < lookahead; at++) {
      const unit = waiting[at]!;
      const isTaken = (key: string): boolean => keys.has(key) || passed.has(key) || busy.some((some) => some.has(key));
      if (unit.keys.some(isTaken)) {
        for (const key of unit.keys) passed.add(key);
        waiting[left++] = unit;
        continue;
      }
      const depth = Math.max(deepest, isPlain(unit) ? 0 : Math.max(unit.ops.length, unit.compare.length));
      const full = units.length + 1 + depth > limits.ops || bytes + unit.bytes > limits.bytes;
      if (full && units.length > 0) break;
      deepest = depth;
      bytes += unit.bytes;
      units.push(unit);
      for (const key of unit.keys) keys.add(key);
    }
    waiting.copyWithin(left, at);
    waiting.length -= at - left;
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

/** One key, no condition. */
export function isPlain(unit: Unit): boolean {
  return unit.single && unit.compare.length === 0;
}

export function keyOf(op: WriteOp): string {
  return "put" in op ? op.put : op.del;
}

/** What etcd would say of a condition on a key that holds `entry`. */
export function holds(condition: Compare, entry: KeyValue | undefined): boolean {
  if ("createRevision" in condition) return condition.createRevision === (entry?.createRevision ?? 0);
  if ("modRevision" in condition) return condition.modRevision === (entry?.modRevision ?? 0);
  if ("value" in condition) return condition.value === entry?.value;
  return condition.lease === (entry?.lease ?? "0");
}
