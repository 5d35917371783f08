import { hostname as machineName } from "node:os";
import { join, resolve as resolvePath } from "node:path";
import type { Logger } from "pino";
import { systemClock } from "../clock.ts";
import type { Clock } from "../clock.ts";
import { checkTls, type FileLogin, type TlsFiles } from "../etcd/index.ts";
import { readAgent, tlsFields, type AgentNotes } from "./agent-notes.ts";
import { isHostname, keysUnder } from "../keys.ts";
import type { Etcd3Client } from "./api/client.ts";
import type { World } from "./api/world.ts";
import { etcd3Of } from "./client.ts";
import type { Etcd3Way } from "./client.ts";
import { connect } from "./connect.ts";
import { defaultTimeoutMs } from "./context.ts";
import type { Context, Opened } from "./context.ts";
import { WorldError, asWorldError } from "./error.ts";
import { sshRoute } from "../ssh/index.ts";
import type { SshOptions, SshRoute } from "../ssh/index.ts";
import { ttlMsOf } from "./ttl.ts";
import { contextOf, worldOver } from "./world.ts";
import type { WorldParts } from "./world.ts";

/** Files in PEM, which are read anew for every connection. */
export interface WorldTls {
  /** The authorities that are trusted, in place of those that Node trusts. */
  readonly caFile?: string;
  /** What is shown to a cluster that asks for it, and its key. Both or none. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

export interface WorldOptions {
  /** Client URLs of the cluster: one that answers is enough. Quorate's or any other etcd. */
  readonly seeds?: readonly string[];
  /**
   * A host to log in at, where the cluster cannot be reached from here; seeds, and endpoints that are learned later, are as that host
   * sees them. Its key has to be known.
   */
  readonly ssh?: SshOptions;
  /** For seeds with `https`. Default: with `prefix` the files of its agent, else none. */
  readonly tls?: WorldTls;
  /**
   * Whom to log in as where the cluster has authentication, and the file that holds the password. Default: with `prefix` those of its agent,
   * else nobody.
   */
  readonly user?: string;
  readonly passwordFile?: string;
  /**
   * A connection that there is already, in place of `seeds`, `ssh` and `prefix`. This World never closes it.
   *
   * - Another World, or `agent.world`: its connections are used, and this World ends with that one. `namespace`, `hostname`, `uri`
   *   and `sessionTtl` are that one's unless they are given.
   * - An `Etcd3` of npm etcd3: its hosts and its name and password are used, in connections of this World's own.
   */
  readonly client?: World | Etcd3Client;
  /** Folder of an agent on this host: its cluster, its replica and its hostname are used, and no seed is needed. */
  readonly prefix?: string;
  /** Identity in maps and exports. Default: the agent's where `prefix` is given, else the machine's. */
  readonly hostname?: string;
  /** Default `/_mgmt`. */
  readonly namespace?: string;
  /** Of the replica. Default: `world` under the prefix, or one in the user's cache folder, by cluster and namespace. */
  readonly folder?: string;
  /** False: no file and no feeder, every read asks the cluster. For programs that live for one call. Default true. */
  readonly replica?: boolean;
  /** Seconds that what hangs on this World's session outlives a process that has died: whole ones, 2 at least. Default 10. */
  readonly sessionTtl?: number;
  /** Of the tree that `world.fs()` is, or a function that says it each time. Default `etcdfs:///fs/main`. */
  readonly uri?: string | (() => string);
  /** A group, by name or number, whose programs may use the folder too. */
  readonly worldGroup?: string;
  /** Default: nothing is logged. */
  readonly logger?: Logger;
  /** For tests. */
  readonly clock?: Clock;
}

const defaultSessionTtl = 10;

/**
 * Opens a World.
 *
 * ```ts
 * const world = await openWorld({ seeds: ["http://127.0.0.1:2379"] });
 * await world.str.set("motd", "hello");
 * console.log((await world.str.get("motd")).value);
 * await world.close();
 * ```
 *
 * @throws WorldError INVALID_OPTION; PREFIX_UNUSABLE; UNAVAILABLE, DEADLINE, DENIED or WRONG_HOST_KEY where the cluster does not answer and no copy of it is known
 */
export async function openWorld(options: WorldOptions): Promise<World> {
  const doing = { what: "open the World" };
  try {
    const through = clientIn(options);
    if (through !== undefined && "base" in through) return worldOver(await onto(through, options));
    const ssh = await routeIn(options);
    const { prefix, namespace = "/_mgmt", clock = systemClock, logger: log } = options;
    const agent = prefix === undefined ? undefined : await agentThatKnows(prefix, (options.seeds ?? []).length > 0, clock);
    const tls = await tlsIn(options, agent, clock);
    const login = through?.login ?? loginIn(options) ?? agent?.login;
    const hostname = options.hostname ?? agent?.hostname ?? machineName();
    if (!isHostname(hostname)) throw refused("hostname", `${JSON.stringify(hostname)} is not a host name`);
    const sessionTtlMs = ttlMsOf(options.sessionTtl ?? defaultSessionTtl);
    const seeds = through?.endpoints ?? seedsIn(options, agent);
    const folder = options.folder ?? (prefix === undefined ? undefined : join(prefix, "world"));
    const opened = await connect({
      endpoints: seeds,
      namespace,
      clock,
      ...(login === undefined ? {} : { login }),
      ...(agent?.socket === undefined ? {} : { socket: agent.socket }),
      ...(folder === undefined ? {} : { folder }),
      ...(ssh === undefined ? {} : { ssh }),
      ...(tls === undefined ? {} : { tls }),
      ...(agent?.clusterId === undefined ? {} : { clusterId: agent.clusterId }),
      ...(options.replica === undefined ? {} : { replica: options.replica }),
      ...(options.worldGroup === undefined ? {} : { worldGroup: options.worldGroup }),
      ...(log === undefined ? {} : { log }),
    });
    const keys = keysUnder(namespace);
    return worldOver({
      uri: uriIn(options),
      hostname,
      keys,
      clock,
      log,
      sessionTtlMs,
      connect: () => Promise.resolve(opened),
      opened,
    });
  } catch (error) {
    throw asWorldError(error, doing);
  }
}

/** @throws QuorateError INVALID_OPTION */
async function routeIn({ ssh, prefix }: WorldOptions): Promise<SshRoute | undefined> {
  if (ssh === undefined) return undefined;
  if (prefix !== undefined) throw refused("ssh", "prefix names an agent on this host, and ssh a cluster that is elsewhere");
  const route = sshRoute(ssh);
  await (await import("../ssh/identity.ts")).checkIdentities(route);
  return route;
}

/** @throws QuorateError INVALID_OPTION */
async function tlsIn({ tls }: WorldOptions, agent: AgentNotes | undefined, clock: Clock): Promise<TlsFiles | undefined> {
  if (tls === undefined) return agent?.tls;
  const files: { -readonly [K in keyof TlsFiles]: string } = {};
  for (const [name, path] of Object.entries(tls) as [string, unknown][]) {
    const field = tlsFields.find((one) => one === name);
    if (field === undefined || (path !== undefined && (typeof path !== "string" || path === "")))
      throw refused("tls", `tls.${name} is no path of a file: it takes ${tlsFields.join(", ")}`);
    // The feeder may run elsewhere.
    if (path !== undefined) files[field] = resolvePath(path);
  }
  await checkTls(files, { caFile: "tls.caFile", certFile: "tls.certFile", keyFile: "tls.keyFile" }, clock.wallTime());
  return files;
}

/** @throws QuorateError INVALID_OPTION */
function loginIn({ user, passwordFile }: WorldOptions): FileLogin | undefined {
  if (user === undefined && passwordFile === undefined) return undefined;
  for (const [name, value] of [
    ["user", user],
    ["passwordFile", passwordFile],
  ] as const) {
    if (typeof value !== "string" || value === "") throw refused(name, "user and passwordFile belong together");
  }
  return { user: user ?? "", password: { file: resolvePath(passwordFile ?? "") } };
}

function uriIn({ uri }: WorldOptions): (() => string) | undefined {
  return typeof uri === "string" ? () => uri : uri;
}

/** A World, and what it stands on. */
interface Base {
  readonly base: Context;
  readonly world: World;
}

/** What `client` is; undefined where none is given. @throws WorldError INVALID_OPTION */
function clientIn(options: WorldOptions): Base | Etcd3Way | undefined {
  const { client } = options;
  if (client === undefined) return undefined;
  for (const other of ["seeds", "ssh", "tls", "user", "passwordFile", "prefix"] as const)
    if (options[other] !== undefined) throw refused("client", `${other} is given as well`, "choose one of the two");
  const base = contextOf(client);
  if (base !== undefined) return { base, world: client as World };
  const way = etcd3Of(client);
  if (way.login === undefined || options.replica !== true) return way;
  throw refused("replica", "the client logs in, and a replica's feeder is not told passwords", "leave replica out");
}

/** What a World on the connections of another one is made of. It ends with that one. */
async function onto({ base, world }: Base, options: WorldOptions): Promise<WorldParts> {
  const { hostname = base.hostname, namespace = base.keys.namespace, clock = base.clock, sessionTtl } = options;
  const { logger: log = base.log, worldGroup } = options;
  if (!isHostname(hostname)) throw refused("hostname", `${JSON.stringify(hostname)} is not a host name`);
  base.throwIfClosed();
  const connectOnto = async (): Promise<Opened> => {
    const { replica, how } = await base.open();
    const { folder: theirs, log: _, worldGroup: __, ...rest } = how;
    const folder = options.folder ?? (namespace === base.keys.namespace ? theirs : undefined);
    const { client } = replica;
    return await connect({
      ...rest,
      over: client,
      endpoints: client.endpoints.urls(),
      namespace,
      clock,
      ...(client.clusterId === undefined ? {} : { clusterId: client.clusterId }),
      ...(options.replica === undefined ? {} : { replica: options.replica }),
      ...(folder === undefined ? {} : { folder }),
      ...(worldGroup === undefined ? {} : { worldGroup }),
      ...(log === undefined ? {} : { log }),
    });
  };
  const opened = base.opened === undefined ? undefined : await connectOnto();
  return {
    uri: uriIn(options) ?? (() => world.uri),
    hostname,
    keys: keysUnder(namespace),
    clock,
    log,
    sessionTtlMs: sessionTtl === undefined ? base.sessionTtlMs : ttlMsOf(sessionTtl),
    connect: connectOnto,
    ...(opened === undefined ? {} : { opened }),
    within: base,
  };
}

/** One that was started just now finds its cluster first. */
async function agentThatKnows(prefix: string, isKnown: boolean, clock: Clock): Promise<AgentNotes | undefined> {
  const untilMs = clock.nowMs() + defaultTimeoutMs;
  for (;;) {
    const agent = await readAgent(prefix);
    if (isKnown || agent === undefined || agent.endpoints.length > 0 || clock.nowMs() >= untilMs) return agent;
    await clock.sleep(100, new AbortController().signal);
  }
}

function seedsIn({ seeds, prefix }: WorldOptions, agent: AgentNotes | undefined): readonly string[] {
  if ((seeds === undefined || seeds.length === 0) && prefix === undefined) {
    throw refused(
      "seeds",
      "neither seeds nor the prefix of an agent is given",
      'like openWorld({ seeds: ["http://127.0.0.1:2379"] })',
    );
  }
  for (const seed of seeds ?? []) {
    if (typeof seed !== "string" || !/^https?:\/\/[^/]+\/?$/.test(seed) || !URL.canParse(seed)) {
      throw refused("seeds", `${JSON.stringify(seed)} is not of the form http://HOST:PORT`);
    }
  }
  return [...new Set([...(seeds ?? []).map((seed) => seed.replace(/\/$/, "")), ...(agent?.endpoints ?? [])])];
}

function refused(option: string, state: string, hint?: string): WorldError {
  return new WorldError("INVALID_OPTION", `Cannot open the World: ${state}`, { hint, data: { option } });
}
