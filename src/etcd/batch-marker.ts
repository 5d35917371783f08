import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { EtcdClient } from "./client.ts";
import { grantLease } from "./session.ts";
import type { Compare, Op } from "./types.ts";

/** Markers vanish by themselves; long before that a new one is used. */
const ttlMs = 600_000;
/** Before everything that people write. */
export const batchMarkers = "\u0000quorate/batch/";

/**
 * A key that counts the transactions of one lane. Each transaction requires the count before it and leaves its own, so it is applied
 * once at most, however often it is sent and however late it arrives; and the key tells whether it was.
 */
export interface Marker {
  readonly key: string;
  /** Of the transaction that is being sent. */
  readonly count: number;
  readonly compare: Compare;
  readonly put: Op;
}

interface Lane {
  readonly key: string;
  readonly lease: string;
  count: number;
}

/** The markers of several lanes, under one lease that is exchanged from time to time. */
export class Markers {
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  readonly #lanes = new Map<number, Lane>();
  #lease: Promise<{ readonly id: string; readonly sinceMs: number }> | undefined;
  /** The lease that was granted last, as long as it is used. */
  #granted: { readonly id: string; readonly sinceMs: number } | undefined;

  constructor(client: EtcdClient) {
    this.#client = client;
    this.#clock = client.clock;
  }

  /** For the next transaction of a lane. @throws as every call; nothing was written then */
  async next(lane: number): Promise<Marker> {
    return this.#make(lane, await this.#leaseOf());
  }

  /** The same, where there is no need to wait. */
  nextNow(lane: number): Marker | undefined {
    const granted = this.#granted;
    if (granted === undefined || this.#clock.nowMs() - granted.sinceMs >= ttlMs / 2) return undefined;
    return this.#make(lane, granted.id);
  }

  #make(lane: number, lease: string): Marker {
    let at = this.#lanes.get(lane);
    if (at?.lease !== lease)
      this.#lanes.set(lane, (at = { key: batchMarkers + this.#client.randomBytes(16).toString("hex"), lease, count: 0 }));
    const before = at.count;
    const count = before + 1;
    const { key } = at;
    return {
      key,
      count,
      compare: before === 0 ? { key, createRevision: 0 } : { key, value: `${before}` },
      put: { put: key, value: `${count}`, lease },
    };
  }

  /** The transaction was applied. */
  advance(lane: number): void {
    const at = this.#lanes.get(lane);
    if (at) at.count++;
  }

  /** Nobody knows whether the last one is applied: what comes next must not depend on it. */
  abandon(lane: number): void {
    this.#lanes.delete(lane);
  }

  /** The lease is not known to etcd any more. */
  forgetLease(): void {
    this.#lease = this.#granted = undefined;
    this.#lanes.clear();
  }

  /** The lease that goes with all markers, where there is one. */
  async lease(): Promise<string | undefined> {
    return (await this.#lease?.catch(() => undefined))?.id;
  }

  async #leaseOf(): Promise<string> {
    const grant = async (): Promise<{ readonly id: string; readonly sinceMs: number }> => {
      this.#granted = undefined;
      const sinceMs = this.#clock.nowMs();
      const id = await grantLease(this.#client, { ttlMs, clock: this.#clock }, this.#client.caller.closing);
      return (this.#granted = { id, sinceMs });
    };
    try {
      const known = await (this.#lease ??= grant());
      if (this.#clock.nowMs() - known.sinceMs < ttlMs / 2) return known.id;
      return (await (this.#lease = grant())).id;
    } catch (error) {
      this.#lease = undefined;
      if (!(error instanceof QuorateError)) throw error;
      const data = { ...error.data, outcome: "none" };
      throw new QuorateError(error.code, error.message, { retryable: error.retryable, cause: error, data });
    }
  }
}
