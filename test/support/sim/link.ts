import {
  rpcsOver,
  type CallHooks,
  type Link,
  type LinkHandlers,
  type LinkStream,
  type Rpcs,
  type StreamMethod,
} from "../../../src/etcd/index.ts";
import type { Random } from "../random.ts";
import type { Server } from "./cluster.ts";
import type { Host, Network } from "./network.ts";
import { handle, openStream, takeStream, type Header } from "./rpc.ts";
import type { ServerStream } from "./streams.ts";
import type { Owner, Timeline } from "./timeline.ts";

/** What grpc says. */
export class RpcError extends Error {
  readonly code: number;
  readonly details: string;
  constructor(code: number, details: string) {
    super(details);
    this.code = code;
    this.details = details;
  }
}

/** The code 14 is unavailable. */
function gone(details: string): RpcError {
  return new RpcError(14, details);
}

interface Pending {
  /** Nobody waits for it any more. */
  over: boolean;
  readonly reject: (error: unknown) => void;
}

/** One TCP connection from an agent to a server. */
export class Connection {
  readonly from: Host;
  readonly to: Host;
  readonly owner: Owner;
  readonly server: Server;
  readonly pending = new Set<Pending>();
  readonly onBreak = new Set<() => void>();
  silentSinceMs: number | undefined;
  proved = false;
  alive = true;
  /** When the last message on its way to the client arrives. */
  lastAtMs = 0;
  readonly #network: Network;

  constructor(network: Network, from: Host, owner: Owner, server: Server) {
    this.#network = network;
    this.from = from;
    this.to = server.host;
    this.owner = owner;
    this.server = server;
    network.connections.add(this);
  }

  break(details = "Connection dropped"): void {
    if (!this.alive) return;
    this.alive = false;
    this.#network.connections.delete(this);
    for (const call of this.pending) {
      call.over = true;
      call.reject(gone(details));
    }
    this.pending.clear();
    for (const end of [...this.onBreak]) end();
    this.onBreak.clear();
  }
}

const connectTimeoutMs = 20_000;
const memberCalls = new Set(["memberAdd", "memberPromote", "memberRemove"]);

export interface Wiring {
  readonly timeline: Timeline;
  readonly network: Network;
  readonly random: Random;
  readonly onMemberCall: (call: MemberCall) => void;
}

/** A member call that was sent, until it has landed or never will. */
export interface MemberCall {
  readonly method: string;
  readonly request: unknown;
  readonly from: Host;
  readonly server: Server;
  readonly sentMs: number;
  state: "sent" | "landed" | "refused" | "dropped";
}

/** The way of one agent process to one endpoint of the model. */
export class SimLink implements Link {
  readonly url: string;
  bytesReceived = 0;
  readonly #wiring: Wiring;
  readonly #from: Host;
  readonly #owner: Owner;
  readonly #to: Host | undefined;
  #connection: Connection | undefined;
  #dialling: Promise<Connection> | undefined;
  #closed = false;

  constructor(wiring: Wiring, from: Host, owner: Owner, url: string) {
    this.#wiring = wiring;
    this.#from = from;
    this.#owner = owner;
    this.url = url;
    this.#to = wiring.network.hosts.find((host) => host.clientUrl === url);
  }

  call<T>(hooks: CallHooks, run: (rpcs: Rpcs) => Promise<T>): Promise<T> {
    return run(rpcsOver((service, method, request) => this.#exec(hooks, service, method, request)));
  }

  #exec(hooks: CallHooks, service: string, method: string, request: unknown): Promise<unknown> {
    const connection = this.#connection;
    if (connection?.alive !== true || this.#closed || hooks.signal.aborted || (hooks.proveFirst && !connection.proved))
      return this.#execAfresh(hooks, service, method, request);
    try {
      hooks.onSent();
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#roundTrip(connection, service, method, request, hooks);
  }

  async #execAfresh(hooks: CallHooks, service: string, method: string, request: unknown): Promise<unknown> {
    const connection = await this.#connect(hooks.signal);
    if (hooks.proveFirst && !connection.proved) {
      await this.#roundTrip(connection, "Maintenance", "status", {}, { ...hooks, requireLeader: false });
    }
    hooks.signal.throwIfAborted();
    hooks.onSent();
    return await this.#roundTrip(connection, service, method, request, hooks);
  }

  #connect(signal: CallHooks["signal"]): Promise<Connection> {
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    if (this.#closed) return Promise.reject(gone("The link is closed"));
    if (this.#connection?.alive === true) return Promise.resolve(this.#connection);
    this.#dialling ??= this.#dial().finally(() => (this.#dialling = undefined));
    const dialling = this.#dialling;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", abort, { once: true });
      dialling.then(
        (connection) => {
          signal.removeEventListener("abort", abort);
          resolve(connection);
        },
        (error: unknown) => {
          signal.removeEventListener("abort", abort);
          reject(error);
        },
      );
    });
  }

  /** A stopped process does not answer, a dead one refuses. */
  #dial(): Promise<Connection> {
    const { network } = this.#wiring;
    const to = this.#to;
    if (!to) return Promise.reject(gone("Name resolution failed"));
    return new Promise((resolve, reject) => {
      const timeout = this.#wiring.timeline.in(connectTimeoutMs, this.#owner, () => {
        reject(gone("connect ETIMEDOUT"));
      });
      network.send(this.#from, to, undefined, () => {
        const { server } = to;
        const answer = (owner: Owner | undefined): void => {
          if (server && owner) this.#wiring.timeline.in(0, owner, () => network.send(to, this.#from, this.#owner, connected));
          else network.send(to, this.#from, this.#owner, refused);
        };
        const refused = (): void => {
          timeout.run = undefined;
          reject(gone("connect ECONNREFUSED"));
        };
        const connected = (): void => {
          if (server!.owner.dead) {
            refused();
            return;
          }
          timeout.run = undefined;
          this.bytesReceived += 50;
          this.#connection = new Connection(network, this.#from, this.#owner, server!);
          resolve(this.#connection);
        };
        answer(server?.serving === true ? server.owner : undefined);
      });
    });
  }

  #roundTrip(
    connection: Connection,
    service: string,
    method: string,
    request: unknown,
    { signal, requireLeader, onHeader }: Pick<CallHooks, "signal" | "requireLeader" | "onHeader">,
  ): Promise<unknown> {
    const { network, timeline, random } = this.#wiring;
    const { from, to, server } = connection;
    return new Promise((resolve, reject) => {
      if (signal.aborted || !connection.alive) {
        reject(signal.aborted ? (signal.reason as Error) : gone("Connection dropped"));
        return;
      }
      const pending: Pending = { over: false, reject };
      connection.pending.add(pending);
      const finish = (): void => {
        pending.over = true;
        connection.pending.delete(pending);
        signal.removeEventListener("abort", abort);
      };
      const abort = (): void => {
        finish();
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", abort, { once: true });
      const member: MemberCall | undefined = memberCalls.has(method)
        ? { method, request, from, server, sentMs: timeline.nowMs, state: "sent" }
        : undefined;
      if (member) this.#wiring.onMemberCall(member);
      const drop = (): void => {
        if (member?.state === "sent") member.state = "dropped";
      };
      const reply = (error: RpcError | undefined, response: unknown): void => {
        if (member?.state === "sent") member.state = error ? "refused" : "landed";
        if (network.loses()) {
          network.send(to, from, this.#owner, () => {
            connection.break("The connection broke before the answer came");
          });
          return;
        }
        network.send(to, from, this.#owner, () => {
          if (!connection.alive) return;
          this.bytesReceived += 100;
          if (pending.over) return;
          finish();
          if (error) {
            reject(error);
            return;
          }
          const { header } = response as { readonly header?: Header };
          try {
            if (header) {
              onHeader(header);
              connection.proved = true;
            }
            resolve(response);
          } catch (refused) {
            reject(refused);
          }
        });
      };
      const arrive = (): void => {
        if (server.owner.dead) {
          drop();
          return;
        }
        // What was given up before it came may still be carried out: it lay in some buffer behind the one that was reset.
        if (pending.over && !this.#owner.dead && random.chance(0.5)) {
          drop();
          return;
        }
        if (member && timeline.nowMs - member.sentMs > 15_000) {
          drop();
          return;
        }
        handle(server, service, method, request, requireLeader, () => pending.over && random.chance(0.5), reply, timeline.nowMs);
      };
      if (network.loses()) {
        drop();
        network.send(to, from, this.#owner, () => {
          connection.break("The connection broke before the request was sent");
        });
        return;
      }
      const stuckMs = member ? network.stuckMs() : 0;
      network.send(from, to, server.owner, () => {
        if (stuckMs === 0) arrive();
        else timeline.in(stuckMs, server.owner, arrive);
      });
    });
  }

  async open<Request, Response>(
    { service, requireLeader }: StreamMethod,
    handlers: LinkHandlers<Response>,
    signal: AbortSignal,
  ): Promise<LinkStream<Request>> {
    const { network } = this.#wiring;
    if (service === "Maintenance") throw gone("The model streams no snapshots");
    const connection = await this.#connect(signal);
    const { from, to, server } = connection;
    let over = false;
    const end = (error: unknown): void => {
      if (over) return;
      over = true;
      stop();
      handlers.onEnd(error);
    };
    const broken = (): void => {
      end(gone("Connection dropped"));
    };
    connection.onBreak.add(broken);
    const inOrder = (owner: Owner, run: () => void): void => {
      connection.lastAtMs = network.send(to, from, owner, run, connection.lastAtMs);
    };
    const serverSide: ServerStream = {
      service,
      requireLeader,
      watchers: new Map(),
      send: (response) => {
        if (network.loses()) {
          connection.break();
          return;
        }
        inOrder(this.#owner, () => {
          if (over || !connection.alive) return;
          this.bytesReceived += 100;
          handlers.onData(response as Response);
        });
      },
      end: (error) => {
        server.streams?.open.delete(serverSide);
        inOrder(this.#owner, () => {
          end(error);
        });
      },
    };
    const stop = (): void => {
      connection.onBreak.delete(broken);
      server.streams?.open.delete(serverSide);
    };
    let sentAtMs = network.send(from, to, server.owner, () => {
      if (!over) openStream(server, serverSide);
    });
    return {
      write: (request) => {
        if (over || !connection.alive) return;
        sentAtMs = network.send(
          from,
          to,
          server.owner,
          () => {
            if (!over && !server.owner.dead && connection.alive)
              takeStream(server, serverSide, request, () => this.#wiring.timeline.nowMs);
          },
          sentAtMs,
        );
      },
      close: () => {
        over = true;
        stop();
      },
    };
  }

  reset(): void {
    this.#connection?.break("The connection was reset");
    this.#connection = undefined;
    this.#dialling = undefined;
  }

  close(): void {
    this.#closed = true;
    this.reset();
  }
}
