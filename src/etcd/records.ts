import type { IKeyValue, IRequestOp, IResponseOp, ITxnRequest } from "etcd3";
import type { EtcdClient } from "./client.ts";
import { bytes, compare, revisionOf, toNumber } from "./codec.ts";
import type { CallOptions, Compare } from "./types.ts";

// Values as bytes, and transactions in transactions, for those who keep more than text.

/** One key whose value is bytes. */
export interface KeyRecord {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision: number;
  readonly modRevision: number;
  /** Lease id as a decimal int64, "0" where there is none. */
  readonly lease: string;
}

export type RecordOp =
  | { readonly put: string; readonly value: Buffer; readonly lease?: string }
  /** Written again as it is, without a lease. The whole transaction is refused where there is none. */
  | { readonly touch: string }
  | { readonly del: string }
  /** With what the transaction has written before. */
  | { readonly get: string; readonly keysOnly?: boolean }
  /** A transaction in the transaction. All conditions hold, or do not, of what was there before the whole of it. */
  | RecordTxn;

export interface RecordTxn {
  readonly when: readonly Compare[];
  readonly then: readonly RecordOp[];
  readonly otherwise?: readonly RecordOp[];
}

/** What came of a transaction: an answer to each operation of the branch that ran, in order. */
export interface RecordAnswer {
  readonly succeeded: boolean;
  readonly answers: readonly RecordAnswer[];
  /** Of `get`. */
  readonly records: readonly KeyRecord[];
}

/**
 * All or nothing. It may be sent again after it may have been sent: the caller sees to it that this does no harm. Throws as every call of the
 * client.
 */
export function recordTxn(
  client: EtcdClient,
  txn: RecordTxn,
  options: CallOptions & { readonly what: string },
): Promise<RecordAnswer & { readonly revision: number }> {
  const request = requestOf(txn);
  const kind = { what: options.what, repeatable: true, writes: writesIn(txn) };
  return client.caller.run(kind, options, async ({ kv }) => {
    const done = await kv.txn(request);
    return { ...answerOf(done.succeeded, done.responses), revision: revisionOf(done.header) };
  });
}

export interface RecordPage {
  /** In the order of their keys. */
  readonly records: readonly KeyRecord[];
  /** Of the store as it was read. */
  readonly revision: number;
  readonly more: boolean;
}

/** A linearizable read of all keys from `start` up to but without `end`. Throws as every call of the client. */
export function readRecords(
  client: EtcdClient,
  range: { readonly start: string; readonly end: string },
  options: CallOptions & {
    readonly limit?: number;
    readonly keysOnly?: boolean;
    readonly descending?: boolean;
    readonly revision?: number;
  } = {},
): Promise<RecordPage> {
  const { limit = 0, keysOnly = false, revision = 0, descending = false } = options;
  const request = {
    key: bytes(range.start),
    range_end: bytes(range.end),
    limit,
    revision,
    keys_only: keysOnly,
    ...(descending ? { sort_order: "Descend" as const, sort_target: "Key" as const } : {}),
  };
  return client.caller.run({ what: `read ${range.start}`, repeatable: true, writes: false }, options, async ({ kv }) => {
    const { kvs, header, more } = await kv.range(request);
    return { records: kvs.map(recordOf), revision: revisionOf(header), more };
  });
}

function requestOf({ when, then, otherwise = [] }: RecordTxn): ITxnRequest {
  return { compare: when.map(compare), success: then.map(opOf), failure: otherwise.map(opOf) };
}

function opOf(op: RecordOp): IRequestOp {
  if ("when" in op) return { request_txn: requestOf(op) };
  if ("put" in op) {
    const { put, value, lease } = op;
    return { request_put: { key: bytes(put), value, ...(lease === undefined ? {} : { lease }) } };
  }
  if ("touch" in op) return { request_put: { key: bytes(op.touch), ignore_value: true } };
  if ("del" in op) return { request_delete_range: { key: bytes(op.del) } };
  return { request_range: { key: bytes(op.get), keys_only: op.keysOnly ?? false } };
}

function writesIn({ then, otherwise = [] }: RecordTxn): boolean {
  return [...then, ...otherwise].some((op) => ("when" in op ? writesIn(op) : !("get" in op)));
}

function answerOf(succeeded: boolean, responses: readonly Partial<IResponseOp>[]): RecordAnswer {
  const answers = responses.map(({ response_range: range, response_txn: nested }): RecordAnswer => {
    if (nested !== undefined) return answerOf(nested.succeeded, nested.responses);
    return { succeeded: true, answers: [], records: range?.kvs.map(recordOf) ?? [] };
  });
  return { succeeded, answers, records: [] };
}

function recordOf({ key, value, create_revision, mod_revision, lease }: IKeyValue): KeyRecord {
  return {
    key: key.toString("utf8"),
    value,
    createRevision: toNumber(create_revision),
    modRevision: toNumber(mod_revision),
    lease,
  };
}
