import type { IRequestOp, IResponseOp, ITxnRequest } from "etcd3";
import { QuorateError } from "../errors.ts";
import type { Marker } from "./batch-marker.ts";
import { holds, isPlain, opsOf } from "./batch-queue.ts";
import type { Unit, Written } from "./batch-queue.ts";
import { compare, keyValue, requestOp } from "./codec.ts";
import type { KeyValue } from "./types.ts";

// Units as a transaction, and its answer as what each of them is told.

export interface Answer {
  readonly succeeded: boolean;
  readonly responses: readonly Partial<IResponseOp>[];
  readonly revision: number;
}

const noSession = { check: (): void => undefined, over: false };

/** Of all writes of a transaction; `over` tells that it was asked, and one was. */
export function sessionOf(units: readonly Unit[]): { check(): void; readonly over: boolean } {
  const sessions = new Set<{ check(): void }>();
  for (const { waiters } of units) for (const { session } of waiters) if (session !== undefined) sessions.add(session);
  if (sessions.size === 0) return noSession;
  let over = false;
  return {
    check: () => {
      try {
        for (const session of sessions) session.check();
      } catch (error) {
        over = true;
        throw error;
      }
    },
    get over() {
      return over;
    },
  };
}

export function requestOf(marker: Marker, units: readonly Unit[]): ITxnRequest {
  return {
    compare: [compare(marker.compare)],
    success: [requestOp(marker.put), ...units.map(requestOfUnit)],
    failure: [requestOp({ range: marker.key })],
  };
}

function requestOfUnit(unit: Unit): IRequestOp {
  if (isPlain(unit)) return requestOp(opsOf(unit)[0]!);
  return {
    request_txn: {
      compare: unit.compare.map(compare),
      success: unit.ops.map(requestOp),
      failure: unit.single ? [requestOp({ range: unit.keys[0]! })] : [],
    },
  };
}

export function tell(units: readonly Unit[], responses: readonly Partial<IResponseOp>[], revision: number): void {
  for (const [i, unit] of units.entries()) {
    const nested = responses[i]?.response_txn;
    if (nested === undefined || nested.succeeded) settleUnit(unit, { succeeded: true, revision });
    else {
      const kv = (nested.responses[0] as Partial<IResponseOp> | undefined)?.response_range?.kvs[0];
      settleUnit(unit, { succeeded: false, revision, ...(kv === undefined ? {} : { entry: keyValue(kv) }) });
    }
  }
}

export function tellFrom(units: readonly Unit[], before: ReadonlyMap<string, KeyValue>, revision: number): void {
  for (const unit of units) {
    const succeeded = unit.compare.every((condition) => holds(condition, before.get(condition.key)));
    const entry = succeeded || !unit.single ? undefined : before.get(unit.keys[0]!);
    settleUnit(unit, { succeeded, revision, ...(entry === undefined ? {} : { entry }) });
  }
}

function settleUnit(unit: Unit, written: Written): void {
  const last = unit.waiters.at(-1);
  for (const waiter of unit.waiters) waiter.resolve(waiter === last ? written : { ...written, superseded: true });
}

export function unknown(what: string, state: string, cause: unknown): QuorateError {
  return new QuorateError("OUTCOME_UNKNOWN", `Cannot ${what} for certain: ${state}`, { cause, data: { outcome: "unknown" } });
}

export function whatOf(unit: Unit): string {
  return `write ${unit.keys[0] ?? "nothing"}`;
}
