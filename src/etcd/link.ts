import type { Socket } from "node:net";
import type * as Grpc from "@grpc/grpc-js";
import type { AuthClient, ClusterClient, IResponseHeader, KVClient, LeaseClient, MaintenanceClient, Services } from "etcd3";
import type * as Rpc from "etcd3/lib/rpc.js";
import { connectorsFor } from "./connectors.ts";
import { ConnectionGone } from "./failure.ts";
import { grpc, rpc } from "./grpc.ts";
import { LocalEnd, type Dial } from "./local-end.ts";
import { methodOf } from "./messages.ts";
import { fetchMetrics } from "./metrics.ts";
import type { StopSignal } from "./stop.ts";
import type { TlsFiles } from "./tls.ts";
import { callOnce } from "./unary.ts";

const channelOptions: Grpc.ChannelOptions = {
  // etcd cuts clients that ping more often than every 5 s, or without a call (FACTS.md).
  "grpc.keepalive_time_ms": 5_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 0,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 250,
  "grpc.dns_min_time_between_resolutions_ms": 1_000,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_http_proxy": 0,
  // Nothing is ever sent twice but by our own decision.
  "grpc.enable_retries": 0,
  // It does not see the calls that are made beneath it, and would take itself for unused after half an hour.
  "grpc.client_idle_timeout_ms": 2 ** 31 - 1,
  // Two clients of one process must not share a socket: one of them may have to reset it.
  "grpc.use_local_subchannel_pool": 1,
};

const { READY, TRANSIENT_FAILURE, SHUTDOWN } = grpc.connectivityState;

/** etcd3's generated classes, each bound to one call on one link. */
export interface Rpcs {
  readonly kv: KVClient;
  readonly lease: LeaseClient;
  readonly cluster: ClusterClient;
  readonly maintenance: MaintenanceClient;
  readonly auth: AuthClient;
}

export interface CallHooks {
  /** Ends the call, whatever it is doing; it rejects with the signal's reason. */
  readonly signal: StopSignal;
  /** Have an endpoint without raft leader refuse at once. */
  readonly requireLeader: boolean;
  /** Of an etcd with authentication. */
  readonly token?: string | undefined;
  /** The request leaves now. */
  readonly onSent: () => void;
  /** Every response's header; throws to refuse the response. */
  readonly onHeader: (header: IResponseHeader) => void;
  /** The request changes something: it goes only to a connection that has shown its cluster (by `onHeader`). */
  readonly proveFirst: boolean;
}

/** A stream of one link. */
export interface LinkStream<Request> {
  write(request: Request): void;
  /** Ends it. Nothing is handed out afterwards. Idempotent. */
  close(): void;
}

export interface LinkHandlers<Response> {
  readonly onData: (response: Response) => void;
  /** Once, unless `close()` came first. */
  readonly onEnd: (error: unknown) => void;
}

interface Wire {
  readonly channel: Grpc.Channel;
  readonly client: Grpc.Client;
  readonly sockets: Set<Socket>;
  /** Those on which no response was accepted yet. */
  readonly unproved: Set<Socket>;
  /** Where the sockets lead, if not to the endpoint itself. */
  readonly end: LocalEnd | undefined;
}

/** What is used of one. */
interface Duplex {
  on(event: "data" | "error" | "end", listener: (what: unknown) => void): unknown;
  write(request: object): unknown;
  cancel(): void;
}

/** The way to one endpoint, for all calls and streams. It dials when it is used, never by itself, and never repeats anything. */
export interface Link {
  readonly url: string;
  /** Grows whenever anything arrives; a different value after a reset. */
  readonly bytesReceived: number;
  /** Runs one call, or several one after the other, on this link. Throws what grpc throws. */
  call<T>(hooks: CallHooks, run: (rpcs: Rpcs) => Promise<T>): Promise<T>;
  /** Opens a stream as soon as there is a connection. The signal ends the dialling only. */
  open<Request, Response>(
    stream: StreamMethod,
    handlers: LinkHandlers<Response>,
    signal: AbortSignal,
  ): Promise<LinkStream<Request>>;
  /** Cuts the connection: what has not arrived yet never does. The next use dials anew. */
  reset(): void;
  /** Ends all calls and streams. Idempotent. */
  close(): void;
}

export interface StreamMethod {
  readonly service: "Watch" | "Lease" | "Maintenance";
  /** `snapshot` is a stream of answers to one empty request; nothing can be written to it. */
  readonly method: "watch" | "leaseKeepAlive" | "snapshot";
  readonly requireLeader: boolean;
  /** Of an etcd with authentication. It counts as long as the stream lives. */
  readonly token?: string | undefined;
}

/** How endpoints are reached. */
export interface Wires {
  /** `mostReceived` is the largest message taken, in bytes. Nothing is contacted yet. */
  link(url: string, mostReceived: number): Link;
  /** etcd's own /metrics text. @throws QuorateError UNREACHABLE; the signal's reason */
  metrics(endpoint: string, what: string, signal: AbortSignal): Promise<string>;
  /** No link is asked for any more. */
  readonly close?: () => void;
}

/** etcd3's generated classes over whatever carries out their calls. */
export function rpcsOver(exec: (service: keyof typeof Services, method: string, request: unknown) => Promise<unknown>): Rpcs {
  const callable: Rpc.ICallable<unknown> = {
    exec: (service, method, request) => exec(service, method, request) as Promise<never>,
    withConnection: () => Promise.reject(new TypeError("Streams are opened by Link.open")),
    markFailed: () => undefined,
    callOptionsFactory: undefined,
  };
  return new LazyRpcs(callable);
}

/** A call uses one of them. */
class LazyRpcs implements Rpcs {
  readonly #callable: Rpc.ICallable<unknown>;

  constructor(callable: Rpc.ICallable<unknown>) {
    this.#callable = callable;
  }

  get kv(): KVClient {
    return new rpc.KVClient(this.#callable);
  }

  get lease(): LeaseClient {
    return new rpc.LeaseClient(this.#callable);
  }

  get cluster(): ClusterClient {
    return new rpc.ClusterClient(this.#callable);
  }

  get maintenance(): MaintenanceClient {
    return new rpc.MaintenanceClient(this.#callable);
  }

  get auth(): AuthClient {
    return new rpc.AuthClient(this.#callable);
  }
}

/** A link over grpc: one channel and so one connection. */
export class GrpcLink implements Link {
  readonly url: string;
  readonly #mostReceived: number;
  readonly #way: Dial | undefined;
  readonly #tls: TlsFiles | undefined;
  readonly #socket: string | undefined;
  #wire: Wire | undefined;
  #closed = false;

  /** `mostReceived` is the largest message taken, in bytes. `way` finds the endpoint; default: as `Reaching` says. */
  constructor(url: string, mostReceived: number, { way, tls, socket }: Reaching & { readonly way?: Dial } = {}) {
    this.url = url;
    this.#mostReceived = mostReceived;
    this.#way = way;
    this.#tls = tls;
    this.#socket = socket;
  }

  async call<T>(hooks: CallHooks, run: (rpcs: Rpcs) => Promise<T>): Promise<T> {
    const exec = async (service: keyof typeof Services, method: string, request: unknown): Promise<unknown> => {
      const wire = await this.#ready(hooks.signal);
      if (hooks.proveFirst && !isProved(wire))
        await invoke(wire, "Maintenance", "status", {}, { ...hooks, requireLeader: false });
      hooks.signal.throwIfAborted();
      hooks.onSent();
      return await invoke(wire, service, method, request, hooks);
    };
    return await run(rpcsOver(exec));
  }

  async open<Request, Response>(
    stream: StreamMethod,
    handlers: LinkHandlers<Response>,
    signal: AbortSignal,
  ): Promise<LinkStream<Request>> {
    const wire = await this.#ready(signal);
    signal.throwIfAborted();
    const { client } = wire;
    const { path, serialize, deserialize } = methodOf(stream.service, stream.method);
    const duplex: Duplex =
      stream.method === "snapshot"
        ? withoutWrites(client.makeServerStreamRequest(path, serialize, deserialize, {}, metadata(stream), {}))
        : client.makeBidiStreamRequest(path, serialize, deserialize, metadata(stream), {});
    let over = false;
    const end = (error: unknown): void => {
      if (over) return;
      over = true;
      duplex.cancel();
      handlers.onEnd(error);
    };
    duplex.on("data", (response: unknown) => {
      if (!over) handlers.onData(response as Response);
    });
    duplex.on("error", end);
    duplex.on("end", () => {
      end(new ConnectionGone("The server ended the stream"));
    });
    return {
      write: (request) => {
        if (!over) duplex.write(request as object);
      },
      close: () => {
        over = true;
        duplex.cancel();
      },
    };
  }

  get bytesReceived(): number {
    let sum = 0;
    for (const socket of this.#wire?.sockets ?? []) sum += socket.bytesRead;
    return sum;
  }

  /** By TCP reset, which drops what is still in a send buffer. */
  reset(): void {
    const wire = this.#wire;
    this.#wire = undefined;
    if (!wire) return;
    for (const socket of wire.sockets) {
      if (wire.end === undefined && this.#socket === undefined) socket.resetAndDestroy();
      else socket.destroy();
    }
    wire.end?.close();
    wire.channel.close();
  }

  close(): void {
    this.#closed = true;
    this.#drop(this.#wire);
  }

  #drop(wire: Wire | undefined): void {
    if (wire === undefined) return;
    if (this.#wire === wire) this.#wire = undefined;
    wire.channel.close();
    for (const socket of wire.sockets) socket.destroy();
    wire.end?.close();
  }

  #dial(): Wire {
    const end = this.#way && new LocalEnd(this.url, this.#way);
    const { credentials, sockets, unproved } = connectorsFor(this.url, end, this.#tls);
    const path = end?.path ?? this.#socket;
    const target = path === undefined ? authorityOf(this.url) : `unix:${path}`;
    const channel = new grpc.Channel(target, credentials, {
      ...channelOptions,
      ...(path === undefined ? {} : namesOf(this.url)),
      "grpc.max_receive_message_length": this.#mostReceived,
    });
    const client = new grpc.Client(target, credentials, { channelOverride: channel });
    return { channel, sockets, unproved, client, end };
  }

  /** A connected wire. Until it returns nothing has been sent. Rejects as soon as dialling has failed once. */
  async #ready(signal: StopSignal): Promise<Wire> {
    signal.throwIfAborted();
    if (this.#closed) throw new ConnectionGone("The link is closed");
    const wire = (this.#wire ??= this.#dial());
    for (let state = wire.channel.getConnectivityState(true); state !== READY;) {
      if (state === TRANSIENT_FAILURE) {
        const why = wire.end?.failure ?? (await whyNotConnected(wire, signal));
        // A dropped channel stops dialling: a dead endpoint that nobody asks costs nothing, and the next call dials at once.
        this.#drop(wire);
        throw why;
      }
      if (state === SHUTDOWN) throw new ConnectionGone("The connection was closed");
      state = await stateAfter(wire.channel, state, signal);
    }
    return wire;
  }
}

/** The one request has been sent when this returns. */
function withoutWrites(stream: Grpc.ClientReadableStream<object>): Duplex {
  return {
    on: (event, listener) => stream.on(event, listener),
    write: () => undefined,
    cancel: () => {
      stream.cancel();
    },
  };
}

function isProved({ sockets, unproved }: Wire): boolean {
  return sockets.size > 0 && unproved.size === 0;
}

function stateAfter(channel: Grpc.Channel, state: Grpc.connectivityState, signal: StopSignal): Promise<Grpc.connectivityState> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", abort, { once: true });
    channel.watchConnectivityState(state, Infinity, () => {
      signal.removeEventListener("abort", abort);
      resolve(channel.getConnectivityState(false));
    });
  });
}

function invoke(
  wire: Wire,
  service: keyof typeof Services,
  method: string,
  request: unknown,
  { signal, onHeader, ...hooks }: Pick<CallHooks, "signal" | "requireLeader" | "token" | "onHeader">,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    // It may have fired since the last await; a listener added now would not hear of it.
    signal.throwIfAborted();
    const abort = (): void => {
      reject(signal.reason as Error);
      cancel();
    };
    const cancel = callOnce(wire.channel, methodOf(service, method), request as object, metadata(hooks), (error, response) => {
      signal.removeEventListener("abort", abort);
      if (response === undefined) {
        reject(error);
        return;
      }
      try {
        const { header } = response as { readonly header?: IResponseHeader };
        if (header) {
          onHeader(header);
          wire.unproved.clear();
        }
        resolve(response);
      } catch (refused) {
        reject(refused);
      }
    });
    signal.addEventListener("abort", abort, { once: true });
  });
}

/** grpc tells the cause of a failed connection only to a call. This one has no effect should it get through after all. */
async function whyNotConnected(wire: Wire, signal: StopSignal): Promise<unknown> {
  try {
    await invoke(wire, "Maintenance", "status", {}, { signal, requireLeader: false, onHeader: () => undefined });
    return new ConnectionGone("No connection established");
  } catch (error) {
    return error;
  }
}

const plain = { true: new grpc.Metadata(), false: new grpc.Metadata() };
plain.true.set("hasleader", "true");

/** Grpc changes a copy only. */
function metadata({ requireLeader, token }: Pick<CallHooks, "requireLeader" | "token">): Grpc.Metadata {
  if (token === undefined) return plain[requireLeader ? "true" : "false"];
  const made = new grpc.Metadata();
  if (requireLeader) made.set("hasleader", "true");
  made.set("token", token);
  return made;
}

function authorityOf(url: string): string {
  return url.replace(/^https?:\/\//, "").replace(/\/+$/, "");
}

/** Who is spoken to, where that is not who is connected to: also what a certificate is to be of. */
function namesOf(url: string): Grpc.ChannelOptions {
  const authority = authorityOf(url);
  const host = authority.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  return {
    "grpc.default_authority": authority,
    ...(url.startsWith("https:") ? { "grpc.ssl_target_name_override": host } : {}),
  };
}

/** How endpoints are reached over the network. */
export interface Reaching {
  /** Files for `https`. Default: who Node trusts is trusted, and nothing is shown. */
  readonly tls?: TlsFiles | undefined;
  /** A unix socket that all endpoints are behind, in place of their hosts and ports. */
  readonly socket?: string | undefined;
}

/** Grpc, and http for metrics. */
export function wiresTo(reaching: Reaching): Wires {
  return {
    link: (url, mostReceived) => new GrpcLink(url, mostReceived, reaching),
    metrics: (endpoint, what, signal) => fetchMetrics(endpoint, { what, ...reaching }, signal),
  };
}

export const networkWires: Wires = wiresTo({});

interface ByWay extends Pick<Reaching, "tls"> {
  /** Called once, when it is needed no more. */
  readonly close?: () => void;
}

/** The same by another way than the network's own. */
export function wiresBy(way: Dial, { tls, close }: ByWay = {}): Wires {
  return {
    ...(close === undefined ? {} : { close }),
    link: (url, mostReceived) => new GrpcLink(url, mostReceived, { way, tls }),
    metrics: async (endpoint, what, signal) => {
      const { stream, cut } = await way(endpoint, signal);
      stream.on("error", () => undefined);
      try {
        return await fetchMetrics(endpoint, { what, tls, stream }, signal);
      } finally {
        cut();
      }
    },
  };
}
