import type { Clock } from "../../../clock.ts";
import { raced } from "../../../clock.ts";
import type { Compare, KeyRecord, RecordAnswer, RecordOp, RecordTxn } from "../../../etcd/index.ts";
import { keysUnder } from "../../../keys.ts";
import type { KeyRange } from "../../../keys.ts";
import { WorldError } from "../../error.ts";
import type { Handler } from "../../watch/news.ts";
import type { Moment, ScanOptions, Scanned, Store, StoreCall, StoreLease, StoreLock } from "./store.ts";

const empty = Buffer.alloc(0);

/** A store of this process alone, which is gone with it. */
export function memoryStore(clock: Clock): Store {
  return new MemoryStore(clock);
}

class MemoryStore implements Store {
  readonly keys = keysUnder("/memory");
  readonly clock: Clock;
  readonly #records = new Map<string, KeyRecord>();
  readonly #watches = new Map<string, Set<Handler<KeyRecord>>>();
  readonly #leases = new Map<string, AbortController>();
  readonly #locks = new Map<string, Promise<void>>();
  #revision = 1;
  #names = 0;
  #closed = false;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  async scan(range: KeyRange, options: ScanOptions = {}): Promise<Scanned> {
    await this.#admit(options);
    return scanned(this.#records, this.#revision, range, options);
  }

  async moment(call: StoreCall = {}): Promise<Moment> {
    await this.#admit(call);
    const [records, revision] = [new Map(this.#records), this.#revision];
    return {
      revision,
      scan: async (range, options = {}) => {
        await this.#admit(options);
        return scanned(records, revision, range, options);
      },
    };
  }

  async txn(txn: RecordTxn, options: StoreCall = {}): Promise<RecordAnswer & { revision: number }> {
    await this.#admit(options);
    const chosen = this.#choose(txn);
    const changed = new Map<string, KeyRecord | undefined>();
    const answer = this.#carryOut(chosen, changed);
    if (changed.size > 0) this.#apply(changed);
    return { ...answer, revision: this.#revision };
  }

  async lease(signal?: AbortSignal): Promise<StoreLease> {
    await this.#admit({ signal });
    const id = `${++this.#names}`;
    const over = new AbortController();
    this.#leases.set(id, over);
    return {
      id,
      signal: over.signal,
      check: () => {
        over.signal.throwIfAborted();
      },
      close: () => {
        this.#endLease(id);
        return Promise.resolve();
      },
    };
  }

  async lock(key: string, signal?: AbortSignal): Promise<StoreLock> {
    await this.#admit({ signal });
    const before = this.#locks.get(key) ?? Promise.resolve();
    let release!: () => void;
    const held = new Promise<void>((resolve) => (release = resolve));
    this.#locks.set(
      key,
      before.then(() => held),
    );
    try {
      await (signal === undefined ? before : raced(before, signal));
    } catch (error) {
      release();
      throw error;
    }
    // Nobody takes it away: a condition that always holds.
    return {
      fence: () => ({ key: `${key}/`, createRevision: 0 }),
      [Symbol.asyncDispose]: () => {
        release();
        return Promise.resolve();
      },
    };
  }

  watch(key: string) {
    return (handler: Handler<KeyRecord>): (() => void) => {
      const of = this.#watches.get(key) ?? new Set();
      this.#watches.set(key, of);
      of.add(handler);
      const record = this.#records.get(key);
      const items = new Map(record === undefined ? [] : [[key, record]]);
      void handler.onNews({ kind: "snapshot", items, revision: this.#revision });
      if (of.has(handler)) void handler.onNews({ kind: "state", live: true, lagMs: 0 });
      return () => {
        of.delete(handler);
      };
    };
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      for (const id of [...this.#leases.keys()]) this.#endLease(id);
      for (const of of this.#watches.values()) for (const { onFailure } of [...of]) onFailure(closed());
      this.#watches.clear();
    }
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Others have their turn at each call, as with a store that is far away. */
  async #admit({ signal, check }: StoreCall): Promise<void> {
    await Promise.resolve();
    signal?.throwIfAborted();
    if (this.#closed) throw closed();
    check?.();
  }

  /** The branches that run, by what is there before any of them does. */
  #choose({ when, then, otherwise = [] }: RecordTxn): Chosen {
    const succeeded = when.every((condition) => this.#holds(condition));
    const ops = (succeeded ? then : otherwise).map((op) => ("when" in op ? this.#choose(op) : op));
    return { succeeded, ops };
  }

  #holds(condition: Compare): boolean {
    if ("end" in condition) return within(this.#records, { start: condition.key, end: condition.end }).length === 0;
    const found = this.#records.get(condition.key);
    if ("exists" in condition) return found !== undefined;
    if ("createRevision" in condition) return (found?.createRevision ?? 0) === condition.createRevision;
    if ("modRevision" in condition) return (found?.modRevision ?? 0) === condition.modRevision;
    if ("value" in condition) return found?.value.toString("utf8") === condition.value;
    return (found?.lease ?? "0") === condition.lease;
  }

  #carryOut({ succeeded, ops }: Chosen, changed: Map<string, KeyRecord | undefined>): RecordAnswer {
    const answers = ops.map((op): RecordAnswer => {
      if ("ops" in op) return this.#carryOut(op, changed);
      if ("get" in op) return { ...done, records: this.#got(op, changed) };
      if ("del" in op) {
        if (this.#records.has(op.del)) changed.set(op.del, undefined);
        return done;
      }
      const key = "put" in op ? op.put : op.touch;
      const found = this.#records.get(key);
      if ("touch" in op && found === undefined) throw new TypeError(`There is no ${key} to touch`);
      const lease = "put" in op ? (op.lease ?? "0") : "0";
      if (lease !== "0" && !this.#leases.has(lease)) throw lost();
      const modRevision = this.#revision + 1;
      const value = "put" in op ? op.value : found!.value;
      changed.set(key, { key, value, createRevision: found?.createRevision ?? modRevision, modRevision, lease });
      return done;
    });
    return { succeeded, answers, records: [] };
  }

  /** With what the transaction has written before. */
  #got({ get, keysOnly }: Extract<RecordOp, { get: string }>, changed: ReadonlyMap<string, KeyRecord | undefined>): KeyRecord[] {
    const found = changed.has(get) ? changed.get(get) : this.#records.get(get);
    if (found === undefined) return [];
    return [keysOnly === true ? { ...found, value: empty } : found];
  }

  #apply(changed: ReadonlyMap<string, KeyRecord | undefined>): void {
    this.#revision++;
    for (const [key, after] of changed) {
      const before = this.#records.get(key);
      if (after === undefined) this.#records.delete(key);
      else this.#records.set(key, after);
      const changes = new Map([[key, { before, after }]]);
      for (const { onNews } of [...(this.#watches.get(key) ?? [])]) {
        void onNews({ kind: "changes", changes, revision: this.#revision });
      }
    }
  }

  #endLease(id: string): void {
    const over = this.#leases.get(id);
    if (over === undefined) return;
    this.#leases.delete(id);
    const leased = [...this.#records.values()].filter(({ lease }) => lease === id);
    if (leased.length > 0) this.#apply(new Map(leased.map(({ key }) => [key, undefined])));
    over.abort(lost());
  }
}

function within(records: ReadonlyMap<string, KeyRecord>, { start, end }: KeyRange): KeyRecord[] {
  const found = [...records.values()].filter(({ key }) => key >= start && key < end);
  return found.sort((a, b) => (a.key < b.key ? -1 : 1));
}

function scanned(all: ReadonlyMap<string, KeyRecord>, revision: number, range: KeyRange, options: ScanOptions): Scanned {
  const { keysOnly = false, limit = Infinity, descending = false } = options;
  const found = within(all, range);
  const ordered = descending ? found.reverse() : found;
  return { records: ordered.slice(0, limit).map((record) => (keysOnly ? { ...record, value: empty } : record)), revision };
}

/** A transaction whose conditions are decided. */
interface Chosen {
  readonly succeeded: boolean;
  readonly ops: readonly (Exclude<RecordOp, RecordTxn> | Chosen)[];
}

const done: RecordAnswer = { succeeded: true, answers: [], records: [] };

function closed(): WorldError {
  return new WorldError("CLOSED", "Cannot use the files in memory: they were closed");
}

function lost(): WorldError {
  return new WorldError("SESSION_LOST", "Cannot hold on to what is being written: its lease is over", { retryable: true });
}
