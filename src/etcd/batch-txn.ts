import type { IRequestOp, IResponseOp, ITxnRequest } from "etcd3";
import { QuorateError } from "../errors.ts";
import type { Marker } from "./batch-marker.ts";
import { holds, isQuiet, opsOf, sameAs } from "./batch-queue.ts";
import type { Flight, Unit, WriteOp, Written } from "./batch-queue.ts";
import { compare, keyValue, requestOp } from "./codec.ts";
import type { KeyValue } from "./types.ts";

// Units as a transaction, and its answer as what each of them is told.

export interface Answer {
  readonly succeeded: boolean;
  readonly responses: readonly Partial<IResponseOp>[];
  readonly revision: number;
}

/** Of all writes of a transaction, asked right before it leaves; `over` tells that it was asked, and is not to leave as it is. */
export function sessionOf(units: readonly Unit[], flight?: Flight): { check(): void; readonly over: boolean } {
  const sessions = new Set<{ check(): void }>();
  for (const { waiters } of units) for (const { session } of waiters) if (session !== undefined) sessions.add(session);
  let over = false;
  return {
    check: () => {
      try {
        if (flight?.withdrawn === true) throw new QuorateError("CLOSED", "Cannot write a batch: a part of it was withdrawn");
        for (const session of sessions) session.check();
      } catch (error) {
        over = true;
        throw error;
      }
      if (flight !== undefined) flight.sent = true;
    },
    get over() {
      return over;
    },
  };
}

/** Where all of it may come to nothing that is looked at first: the marker would make a revision. */
export function requestOf(marker: Marker, units: readonly Unit[]): ITxnRequest {
  const parts = units.map(partsOf);
  const writes = [requestOp(marker.put), ...parts.map(requestOfUnit)];
  return {
    compare: [compare(marker.compare)],
    success: units.every(isQuiet)
      ? [{ request_txn: { compare: parts.flatMap(nothingToDo), success: [], failure: writes } }]
      : writes,
    failure: [requestOp({ range: marker.key })],
  };
}

type Condition = ReturnType<typeof compare>;

/** What a unit is made of, as it is sent: made once, though conditions may be sent twice. */
interface UnitParts {
  readonly unit: Unit;
  readonly conditions: readonly Condition[];
  readonly writes: readonly { readonly op: IRequestOp; readonly same: readonly Condition[] | undefined }[];
}

function partsOf(unit: Unit): UnitParts {
  const writes = opsOf(unit).map((op) => ({
    op: requestOp(op),
    same: op.unlessSame === true ? sameAs(op).map(compare) : undefined,
  }));
  return { unit, conditions: unit.compare.map(compare), writes };
}

function nothingToDo({ conditions, writes }: UnitParts): Condition[] {
  return [...conditions, ...writes.flatMap(({ same }) => same ?? [])];
}

/** Tells what came of a transaction whose marker was as it should be. Returns whether it is the next one's now. */
export function tellAnswer(units: readonly Unit[], { responses, revision }: Answer): boolean {
  if (!units.every(isQuiet)) {
    tell(units, responses.slice(1), revision);
    return true;
  }
  const looked = responses[0]?.response_txn;
  const parts: readonly Response[] = looked?.responses ?? [];
  if (looked?.succeeded !== true) tell(units, parts.slice(1), revision);
  else
    for (const unit of units)
      settleUnit(
        unit,
        withUnchanged(opsOf(unit), () => true, revision),
      );
  return looked?.succeeded !== true;
}

function requestOfUnit({ unit, conditions, writes }: UnitParts): IRequestOp {
  const requests = writes.map(({ op, same }) =>
    same === undefined ? op : { request_txn: { compare: [...same], success: [], failure: [op] } },
  );
  if (isBare(unit)) return requests[0]!;
  return { request_txn: { compare: [...conditions], success: requests, failure: unit.looks.map(requestOp) } };
}

/** One operation without condition: it needs no transaction of its own. */
function isBare({ compare: conditions, ops }: Unit): boolean {
  return conditions.length === 0 && ops.length === 1;
}

type Response = Partial<IResponseOp>;

function tell(units: readonly Unit[], responses: readonly Response[], revision: number): void {
  for (const [i, unit] of units.entries()) {
    const response = responses[i];
    if (isBare(unit)) settleUnit(unit, written(unit, response === undefined ? [] : [response], revision));
    else {
      const nested = response?.response_txn;
      const parts: readonly Response[] = nested?.responses ?? [];
      if (nested?.succeeded !== false) settleUnit(unit, written(unit, parts, revision));
      else {
        const seen = parts.map(({ response_range: range }) => (range?.kvs[0] === undefined ? undefined : keyValue(range.kvs[0])));
        settleUnit(unit, refused(unit, seen, revision));
      }
    }
  }
}

const onlyOne: ReadonlySet<number> = new Set([0]);

/** `responses` are those to its operations. */
function written(unit: Unit, responses: readonly Response[], revision: number): Written {
  const isSame = (op: WriteOp, i: number): boolean => op.unlessSame === true && responses[i]?.response_txn?.succeeded === true;
  return withUnchanged(opsOf(unit), isSame, revision);
}

function withUnchanged(ops: readonly WriteOp[], isSame: (op: WriteOp, i: number) => boolean, revision: number): Written {
  if (ops.length === 1)
    return isSame(ops[0]!, 0) ? { succeeded: true, revision, unchanged: onlyOne } : { succeeded: true, revision };
  const unchanged = new Set(ops.flatMap((op, i) => (isSame(op, i) ? [i] : [])));
  return unchanged.size === 0 ? { succeeded: true, revision } : { succeeded: true, revision, unchanged };
}

function refused(unit: Unit, seen: readonly (KeyValue | undefined)[], revision: number): Written {
  if (!unit.single) return { succeeded: false, revision, ...(unit.looks.length === 0 ? {} : { seen }) };
  const [entry] = seen;
  return { succeeded: false, revision, ...(entry === undefined ? {} : { entry }) };
}

/** Keys, and ranges, that {@link tellFrom} has to know. */
export function keysToTellFrom(units: readonly Unit[]): { readonly range: string; readonly end?: string }[] {
  const found = new Map<string, { readonly range: string; readonly end?: string }>();
  for (const unit of units) {
    const same = opsOf(unit).flatMap((op) => (op.unlessSame === true ? sameAs(op) : []));
    for (const one of [...unit.compare, ...same])
      found.set(`${one.key} ${"end" in one}`, "end" in one ? { range: one.key, end: one.end } : { range: one.key });
    if (unit.compare.length > 0) for (const { range } of unit.looks) found.set(`${range} false`, { range });
  }
  return [...found.values()];
}

export function tellFrom(units: readonly Unit[], before: ReadonlyMap<string, KeyValue>, revision: number): void {
  for (const unit of units) {
    if (unit.compare.every((condition) => holds(condition, before))) {
      const isSame = (op: WriteOp): boolean => op.unlessSame === true && sameAs(op).every((one) => holds(one, before));
      settleUnit(unit, withUnchanged(opsOf(unit), isSame, revision));
    } else {
      settleUnit(
        unit,
        refused(
          unit,
          unit.looks.map(({ range }) => before.get(range)),
          revision,
        ),
      );
    }
  }
}

/** Of several that wait for one key the last was written: what is said of that holds for those that wrote the same. */
function settleUnit(unit: Unit, told: Written): void {
  const last = unit.waiters.at(-1);
  for (const waiter of unit.waiters) {
    if (waiter === last) waiter.resolve(told);
    else if (told.unchanged === undefined || isSameWrite(waiter.op, last?.op)) waiter.resolve({ ...told, superseded: true });
    else waiter.resolve({ succeeded: true, revision: told.revision, superseded: true });
  }
}

function isSameWrite(a: WriteOp | undefined, b: WriteOp | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  if ("put" in a) return "put" in b && a.value === b.value && a.lease === b.lease;
  return "del" in b;
}

export function unknown(what: string, state: string, cause: unknown): QuorateError {
  return new QuorateError("OUTCOME_UNKNOWN", `Cannot ${what} for certain: ${state}`, { cause, data: { outcome: "unknown" } });
}

export function whatOf(unit: Unit): string {
  return `write ${unit.keys[0] ?? "nothing"}`;
}
