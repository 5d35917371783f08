import type { IResponseOp, ITxnRequest } from "etcd3";
import type { Logger } from "pino";
import { QuorateError } from "../errors.ts";
import type { Marker, Markers } from "./batch-marker.ts";
import type { Unit } from "./batch-queue.ts";
import { keysToTellFrom, sessionOf, tellAnswer, tellFrom, unknown } from "./batch-txn.ts";
import type { Answer } from "./batch-txn.ts";
import type { EtcdClient } from "./client.ts";
import { bytes, keyValue, requestOp, revisionOf } from "./codec.ts";
import type { CallOptions, KeyValue } from "./types.ts";

/** Between two tries to find out what became of a transaction. */
const pauseMs = { first: 20, most: 250 };

/** Sends the transactions of a batch, and finds out what became of one whose answer is lost. */
export class BatchSender {
  readonly #client: EtcdClient;
  readonly #markers: Markers;
  readonly #timeoutMs: number;
  readonly #log: Logger | undefined;

  constructor(client: EtcdClient, markers: Markers, timeoutMs: number, log: Logger | undefined) {
    this.#client = client;
    this.#markers = markers;
    this.#timeoutMs = timeoutMs;
    this.#log = log;
  }

  /** Once. @throws as every call */
  send(request: ITxnRequest, options: CallOptions): Promise<Answer> {
    const kind = { what: "write a batch", repeatable: false, writes: true };
    return this.#client.caller.run(kind, options, async ({ kv }) => {
      const done = await kv.txn(request);
      return { succeeded: done.succeeded, responses: done.responses, revision: revisionOf(done.header) };
    });
  }

  /**
   * Sent, and no answer. The marker lets it be sent again, and tells whether it had arrived; all who wait are told then.
   *
   * @throws QuorateError OUTCOME_UNKNOWN where it cannot be found out in time
   */
  async findOut(
    lane: number,
    units: readonly Unit[],
    marker: Marker,
    request: ITxnRequest,
    failure: QuorateError,
    mostOps: number,
  ): Promise<void> {
    const { clock, caller } = this.#client;
    const untilMs = clock.nowMs() + this.#timeoutMs;
    const session = sessionOf(units);
    this.#log?.debug({ err: failure, writes: units.length }, "finding out what became of a transaction");
    for (let pause = pauseMs.first; ; pause = Math.min(2 * pause, pauseMs.most)) {
      const leftMs = untilMs - clock.nowMs();
      if (leftMs <= 0) throw this.#lost(lane, failure);
      const options = { timeoutMs: Math.max(1, leftMs), session };
      const wasOver = session.over;
      try {
        // What relies on a session that is over is not sent again; whether it had arrived can still be read.
        const answer = await (wasOver ? this.#read(marker, options) : this.send(request, options));
        if (answer.succeeded) {
          if (tellAnswer(units, answer)) this.#markers.advance(lane);
          return;
        }
        const found = answer.responses[0]?.response_range?.kvs[0];
        const entry = found === undefined ? undefined : keyValue(found);
        if (entry?.value !== `${marker.count}`) throw this.#lost(lane, failure);
        const before = await this.#before(units, entry.modRevision, untilMs, mostOps);
        this.#markers.advance(lane);
        tellFrom(units, before, entry.modRevision);
        return;
      } catch (error) {
        if (!(error instanceof QuorateError) || error.code === "OUTCOME_UNKNOWN") throw error;
        if (session.over !== wasOver) continue;
        if (!error.retryable || caller.closing.aborted) throw this.#lost(lane, error);
        await clock.sleep(pause, caller.closing).catch(() => undefined);
      }
    }
  }

  /** What the conditions of a transaction were looked at with: the store just before it. */
  async #before(
    units: readonly Unit[],
    revision: number,
    untilMs: number,
    mostOps: number,
  ): Promise<ReadonlyMap<string, KeyValue>> {
    const keys = keysToTellFrom(units);
    const found = new Map<string, KeyValue>();
    const step = Math.min(mostOps, 128);
    for (let i = 0; i < keys.length; i += step) {
      const success = keys.slice(i, i + step).map(({ range, end }) => {
        const rest = end === undefined ? {} : { range_end: bytes(end), limit: 1, keys_only: true };
        return { request_range: { key: bytes(range), revision: revision - 1, ...rest } };
      });
      const kind = { what: "find out what was written", repeatable: true, writes: false };
      const options = { timeoutMs: Math.max(1, untilMs - this.#client.clock.nowMs()) };
      const done = await this.#client.caller.run(kind, options, ({ kv }) => kv.txn({ compare: [], success, failure: [] }));
      for (const { response_range: range } of done.responses as readonly Partial<IResponseOp>[]) {
        for (const kv of range?.kvs ?? []) found.set(kv.key.toString("utf8"), keyValue(kv));
      }
    }
    return found;
  }

  /** Of a transaction that is not to be sent again: as if it had been, and found the marker as it is. */
  #read(marker: Marker, { timeoutMs }: CallOptions & { readonly timeoutMs: number }): Promise<Answer> {
    const kind = { what: "find out what was written", repeatable: true, writes: false };
    const success = [requestOp({ range: marker.key })];
    return this.#client.caller.run(kind, { timeoutMs }, async ({ kv }) => {
      const done = await kv.txn({ compare: [], success, failure: [] });
      return { succeeded: false, responses: done.responses, revision: revisionOf(done.header) };
    });
  }

  #lost(lane: number, cause: unknown): QuorateError {
    this.#markers.abandon(lane);
    return unknown("write a batch", "the answer was lost, and nothing tells what became of it", cause);
  }
}
