import type { ICompare, IKeyValue, IMember, IRangeResponse, IRequestOp, IResponseHeader, IResponseOp, ITxnRequest } from "etcd3";
import type { Compare, KeyValue, MemberRow, Op, RangeResult, Txn } from "./types.ts";

/** int64 and uint64 arrive as decimal text. Revisions, indexes and sizes stay below 2^53 for centuries. */
export function toNumber(int64: string | number | undefined): number {
  return Number(int64 ?? 0);
}

/** A member or cluster id as etcdctl prints it. */
export function toHex(uint64: string | number | undefined): string {
  return BigInt(uint64 ?? 0).toString(16);
}

/** @throws SyntaxError unless `hex` is one */
export function fromHex(hex: string): string {
  return BigInt(`0x${hex}`).toString();
}

export function bytes(text: string): Buffer {
  return Buffer.from(text, "utf8");
}

export function keyValue(wire: IKeyValue): KeyValue {
  return {
    key: wire.key.toString("utf8"),
    value: wire.value.toString("utf8"),
    createRevision: toNumber(wire.create_revision),
    modRevision: toNumber(wire.mod_revision),
    version: toNumber(wire.version),
    lease: wire.lease,
  };
}

export function rangeResult(wire: IRangeResponse): RangeResult {
  return { entries: wire.kvs.map(keyValue), revision: revisionOf(wire.header), count: toNumber(wire.count), more: wire.more };
}

export function revisionOf(header: IResponseHeader): number {
  return toNumber(header.revision);
}

export function memberRow(wire: IMember): MemberRow {
  return { id: toHex(wire.ID), name: wire.name, peerUrls: wire.peerURLs, clientUrls: wire.clientURLs, learner: wire.isLearner };
}

export function txnRequest(txn: Txn): ITxnRequest {
  return {
    compare: (txn.compare ?? []).map(compare),
    success: txn.then.map(requestOp),
    failure: (txn.else ?? []).map(requestOp),
  };
}

export function rangesIn(responses: readonly Partial<IResponseOp>[]): readonly (readonly KeyValue[])[] {
  return responses.flatMap(({ response_range: range }) => (range ? [range.kvs.map(keyValue)] : []));
}

/** etcd3's type of a comparison lacks the lease and the end of a range, its proto has them. */
export function compare(condition: Compare): ICompare & { readonly lease?: string; readonly range_end?: Buffer } {
  const key = bytes(condition.key);
  if ("exists" in condition) return { key, result: "Greater", target: "Create", create_revision: 0 };
  if ("createRevision" in condition) {
    const range = "end" in condition ? { range_end: bytes(condition.end) } : {};
    return { key, result: "Equal", target: "Create", create_revision: condition.createRevision, ...range };
  }
  if ("modRevision" in condition) return { key, result: "Equal", target: "Mod", mod_revision: condition.modRevision };
  if ("value" in condition) return { key, result: "Equal", target: "Value", value: bytes(condition.value) };
  return { key, result: "Equal", target: "Lease", lease: condition.lease };
}

export function requestOp(op: Op): IRequestOp {
  if ("put" in op)
    return {
      request_put: { key: bytes(op.put), value: bytes(op.value), ...(op.lease === undefined ? {} : { lease: op.lease }) },
    };
  if ("del" in op) return { request_delete_range: { key: bytes(op.del), ...endOfRange(op) } };
  return {
    request_range: { key: bytes(op.range), ...endOfRange(op), limit: op.limit ?? 0, keys_only: op.keysOnly ?? false },
  };
}

function endOfRange({ end }: { readonly end?: string }): { range_end?: Buffer } {
  return end === undefined ? {} : { range_end: bytes(end) };
}
