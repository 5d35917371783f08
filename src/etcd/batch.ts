import type { Logger } from "pino";
import { passOn } from "../clock.ts";
import { QuorateError, isRetryable } from "../errors.ts";
import { Markers } from "./batch-marker.ts";
import { BatchQueue, admitted, isPlain, isQuiet, unitOf } from "./batch-queue.ts";
import { BatchSender } from "./batch-sender.ts";
import { requestOf, sessionOf, tellAnswer, unknown, whatOf } from "./batch-txn.ts";
import type { Look, Flight, Unit, Waiter, When, WriteOp, Written } from "./batch-queue.ts";
import type { EtcdClient } from "./client.ts";
import { mayHaveHappened, reasonOf } from "./failure.ts";
import type { Compare } from "./types.ts";

export type { Look, When, WriteOp, Written } from "./batch-queue.ts";

export interface BatchOptions {
  readonly log?: Logger;
  /** For one transaction, and again for finding out what became of it when its answer is lost. Default 2,000. */
  readonly timeoutMs?: number;
  /** What may wait to be sent. Default 10,000 writes, 64 MiB. */
  readonly mostWaiting?: { readonly writes: number; readonly bytes: number };
  /** Of one transaction. Lowered by itself where a server takes fewer (etcd's default is 128, Quorate's servers 512). Default 512. */
  readonly mostOps?: number;
}

export interface WriteOptions {
  /** Ends the waiting; see {@link Batch}. */
  readonly signal?: AbortSignal;
  /** Checked right before it is sent: the write rejects with what `check` throws, and nothing was written. */
  readonly session?: { check(): void };
}

/** Of a write of one key. */
export interface SingleOptions extends WriteOptions {
  readonly when?: When;
  /** Has to hold too; many writes with the same one go together. */
  readonly fence?: Compare;
  /** See {@link WriteOp}. */
  readonly unlessSame?: boolean;
}

export interface AtomicWrite {
  readonly compare?: readonly Compare[];
  readonly then: readonly WriteOp[];
  /** Has to hold too; many writes with the same one go together. */
  readonly fence?: Compare;
  /** Read at the same moment where a condition does not hold. */
  readonly look?: readonly Look[];
}

const lanes = 2;
/** etcd takes 1.5 MiB. */
const mostBytes = 1024 * 1024;
const leastOps = 4;
const noKeys: ReadonlySet<string> = new Set();

/**
 * Writes of many callers, sent together: concurrent ones become one transaction, two of which are under way at a time. Each has its
 * own condition and its own result. Writes of one key are applied in the order of the calls; of several that wait, without
 * condition, only the last is written, and all are told so.
 *
 * Every write is applied once at most, also when an answer is lost: then the batch finds out from etcd what became of it. Where
 * that cannot be done in time it rejects with OUTCOME_UNKNOWN, and never with anything else once the write may have happened.
 *
 * A write whose signal fires before it is sent is withdrawn, and rejects with the signal's reason. One that was sent rejects at once with
 * OUTCOME_UNKNOWN.
 *
 * All writes throw QuorateError BUSY (too many wait: await `room()`), ETCD_REFUSED, OUTCOME_UNKNOWN, CLOSED, and, with nothing written,
 * UNREACHABLE, DEADLINE, NO_QUORUM, WRONG_CLUSTER.
 */
export class Batch implements AsyncDisposable {
  readonly #client: EtcdClient;
  readonly #log: Logger | undefined;
  readonly #timeoutMs: number;
  readonly #most: { readonly writes: number; readonly bytes: number };
  readonly #queue = new BatchQueue();
  readonly #markers: Markers;
  readonly #sender: BatchSender;
  /** Keys that each lane is writing: what is next for them has to wait. */
  readonly #busy: ReadonlySet<string>[] = Array.from({ length: lanes }, () => noKeys);
  readonly #flying = new Map<number, Promise<void>>();
  readonly #wanted = new Set<() => void>();
  #mostOps: number;
  #scheduled = false;
  /** The last transaction came to nothing, and may not the next time. */
  #failing = false;
  #closed: Promise<void> | undefined;

  constructor(client: EtcdClient, options: BatchOptions = {}) {
    this.#client = client;
    this.#log = options.log;
    this.#timeoutMs = options.timeoutMs ?? 2_000;
    this.#most = options.mostWaiting ?? { writes: 10_000, bytes: 64 * 1024 * 1024 };
    this.#mostOps = options.mostOps ?? 512;
    this.#markers = new Markers(client);
    this.#sender = new BatchSender(client, this.#markers, this.#timeoutMs, options.log);
  }

  put(key: string, value: string, options: SingleOptions & { readonly lease?: string } = {}): Promise<Written> {
    const { lease } = options;
    return this.#single(lease === undefined ? { put: key, value } : { put: key, value, lease }, key, options);
  }

  del(key: string, options: SingleOptions = {}): Promise<Written> {
    return this.#single({ del: key }, key, options);
  }

  /** All of it or nothing, at one revision. It is never split: etcd refuses what is more than it takes. No key may be written twice. */
  atomic(write: AtomicWrite, options: WriteOptions = {}): Promise<Written> {
    const { compare = [], then: ops, fence, look: looks } = write;
    const sinceMs = this.#client.clock.nowMs();
    return this.#add(unitOf({ compare, ops, single: false, sinceMs, fence, looks }), undefined, options);
  }

  /** Resolves when there is room for another write. Throws the signal's reason. */
  async room(signal?: AbortSignal): Promise<void> {
    while (this.#isFull) {
      signal?.throwIfAborted();
      let wake!: () => void;
      const woken = new Promise<void>((resolve) => (wake = resolve));
      this.#wanted.add(wake);
      const release = passOn([signal], { abort: wake });
      await woken;
      this.#wanted.delete(wake);
      release();
    }
    signal?.throwIfAborted();
  }

  /** Takes no more writes, and waits for those there are. Idempotent. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    while (this.#scheduled || this.#flying.size > 0) await Promise.all([...this.#flying.values(), Promise.resolve()]);
    const ID = await this.#markers.lease();
    if (ID === undefined || this.#client.caller.closing.aborted) return;
    const kind = { what: "end the batch", repeatable: true, writes: true };
    await this.#client.caller.run(kind, { timeoutMs: 1_000 }, ({ lease }) => lease.leaseRevoke({ ID })).catch(() => undefined);
  }

  get #isFull(): boolean {
    return this.#queue.writes >= this.#most.writes || this.#queue.bytes >= this.#most.bytes;
  }

  #single(write: WriteOp, key: string, options: SingleOptions): Promise<Written> {
    const { when, fence, unlessSame } = options;
    const op = unlessSame === true ? { ...write, unlessSame } : write;
    const sinceMs = this.#client.clock.nowMs();
    const compare = when === undefined ? [] : [{ key, ...when }];
    const unit = unitOf({ compare, ops: [op], single: true, sinceMs, fence });
    return this.#add(unit, isPlain(unit) ? op : undefined, options);
  }

  #add(unit: Unit, op: WriteOp | undefined, { signal, session }: WriteOptions): Promise<Written> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.#client.caller.admit(undefined);
      if (this.#closed) throw new QuorateError("CLOSED", `Cannot ${whatOf(unit)}: the batch was closed`);
      if (this.#isFull) {
        const state = `${this.#queue.writes} writes are waiting already`;
        throw new QuorateError("BUSY", `Cannot ${whatOf(unit)}: ${state}`, { retryable: true, data: { outcome: "none" } });
      }
      const waiter: Waiter = { op, session, resolve, reject };
      if (signal === undefined) this.#queue.add(unit, waiter);
      else this.#addAbortable(unit, waiter, signal);
      this.#schedule();
    });
  }

  #addAbortable(unit: Unit, plain: Waiter, signal: AbortSignal): void {
    const waiter: Waiter = {
      ...plain,
      resolve: (written) => (settle(), plain.resolve(written)),
      reject: (error) => (settle(), plain.reject(error)),
    };
    const joined = this.#queue.add(unit, waiter);
    const abort = (): void => {
      if (this.#queue.remove(joined, waiter)) plain.reject(signal.reason as Error);
      else plain.reject(unknown(whatOf(unit), "it was sent when it was given up", signal.reason));
    };
    const settle = passOn([signal], { abort });
  }

  /** Everything that is asked for in one go is to go together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      for (let lane = 0; lane < lanes && this.#queue.size > 0; lane++) {
        if (this.#flying.has(lane)) continue;
        const flight = this.#fly(lane).finally(() => {
          this.#flying.delete(lane);
          if (this.#queue.size > 0 && this.#flying.size === 0) this.#schedule();
        });
        this.#flying.set(lane, flight);
      }
    });
  }

  /** Never rejects. */
  async #fly(lane: number): Promise<void> {
    for (;;) {
      this.#refuseOld();
      // One more is the marker's.
      const { units, keys } = this.#queue.take({ ops: this.#mostOps - 1, bytes: mostBytes }, this.#busy);
      for (const wake of this.#wanted) wake();
      if (units.length === 0) return;
      this.#busy[lane] = keys;
      try {
        await this.#write(lane, units);
        this.#failing = false;
      } catch (error) {
        this.#failing = isRetryable(error);
        for (const unit of units) for (const waiter of unit.waiters) waiter.reject(error);
      } finally {
        this.#busy[lane] = noKeys;
      }
      // What waited for these keys may be all there is for the other lane.
      if (this.#queue.size > 0 && this.#flying.size < lanes) this.#schedule();
    }
  }

  #refuseOld(): void {
    // What waits behind others that are being written is not late by that: its caller knows how long to wait.
    if (this.#queue.size === 0 || !this.#failing) return;
    const nowMs = this.#client.clock.nowMs();
    for (const unit of this.#queue.takeOlder(nowMs - 2 * this.#timeoutMs)) {
      const details = { retryable: true, data: { outcome: "none" } };
      const error = new QuorateError("DEADLINE", `Cannot ${whatOf(unit)}: it was not its turn in time`, details);
      for (const waiter of unit.waiters) waiter.reject(error);
    }
  }

  async #write(lane: number, given: readonly Unit[]): Promise<void> {
    const flight: Flight = { sent: false, withdrawn: false };
    for (const unit of given) unit.flight = flight;
    const marker = this.#markers.nextNow(lane) ?? (await this.#markers.next(lane));
    const units = admitted(given);
    if (units.length === 0) return;
    // What was withdrawn up to here is not among them.
    flight.withdrawn = false;
    const request = requestOf(marker, units);
    const session = sessionOf(units, flight);
    try {
      // What the marker holds tells something only of what was sent before.
      const answer = await this.#sender.send({ ...request, failure: [] }, { timeoutMs: this.#timeoutMs, session });
      if (!answer.succeeded) {
        // Somebody has taken the marker away; nothing was written.
        this.#markers.abandon(lane);
        this.#queue.putBack(units);
        return;
      }
      if (tellAnswer(units, answer)) this.#markers.advance(lane);
    } catch (error) {
      if (!(error instanceof QuorateError) || error.code === "OUTCOME_UNKNOWN") throw error;
      // One of the sessions ended, or a write was withdrawn, while the request waited for a connection: nothing was sent.
      if (session.over) this.#queue.putBack(admitted(units));
      else if (mayHaveHappened(error)) await this.#sender.findOut(lane, units, marker, request, error, this.#mostOps);
      else await this.#refused(lane, units, error);
    }
  }

  /** Nothing was written. One of them may be to blame, and must not harm the others. */
  async #refused(lane: number, units: readonly Unit[], failure: QuorateError): Promise<void> {
    if (failure.code !== "ETCD_REFUSED") throw failure;
    const reason = reasonOf(failure);
    if (reason.includes("too many operations") && units.length > 1) {
      // The other lane may have found out first.
      if (units.length < this.#mostOps) this.#mostOps = Math.max(leastOps, this.#mostOps > 128 ? 128 : this.#mostOps >> 1);
      this.#log?.debug({ mostOps: this.#mostOps }, "the server takes fewer operations at once");
      if (units.length >= this.#mostOps) {
        this.#queue.putBack(units);
        return;
      }
    }
    if (reason.includes("lease not found")) {
      const ours = await this.#markers.lease();
      if (ours !== undefined && !(await this.#isGranted(ours))) {
        this.#markers.forgetLease();
        this.#queue.putBack(units);
        return;
      }
    }
    if (units.length === 1) {
      const [unit] = units;
      if (!reason.includes("too many operations") || !isQuiet(unit!)) throw failure;
      unit!.loud = true;
      this.#queue.putBack(units);
      return;
    }
    const half = units.length >> 1;
    for (const part of [units.slice(0, half), units.slice(half)]) {
      await this.#write(lane, part).catch((error: unknown) => {
        for (const unit of part) for (const waiter of unit.waiters) waiter.reject(error);
      });
    }
  }

  async #isGranted(ID: string): Promise<boolean> {
    const kind = { what: "look at a lease", repeatable: true, writes: false };
    const found = await this.#client.caller.run(kind, {}, ({ lease }) => lease.leaseTimeToLive({ ID }));
    return Number(found.TTL) > 0;
  }
}
