import type { IEvent, IKeyValue, IRangeResponse } from "etcd3";
import { bytes, revisionOf, toHex, toNumber } from "../../etcd/codec.ts";
import type { CallOptions, EtcdClient } from "../../etcd/index.ts";
import type { KeyRange, Keys } from "../../keys.ts";
import type { Entry, RawChange, RawEntry } from "./entry.ts";

// The replica's values are bytes; the rest of the wire hands out text.

export function rawEntry(kv: IKeyValue): RawEntry {
  return {
    key: kv.key,
    value: kv.value,
    createRevision: toNumber(kv.create_revision),
    modRevision: toNumber(kv.mod_revision),
    version: toNumber(kv.version),
    lease: kv.lease,
  };
}

export function rawChange(event: IEvent): RawChange {
  if (event.type === "Delete") return { type: "del", key: event.kv.key, revision: toNumber(event.kv.mod_revision) };
  return { type: "put", entry: rawEntry(event.kv) };
}

export function named(entry: RawEntry): Entry {
  return { ...entry, key: entry.key.toString("utf8") };
}

/** Whether a key is one of the World's. */
export function ownsKey(keys: Keys, key: Buffer): boolean {
  const text = key.toString("latin1");
  return keys.world.some(({ start, end }) => text >= start && text < end);
}

export interface Page {
  readonly entries: readonly RawEntry[];
  readonly revision: number;
  readonly more: boolean;
}

/** Keys of a range as bytes; with `revision` those of an older state. Linearizable. */
export function readPage(
  client: EtcdClient,
  range: { readonly start: string | Buffer; readonly end?: string },
  options: CallOptions & { readonly limit?: number; readonly revision?: number; readonly serializable?: boolean },
): Promise<Page> {
  const request = {
    key: typeof range.start === "string" ? bytes(range.start) : range.start,
    ...(range.end === undefined ? {} : { range_end: bytes(range.end) }),
    limit: options.limit ?? 0,
    revision: options.revision ?? 0,
    serializable: options.serializable ?? false,
  };
  const kind = { what: `read ${request.key.toString("utf8")}`, repeatable: true, writes: false };
  return client.caller.run(kind, options, async ({ kv }) => page(await kv.range(request)));
}

function page(response: IRangeResponse): Page {
  return { entries: response.kvs.map(rawEntry), revision: revisionOf(response.header), more: response.more };
}

/** Where the store is. */
export interface Position {
  readonly endpoint: string;
  readonly clusterId: string;
  readonly revision: number;
  readonly term: number;
}

/** By a linearizable look at one key that does not exist: the cheapest there is (FACTS.md). */
export function readPosition(client: EtcdClient, range: KeyRange, options: CallOptions): Promise<Position> {
  const kind = { what: `read ${range.start}`, repeatable: true, writes: false };
  return client.caller.run(kind, options, async ({ kv }, endpoint) => {
    const { header } = await kv.range({ key: bytes(range.start), count_only: true });
    const { raft_term: term, cluster_id: clusterId } = header;
    return { endpoint, clusterId: toHex(clusterId), revision: revisionOf(header), term: toNumber(term) };
  });
}
