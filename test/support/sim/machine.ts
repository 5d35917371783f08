import { createHash } from "node:crypto";
import { ReplaySubject } from "rxjs";
import type { Machine, RunningServer } from "../../../src/agent/machine.ts";
import type { AgentState } from "../../../src/agent/begin/state.ts";
import { within } from "../../../src/clock.ts";
import { QuorateError } from "../../../src/errors.ts";
import { EtcdClient } from "../../../src/etcd/index.ts";
import type { EtcdLogLine, EtcdServerOptions, ServerExit } from "../../../src/embed/index.ts";
import type { Random } from "../random.ts";
import { Cluster, Server, type ClusterHooks, type Member } from "./cluster.ts";
import { SimLink, type Wiring } from "./link.ts";
import type { Host } from "./network.ts";
import { headerOf } from "./rpc.ts";
import { ServerStreams } from "./streams.ts";
import type { Owner } from "./timeline.ts";

export interface World extends Wiring {
  readonly clusters: Cluster[];
  readonly hooks: ClusterHooks;
  readonly note: (what: string) => void;
  /** Whether agents are to log into the notes, and how much. */
  readonly trace: "info" | "debug" | undefined;
}

const startMs = 40;
const startTries = 5;
const retryAfterMs = 500;

/** The machine of one agent process in the model: its host's disk, its server, and the network. Nothing of it goes on after its owner. */
export function machineOf(world: World, host: Host, owner: Owner, random: Random): Machine {
  const { timeline } = world;
  const randomBytes = (size: number): Buffer => {
    const bytes = Buffer.alloc(size);
    for (let i = 0; i < size; i++) bytes[i] = random.between(0, 255);
    return bytes;
  };
  /** What takes the host a moment. */
  const soon = <T>(ms: number, run: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      timeline.in(ms, owner, () => {
        try {
          resolve(run());
        } catch (error) {
          reject(error);
        }
      });
    });
  const randomUUID = (): string => {
    const hex = createHash("md5").update(randomBytes(16)).digest("hex");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  };
  const get: Machine["fetchText"] = (url, timeoutMs, clock, signal) =>
    within(
      timeoutMs,
      clock,
      signal,
      (own) => fetch(world, host, owner, url, own),
      () => new Error(`no answer within ${timeoutMs} ms`),
    );
  return {
    connect: (options) =>
      EtcdClient.create({
        ...options,
        randomBytes,
        wires: {
          link: (url) => new SimLink(world, host, owner, url),
          metrics: (endpoint, what, signal) => metrics(world, host, owner, endpoint, what, signal),
        },
      }),
    assertPortsFree: () =>
      soon(1, () => {
        if (host.server) throw new QuorateError("PORT_IN_USE", `Cannot listen on ${host.clientUrl}: an etcd holds the port`);
      }),
    openPrefix: (_folder, hostname) =>
      soon(1, () => {
        host.state ??= { schema: 1, hostname, identity: randomUUID(), instance: randomUUID(), endpoints: [] };
        return {
          folder: `/disk/${host.name}`,
          dataDir: `/disk/${host.name}/server`,
          get state(): AgentState {
            return host.state!;
          },
          save: (change) =>
            soon(0.3, () => {
              const next = Object.entries({ ...host.state!, ...change }).filter(([, value]) => value !== undefined);
              host.state = Object.fromEntries(next) as unknown as AgentState;
            }),
          [Symbol.asyncDispose]: () => Promise.resolve(),
        };
      }),
    chooseBinary: () => soon(1, () => ({ path: "/usr/bin/etcd", version: "3.5.30", major: 3, minor: 5 })),
    inspectDataDir: () => soon(0.1, () => (host.data === undefined ? "absent" : host.data.damaged ? "damaged" : "has-data")),
    archiveDataDir: () =>
      soon(1, () => {
        if (host.server) throw new QuorateError("DATA_DIR_IN_USE", "Cannot archive the data dir: a server runs on it");
        const had = host.data !== undefined;
        host.data = undefined;
        return had ? `/disk/${host.name}/server.removed` : undefined;
      }),
    removeDataDir: () =>
      soon(1, () => {
        host.data = undefined;
      }),
    keepSnapshot: () => soon(50, () => `/disk/${host.name}/snapshot.db`),
    startServer: (options, { clock }, signal) =>
      new Starting(world, host, owner, random, options, signal, (ms) => clock.sleep(ms, signal)).run(),
    // No life of the model begins by expecting others.
    tell: () => Promise.reject(new Error("There is no telling in the model")),
    dnsCluster: () => Promise.reject(new Error("There is no DNS in the model")),
    dnsEndpoints: () => Promise.reject(new Error("There is no DNS in the model")),
    openRegistry: () => {
      throw new Error("There is no discovery in the model");
    },
    listen: (_urls, answer) =>
      soon(0.5, () => {
        if (host.portTaken || host.server || host.stub) {
          throw Object.assign(new Error(`listen EADDRINUSE: address already in use ${host.serverUrl}`), { code: "EADDRINUSE" });
        }
        const stub = { owner, answer };
        host.stub = stub;
        return {
          close: () =>
            soon(0.1, () => {
              if (host.stub === stub) host.stub = undefined;
            }),
        };
      }),
    fetchText: get,
    fetchClientText: get,
    prepareCertificates: () => Promise.resolve(),
    inspectFiles: () => Promise.resolve([]),
    freeBytes: () => soon(0.1, () => host.freeBytes),
    // Crash loops have a test of their own: hosts crash far too often here.
    boot: () => undefined,
    id: () => `machine of ${host.name}`,
    randomBytes,
    randomUUID,
  };
}

/** A request to another host and its answer; hangs where the two do not reach each other. */
function ask<T>(
  { network }: World,
  from: Host,
  owner: Owner,
  to: Host | undefined,
  signal: AbortSignal,
  serve: (answer: (settle: () => T) => void) => void,
  target: Owner | undefined,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted || !to) {
      reject(signal.aborted ? (signal.reason as Error) : new Error("getaddrinfo ENOTFOUND"));
      return;
    }
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", abort, { once: true });
    network.send(from, to, target, () => {
      serve((settle) => {
        network.send(to, from, owner, () => {
          signal.removeEventListener("abort", abort);
          try {
            resolve(settle());
          } catch (error) {
            reject(error);
          }
        });
      });
    });
  });
}

function fetch(world: World, host: Host, owner: Owner, url: string, signal: AbortSignal): Promise<string> {
  const to = world.network.hostOf(url);
  const refuse = (why: string) => () => {
    throw new Error(why);
  };
  return ask<string>(
    world,
    host,
    owner,
    to,
    signal,
    (answer) => {
      const { stub, server } = to!;
      const path = url.slice(to!.serverUrl.length);
      if (stub && !stub.owner.dead) {
        const nonce = /nonce=([0-9a-f]{32})$/.exec(path)?.[1];
        if (nonce === undefined) answer(refuse("it answered 404"));
        else {
          world.timeline.in(0, stub.owner, () => {
            stub.answer(nonce).then(
              (body) => {
                answer(() => JSON.stringify(body));
              },
              () => {
                answer(refuse("it answered 500"));
              },
            );
          });
        }
      } else if (server) {
        world.timeline.in(0, server.owner, () => {
          answer(path === "/version" ? () => '{"etcdserver":"3.5.30","etcdcluster":"3.5.0"}' : refuse("it answered 404"));
        });
      } else answer(refuse("connect ECONNREFUSED"));
    },
    undefined,
  );
}

function metrics(world: World, host: Host, owner: Owner, endpoint: string, what: string, signal: AbortSignal): Promise<string> {
  const to = world.network.hostOf(endpoint);
  return ask<string>(
    world,
    host,
    owner,
    to,
    signal,
    (answer) => {
      const server = to?.server;
      if (server?.serving !== true) {
        answer(() => {
          throw new QuorateError("UNREACHABLE", `Cannot ${what}: it does not answer`, {
            retryable: true,
            data: { outcome: "none" },
          });
        });
        return;
      }
      world.timeline.in(0, server.owner, () => {
        const lines = [...server.cluster.receivedBy(server)].map(
          ([id, n]) => `etcd_network_peer_received_bytes_total{From="${id}"} ${n}\n`,
        );
        answer(() => lines.join(""));
      });
    },
    undefined,
  );
}

/** One start of an etcd, until it serves. */
class Starting {
  readonly #world: World;
  readonly #host: Host;
  readonly #owner: Owner;
  readonly #random: Random;
  readonly #options: EtcdServerOptions;
  readonly #signal: AbortSignal;
  readonly #sleep: (ms: number) => Promise<void>;
  readonly #lines = new ReplaySubject<EtcdLogLine>(50);

  constructor(
    world: World,
    host: Host,
    owner: Owner,
    random: Random,
    options: EtcdServerOptions,
    signal: AbortSignal,
    sleep: (ms: number) => Promise<void>,
  ) {
    this.#world = world;
    this.#host = host;
    this.#owner = owner;
    this.#random = random;
    this.#options = options;
    this.#signal = signal;
    this.#sleep = sleep;
  }

  async run(): Promise<RunningServer> {
    const { boot } = this.#options;
    const host = this.#host;
    this.#signal.throwIfAborted();
    if (host.server) this.#world.hooks.violation(`${host.name} is to run two servers`);
    if (host.data?.damaged === true) throw new QuorateError("DATA_DIR_UNUSABLE", "Cannot use the data dir: it is damaged");
    for (let tries = 1; ; tries++) {
      const known = host.data;
      if (!known && !boot) throw new QuorateError("DATA_DIR_UNUSABLE", "Cannot continue from the data dir: it is empty");
      const listed = known ? undefined : await boot!.initialCluster(this.#signal);
      await this.#sleep(startMs + this.#random.between(0, 60));
      if (host.portTaken) throw this.#ended("listen tcp: bind: address already in use", false, "PORT_IN_USE");
      const server = known ? this.#again() : boot!.state === "new" ? this.#first() : this.#joins(listed!);
      if (server) return await this.#serve(server);
      if (tries === startTries) throw this.#ended("error validating peerURLs: member count is unequal", true);
      await this.#sleep(retryAfterMs);
    }
  }

  #ended(reason: string, staleMembers: boolean, code: "SERVER_EXITED" | "PORT_IN_USE" = "SERVER_EXITED"): QuorateError {
    return new QuorateError(code, `Cannot start the etcd server ${this.#host.name}: it ended with status 1 (${reason})`, {
      retryable: staleMembers || code === "PORT_IN_USE",
      data: { staleMembers },
    });
  }

  /** A cluster of one. */
  #first(): Server {
    const { timeline, network, random, hooks, clusters } = this.#world;
    const host = this.#host;
    const id =
      this.#random.between(0x1000_0000, 0xffff_fffe).toString(16) + this.#random.between(0x1000_0000, 0xffff_fffe).toString(16);
    const row: Member = {
      id,
      wireId: BigInt(`0x${id}`).toString(),
      peerUrls: [host.serverUrl],
      clientUrls: [],
      name: "",
      learner: false,
    };
    const clusterId =
      this.#random.between(0x1000_0000, 0xffff_fffe).toString(16) + this.#random.between(0x1000_0000, 0xffff_fffe).toString(16);
    const cluster = new Cluster(clusterId, row, timeline, network, random, hooks);
    clusters.push(cluster);
    host.data = { cluster, member: id, persisted: 1, damaged: false };
    const server = this.#process(0);
    cluster.add(server);
    cluster.lead(server);
    // Others that have this address in their member list send it messages, which it cannot make sense of.
    const others = clusters.filter(
      (other) =>
        other !== cluster &&
        [...other.servers.values()].some((s) => s.host !== host && other.config.some((m) => m.peerUrls.includes(host.serverUrl))),
    );
    if (others.length > 0) {
      timeline.in(200, server.owner, () => {
        this.#lines.next({ raw: "", level: "warn", msg: "request cluster ID mismatch" } as unknown as EtcdLogLine);
      });
    }
    return server;
  }

  #process(syncMs: number): Server {
    const { timeline } = this.#world;
    const host = this.#host;
    const server = new Server(
      host,
      host.data!,
      this.#options.strictReconfigCheck === true,
      timeline.nowMs,
      timeline.nowMs + syncMs,
    );
    server.streams = new ServerStreams(server, () => headerOf(server));
    host.server = server;
    return server;
  }

  #again(): Server {
    const host = this.#host;
    const data = host.data!;
    const { cluster, member } = data;
    const seat = host.state?.seat?.memberId;
    if (seat !== member && !(seat === undefined && this.#options.boot?.state === "new"))
      this.#world.hooks.violation(`${host.name} starts the data of ${member}, and its seat is ${seat ?? "none"}`);
    if (cluster.servers.has(member)) this.#world.hooks.violation(`member ${member} runs twice`);
    const own = cluster.log[data.persisted - 1]?.config ?? [];
    if (data.persisted > 0 && !own.some((m) => m.id === member))
      throw this.#ended("the member has been permanently removed from the cluster", false);
    const server = this.#process(data.persisted === 0 ? host.syncMs : 5);
    cluster.add(server);
    return server;
  }

  /** It takes the member that is listed with its peer URLs, as the others tell; undefined where its list is not theirs. */
  #joins(listed: readonly { readonly name: string; readonly peerUrls: readonly string[] }[]): Server | undefined {
    const { network, clusters, hooks } = this.#world;
    const host = this.#host;
    const urls = listed.flatMap(({ peerUrls }) => peerUrls);
    const peer = network.hosts.find(
      (h) =>
        h !== host && urls.includes(h.serverUrl) && h.server !== undefined && !h.server.owner.paused && network.linked(host, h),
    );
    const cluster = peer?.server?.cluster;
    if (!cluster || !clusters.includes(cluster)) return undefined;
    const rows = cluster.configSeenBy(peer.server!);
    const asked = urls.toSorted().join();
    if (
      asked !==
      rows
        .flatMap((m) => m.peerUrls)
        .toSorted()
        .join()
    )
      return undefined;
    const row = rows.find((m) => m.peerUrls.includes(host.serverUrl));
    if (!row) return undefined;
    if (cluster.servers.has(row.id)) hooks.violation(`member ${row.id} runs twice`);
    if (cluster.everStarted.has(row.id))
      hooks.violation(`${host.name} starts an empty data dir for member ${row.id}, which has run`);
    host.data = { cluster, member: row.id, persisted: 0, damaged: false };
    const server = this.#process(host.syncMs);
    cluster.add(server);
    return server;
  }

  /** Settles when it serves; a voter needs a quorum for that. */
  #serve(server: Server): Promise<RunningServer> {
    const { timeline, note } = this.#world;
    const host = this.#host;
    const { cluster, id } = server;
    let asked = false;
    let exited = (_exit: ServerExit): void => undefined;
    const gone = new Promise<ServerExit>((resolve) => (exited = resolve));
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        asked = true;
        cluster.end(server, { code: null, signal: "SIGTERM", removed: false });
        reject(this.#signal.reason as Error);
      };
      server.onExit = ({ code, signal, removed }) => {
        note(`the server of ${host.name} ends${removed ? ": removed" : ""}`);
        const exit: ServerExit = { code, signal, lastLines: [], asked, removed };
        timeline.in(1, this.#owner, () => {
          this.#signal.removeEventListener("abort", abort);
          this.#lines.complete();
          exited(exit);
          reject(this.#ended(removed ? "the member has been permanently removed" : "killed", false));
        });
      };
      this.#signal.addEventListener("abort", abort, { once: true });
      const publish = (): void => {
        if (server.owner.dead) return;
        cluster.whenReady(
          server,
          () => {
            cluster.publish(server);
            server.serving = true;
            note(`${host.name} serves as ${id}`);
            timeline.in(1, this.#owner, () => {
              this.#signal.removeEventListener("abort", abort);
              resolve({
                pid: 1_000 + host.index,
                memberId: id,
                clusterId: cluster.id,
                exited: gone,
                lines$: this.#lines.asObservable(),
                stop: () => {
                  asked = true;
                  if (!server.owner.dead)
                    timeline.in(20, undefined, () => {
                      cluster.stop(server);
                    });
                  return gone;
                },
                [Symbol.asyncDispose]: async () => {
                  asked = true;
                  cluster.stop(server);
                  await gone;
                },
              });
            });
          },
          publish,
        );
      };
      publish();
    });
  }
}
