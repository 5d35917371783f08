import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { within, type Clock } from "../clock.ts";
import { Caller } from "./caller.ts";
import type { Foreign } from "./caller.ts";
import { bytes, rangeResult, rangesIn, revisionOf, toHex, toNumber, txnRequest } from "./codec.ts";
import type { Login } from "./credentials.ts";
import { Endpoints } from "./endpoints.ts";
import * as membership from "./membership.ts";
import { lateFailure } from "./failure.ts";
import { KeepAlives } from "./keepalives.ts";
import { networkWires, type Wires } from "./link.ts";
import { Successors, type Succession } from "./successor.ts";
import type { CallOptions, EndpointStatus, KeyValue, Membership, Op, RangeResult, Txn, TxnResult } from "./types.ts";
import { WatchStreams } from "./watch-streams.ts";

export interface EtcdClientOptions {
  readonly endpoints: readonly string[];
  readonly clock: Clock;
  /** Whose connections, and whose list of endpoints, are used, and stay open: it has to be open for as long. Its login is not taken over. */
  readonly over?: EtcdClient;
  readonly log?: Logger;
  /** Used first wherever it works: the server on this host. */
  readonly preferred?: string;
  /** Hex. Default: that of the first response. */
  readonly clusterId?: string;
  /** For an etcd with authentication. The token is got with the first call, and again when it has expired. */
  readonly login?: Login;
  /** Raised each time another cluster answers on one of the endpoints; nothing of it is used, and the endpoint is left alone for a while. */
  readonly onForeign?: (foreign: Foreign) => void;
  /**
   * The key of the marker. Where another cluster answers whose marker names the present one as its predecessor, the client goes over to
   * it, as by {@link EtcdClient.followSuccessor}. Default: it is never followed.
   */
  readonly markerKey?: string;
  /** The client has gone over. */
  readonly onSuccessor?: (succession: Succession) => void;
  /**
   * How long, in milliseconds, a call goes on while every endpoint refuses connections, and none has ever answered. Default: as long as
   * the call may take, as for servers that are just starting.
   */
  readonly refusedMs?: number;
  /** The largest message taken from a server, in bytes. Default 256 MiB. */
  readonly mostReceived?: number;
  /** How endpoints are reached. Default: grpc over the network. */
  readonly wires?: Wires;
  /** For the ids of leases and of batches. Default: node:crypto's. */
  readonly randomBytes?: (size: number) => Buffer;
}

/**
 * All endpoints of one cluster: picks one (the preferred, then the last that worked), fails over where that cannot do harm, drains
 * the removed, and never listens to another cluster. Every call has a deadline and rejects at once with its signal's reason.
 *
 * All calls throw QuorateError UNREACHABLE, DEADLINE (`data.outcome` says whether the request may have had an effect: "none"
 * or "unknown"), NO_QUORUM, ETCD_REFUSED (`data.reason` is etcd's own text), WRONG_CLUSTER or CLOSED.
 */
export class EtcdClient implements AsyncDisposable {
  readonly endpoints: Endpoints;
  readonly clock: Clock;
  /** For the parts of this folder that hold streams. */
  readonly caller: Caller;
  /** For `Session`. */
  readonly keepAlives: KeepAlives;
  /** For `watchRange`. */
  readonly watches: WatchStreams;
  /** For ids that nobody else may have. */
  readonly randomBytes: (size: number) => Buffer;
  readonly #wires: Wires;

  private constructor(options: EtcdClientOptions) {
    this.clock = options.clock;
    this.#wires = (options.over === undefined ? options.wires : options.over.#wires) ?? networkWires;
    this.randomBytes = options.randomBytes ?? randomBytes;
    const { over } = options;
    const { clock, endpoints, preferred, mostReceived } = options;
    this.endpoints = over?.endpoints ?? new Endpoints(clock, endpoints, preferred, mostReceived, this.#wires);
    this.caller = new Caller(
      this.endpoints,
      options.clock,
      options.log,
      options.clusterId,
      (foreign) => {
        options.onForeign?.(foreign);
        successors?.met(foreign);
      },
      options.login,
      options.refusedMs,
      over === undefined,
    );
    const { markerKey } = options;
    const successors =
      markerKey === undefined ? undefined : new Successors(this.caller, markerKey, options.log, options.onSuccessor);
    this.keepAlives = new KeepAlives(this.caller);
    this.watches = new WatchStreams(this.caller);
  }

  /** Nothing is contacted before the first call. */
  static create(options: EtcdClientOptions): EtcdClient {
    return new EtcdClient(options);
  }

  /** Hex; undefined until the first response, unless it was given. */
  get clusterId(): string | undefined {
    return this.caller.clusterId;
  }

  /**
   * Goes over to another cluster, in hex, of which the caller knows that it succeeds the present one: calls and watches take it for
   * theirs from now on, and nothing else. Watches hand out the difference.
   */
  followSuccessor(clusterId: string): void {
    this.caller.follow(clusterId);
  }

  /** A linearizable read of one key. */
  async get(key: string, options: CallOptions = {}): Promise<{ entry: KeyValue | undefined; revision: number }> {
    const found = await this.caller.run({ what: `read ${key}`, repeatable: true, writes: false }, options, async ({ kv }) =>
      rangeResult(await kv.range({ key: bytes(key) })),
    );
    return { entry: found.entries[0], revision: found.revision };
  }

  /** A linearizable read of all keys from `start` up to but without `end`, in order; `revision` asks for an older state. */
  range(
    range: { readonly start: string; readonly end: string },
    options: CallOptions & {
      readonly limit?: number;
      readonly keysOnly?: boolean;
      readonly countOnly?: boolean;
      readonly revision?: number;
    } = {},
  ): Promise<RangeResult> {
    const request = {
      key: bytes(range.start),
      range_end: bytes(range.end),
      limit: options.limit ?? 0,
      revision: options.revision ?? 0,
      keys_only: options.keysOnly ?? false,
      count_only: options.countOnly ?? false,
    };
    return this.caller.run({ what: `read ${range.start}`, repeatable: true, writes: false }, options, async ({ kv }) =>
      rangeResult(await kv.range(request)),
    );
  }

  /** Sent once. */
  put(key: string, value: string, options: CallOptions & { readonly lease?: string } = {}): Promise<{ revision: number }> {
    const request = { key: bytes(key), value: bytes(value), ...(options.lease === undefined ? {} : { lease: options.lease }) };
    return this.caller.run({ what: `write ${key}`, repeatable: false, writes: true }, options, async ({ kv }) => ({
      revision: revisionOf((await kv.put(request)).header),
    }));
  }

  /** Sent once. */
  del(key: string, options: CallOptions = {}): Promise<{ revision: number; deleted: number }> {
    return this.caller.run({ what: `delete ${key}`, repeatable: false, writes: true }, options, async ({ kv }) => {
      const done = await kv.deleteRange({ key: bytes(key) });
      return { revision: revisionOf(done.header), deleted: toNumber(done.deleted) };
    });
  }

  /**
   * All or nothing. Reads in it are linearizable. Never sent again once it may have been sent, unless `repeatable`; a txn of
   * range ops only always is.
   */
  txn(txn: Txn, options: CallOptions & { readonly repeatable?: boolean } = {}): Promise<TxnResult> {
    const readsOnly = [...txn.then, ...(txn.else ?? [])].every((op) => "range" in op);
    const kind = {
      what: `run a txn on ${firstKey(txn)}`,
      repeatable: readsOnly || options.repeatable === true,
      writes: !readsOnly,
    };
    const request = txnRequest(txn);
    return this.caller.run(kind, options, async ({ kv }, endpoint) => {
      const done = await kv.txn(request);
      return {
        succeeded: done.succeeded,
        revision: revisionOf(done.header),
        ranges: rangesIn(done.responses),
        endpoint,
        clusterId: toHex(done.header.cluster_id),
      };
    });
  }

  /**
   * The member list as it is, not as some cut-off follower remembers it: a linearizable read and then MemberList on the same
   * endpoint. `look` are range ops for that read.
   */
  readMembership(options: CallOptions & { readonly look?: readonly Op[] } = {}): Promise<Membership> {
    return membership.readMembership(this.caller, options);
  }

  /** What one server says of itself; a learner answers too. */
  status(endpoint: string, options: CallOptions = {}): Promise<EndpointStatus> {
    return membership.status(this.caller, endpoint, options);
  }

  /** Sent once; after a deadline or an abort the connection is reset, so that it does not happen later. */
  addLearner(peerUrls: readonly string[], options: CallOptions = {}): Promise<{ id: string; membership: Membership }> {
    return membership.addLearner(this.caller, peerUrls, options);
  }

  /** Like {@link addLearner}: sent once. `id` is hex. */
  promote(id: string, options: CallOptions = {}): Promise<void> {
    return membership.promote(this.caller, id, options);
  }

  /** Like {@link addLearner}: sent once. `id` is hex. */
  removeMember(id: string, options: CallOptions = {}): Promise<void> {
    return membership.removeMember(this.caller, id, options);
  }

  /** Like {@link addLearner}: sent once. `id` is that of a voter, hex: it would make a learner look like one (etcd before 3.5.31). */
  updateMember(id: string, peerUrls: readonly string[], options: CallOptions = {}): Promise<void> {
    return membership.updateMember(this.caller, id, peerUrls, options);
  }

  /** Has to be asked of the raft leader. `to` is the hex id of a voter. Sent once. */
  moveLeader(raftLeaderEndpoint: string, to: string, options: CallOptions = {}): Promise<void> {
    return membership.moveLeader(this.caller, raftLeaderEndpoint, to, options);
  }

  /** etcd's own /metrics text of one endpoint. */
  async metrics(endpoint: string, options: CallOptions = {}): Promise<string> {
    const timeoutMs = options.timeoutMs ?? 2_000;
    const signal = options.signal ?? new AbortController().signal;
    const what = `read the metrics of ${endpoint}`;
    signal.throwIfAborted();
    return await within(
      timeoutMs,
      this.clock,
      signal,
      (own) => this.#wires.metrics(endpoint, what, own),
      () => lateFailure({ what, endpoint, sent: true }, timeoutMs),
    );
  }

  /** As whom it logs in. */
  get login(): Login | undefined {
    return this.caller.login;
  }

  /** Ends every call and stream with CLOSED; nothing is left running. Idempotent. */
  close(): Promise<void> {
    return this.caller.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function firstKey(txn: Txn): string {
  const op = txn.then[0] ?? txn.else?.[0];
  if (op === undefined) return txn.compare?.[0]?.key ?? "nothing";
  return "put" in op ? op.put : "del" in op ? op.del : op.range;
}
