import { hostname as machineName, homedir, networkInterfaces, tmpdir } from "node:os";
import { isIP } from "node:net";
import { isAbsolute, join, resolve as resolvePath } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { initialMembers } from "../embed/index.ts";
import { QuorateError, messageOf } from "../errors.ts";
import { isHostname, keysUnder, quote, whyNotUrl, type Keys } from "../keys.ts";
import { dynamicSize, whyNotWithin, type Chooser } from "../chooser/index.ts";
import type { Together } from "./begin/join.ts";
import type { Discovery } from "./begin/registry.ts";
import type { AgentOptions } from "./options.ts";
import {
  defaultClusterPolicy,
  isChooserName,
  policyFieldNames,
  policyFields,
  type ClusterPolicy,
  type PolicyFlags,
} from "./control/policy.ts";

/** The same options with every default filled in and every rule checked. Nothing past `startAgent` sees the other one. */
export interface ResolvedOptions {
  readonly hostname: string;
  readonly seeds: readonly string[];
  /** Whom this host founds a cluster with, or joins, or where it finds them. */
  readonly boot: Boot | undefined;
  /** With how many of those at the seeds, itself counted. */
  readonly expect: number | undefined;
  readonly clientUrls: readonly string[];
  readonly serverUrls: readonly string[];
  readonly advertiseClientUrls: readonly string[];
  readonly advertiseServerUrls: readonly string[];
  /** Undefined: a temporary folder is made. */
  readonly prefix: string | undefined;
  readonly server: boolean;
  readonly idealClusterSize: number;
  readonly keys: Keys;
  readonly zone: string;
  readonly priority: number;
  readonly sessionTtlMs: number;
  /** The policy of a cluster that this agent founds. */
  readonly policy: ClusterPolicy;
  /** What was said of the things that only a founder decides. */
  readonly given: { readonly policy: PolicyFlags; readonly idealClusterSize: number | undefined };
  /** The chooser it has beside the built-in one, or that one. */
  readonly chooser: Chooser;
  readonly convergedTimeoutMs: number;
  readonly convergedExit: boolean;
  readonly convergedStatusFile: string | undefined;
  /** 0: for ever. */
  readonly maxRuntimeMs: number;
  readonly leaveOnTerminate: boolean;
  readonly replica: boolean;
  readonly worldGroup: string | undefined;
  readonly adopt: boolean;
  readonly newCluster: boolean;
  readonly moved: boolean;
  readonly etcdBin: string | undefined;
  readonly autoCompactionRetention: string;
  readonly quotaBackendBytes: number;
  readonly logger: Logger | undefined;
  readonly debug: boolean;
}

/** How it was told whom to begin with; `flag` is what said it. */
export type Boot = { readonly flag: string } & (
  | ({ readonly kind: "static"; readonly state: "new" | "existing" } & Together)
  | {
      readonly kind: "dns";
      readonly state: "new" | "existing";
      readonly token: string;
      readonly domain: string;
      /** Appended to the names of the services. */
      readonly service: string;
    }
  | { readonly kind: "discovery"; readonly discovery: Discovery }
);

/** Where temporary prefixes are made. */
export function temporaryPrefixRoot(): string {
  return join(tmpdir(), "quorate-");
}

/** What the machine and its user say: the defaults that no constant can hold. */
export interface Surroundings {
  readonly isRoot: boolean;
  readonly machineName: string;
  /** Its IP addresses. */
  readonly addresses: readonly string[];
  /** The user's state folder: XDG_STATE_HOME or `~/.local/state`. */
  readonly stateFolder: string;
}

export function surroundings(stateHome?: string): Surroundings {
  return {
    isRoot: process.getuid?.() === 0,
    machineName: machineName(),
    addresses: Object.values(networkInterfaces()).flatMap((of) => (of ?? []).map(({ address }) => address)),
    stateFolder: stateHome !== undefined && isAbsolute(stateHome) ? stateHome : join(homedir(), ".local", "state"),
  };
}

/** Timers take no more. */
const longestMs = 2 ** 31 - 1;
const unspecified = /^https?:\/\/(0\.0\.0\.0|\[::\]|\[0*(:0*)*\]):/;

function refuse(option: string, what: string, hint?: string): never {
  throw new QuorateError("INVALID_OPTION", `Cannot use option ${option}: ${what}`, {
    data: { option },
    ...(hint === undefined ? {} : { hint }),
  });
}

const text = z.string({ error: "a string" });
const list = z.array(z.string({ error: "a list of strings" }), { error: "a list of strings" });
// NaN and Infinity are told apart by their range, below.
const number = z.custom<number>((value) => typeof value === "number", { error: "a number" });
const flag = z.boolean({ error: "true or false" });

/** What each option must be before anything else is asked of it: a program in JavaScript has no compiler that says so. */
const kinds = z
  .strictObject({
    hostname: text,
    seeds: list,
    initialCluster: text,
    initialClusterState: z.enum(["new", "existing"], { error: '"new" or "existing"' }),
    initialClusterToken: text,
    discovery: text,
    discoveryEndpoints: list,
    discoveryToken: text,
    discoverySrv: text,
    discoverySrvName: text,
    expect: number,
    clientUrls: list,
    serverUrls: list,
    advertiseClientUrls: list,
    advertiseServerUrls: list,
    prefix: text,
    tmpPrefix: flag,
    server: flag,
    idealClusterSize: number,
    namespace: text,
    zone: text,
    priority: number,
    sessionTtlMs: number,
    maxSeats: number,
    standbys: z.custom<0 | 1>((value) => typeof value === "number", { error: "a number" }),
    strictReconfigCheck: flag,
    evenVoters: flag,
    stabilizationMs: number,
    nomineeTimeoutMs: number,
    stallTimeoutMs: number,
    restartGraceMs: number,
    chooser: z.custom<Chooser>(isChooser, { error: "an object with a name and a function `choose`" }),
    convergedTimeoutMs: number,
    convergedExit: flag,
    convergedStatusFile: text,
    maxRuntimeMs: number,
    leaveOnTerminate: flag,
    replica: flag,
    worldGroup: text,
    adopt: flag,
    newCluster: flag,
    moved: flag,
    insecure: flag,
    etcdBin: text,
    autoCompactionRetention: text,
    quotaBackendBytes: number,
    logger: z.custom<Logger>((value) => typeof (value as { child?: unknown } | null)?.child === "function", {
      error: "a pino logger",
    }),
    debug: flag,
  } satisfies Record<keyof AgentOptions, unknown>)
  .partial();

function isChooser(value: unknown): boolean {
  const given = value as { name?: unknown; choose?: unknown } | null;
  return typeof given?.name === "string" && typeof given.choose === "function";
}

/** A misspelt `seeds` that is passed over founds a second cluster: what is no option is refused. */
function checkKinds(given: unknown): void {
  const isObject = typeof given === "object" && given !== null;
  const said = isObject ? Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) : given;
  const issue = kinds.safeParse(said).error?.issues[0];
  if (issue === undefined) return;
  if (issue.code === "unrecognized_keys") {
    refuse(issue.keys.join(), "there is no such option", `the options are ${Object.keys(kinds.shape).join(", ")}`);
  }
  const [option] = issue.path;
  if (option === undefined) {
    throw new QuorateError("INVALID_OPTION", `Cannot use the options: they must be an object, not ${String(given)}`);
  }
  refuse(String(option), `it must be ${issue.message}`, "leave it out to have the default");
}

function urls(option: keyof AgentOptions, given: readonly string[] | undefined, otherwise: readonly string[]): readonly string[] {
  const list = (given ?? otherwise).map((url) => url.trim().replace(/\/$/, ""));
  if (list.length > 8) refuse(option, `there are ${list.length} URLs, at most 8 are allowed`);
  for (const url of list) {
    const why = whyNotUrl(url);
    if (why !== undefined) refuse(option, why, "give URLs like http://192.0.2.7:2379");
    if (url.startsWith("https:")) refuse(option, `${quote(url)} asks for TLS, which this version cannot do yet`, "use http://");
  }
  if (new Set(list).size !== list.length) refuse(option, "a URL stands in it twice", "give each once");
  return list;
}

function whole(option: keyof AgentOptions, value: number, least: number, most: number, unit = ""): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    refuse(option, `it must be a whole number from ${least} to ${most}${unit}: current value is ${String(value)}`);
  }
  return value;
}

/** etcd listens on addresses, not on names. */
function listenUrls(option: "clientUrls" | "serverUrls", list: readonly string[], advertiseFlag: string): readonly string[] {
  if (list.length === 0) refuse(option, "at least one URL is needed", "leave it out to have the default");
  for (const url of list) {
    const host = url.slice(url.indexOf("//") + 2, url.lastIndexOf(":")).replace(/^\[|\]$/g, "");
    if (host === "localhost" || isIP(host) !== 0) continue;
    refuse(
      option,
      `${quote(url)} has no IP address, and a server can listen on nothing else`,
      `give an address of this host here, and the name with ${advertiseFlag}`,
    );
  }
  return list;
}

/** The text of one option that becomes part of keys, flags or records: short, and nothing a terminal would act on. */
function label(option: keyof AgentOptions, text: string): string {
  if (text.length > 253 || /[\u0000-\u001f\u007f]/.test(text)) refuse(option, "it must be at most 253 printable characters");
  return text;
}

function advertised(
  option: "advertiseClientUrls" | "advertiseServerUrls",
  given: readonly string[] | undefined,
  listen: readonly string[],
  listenOption: keyof AgentOptions,
  needed: boolean,
): readonly string[] {
  if (given !== undefined && given.length > 0) {
    const list = urls(option, given, []);
    const vague = list.find((url) => unspecified.test(url));
    if (vague !== undefined)
      refuse(
        option,
        `${quote(vague)} is an unspecified address, which nobody can connect to`,
        "give an address of this host that the others reach",
      );
    return list;
  }
  const vague = listen.find((url) => unspecified.test(url));
  if (vague !== undefined && needed) {
    refuse(
      listenOption,
      `${quote(vague)} listens on every address, so others cannot be told where to connect`,
      `add ${option === "advertiseClientUrls" ? "--advertise-client-urls" : "--advertise-server-urls"}=http://ADDRESS:PORT with an address of this host that the others reach`,
    );
  }
  return listen;
}

/** The founder's options that were given, each within its bounds. */
function policyGiven(given: AgentOptions): Partial<ClusterPolicy> {
  const said = policyFieldNames.flatMap((field) => {
    const value = given[field];
    if (value === undefined) return [];
    const why = whyNotWithin(value, policyFields[field].bound);
    if (why !== undefined) {
      const unit = field.endsWith("Ms") ? " milliseconds" : "";
      refuse(field, `${String(value)} ${why}${unit}`, "leave it out to have the default");
    }
    return [[field, value] as const];
  });
  return Object.fromEntries(said);
}

/** The chooser that was given, under a name that the policy can hold and that is not taken. */
function chooserGiven(given: Chooser | undefined): Chooser {
  if (given === undefined || given === dynamicSize) return dynamicSize;
  const { name } = given;
  if (!isChooserName(name)) {
    refuse("chooser", `its name ${quote(name)} must be 1 to 100 characters of A-Z, a-z, 0-9, dot, underscore and dash`);
  }
  if (name === dynamicSize.name) {
    refuse("chooser", `${name} is the name of the built-in chooser`, "give yours a name of its own");
  }
  const own: Chooser = { name, choose: (seen, policy) => given.choose(seen, policy) };
  return Object.freeze(own);
}

/** The options that say whom to begin with, each alone, by what they are about. */
const ways = ["initialCluster", "discovery", "discoveryEndpoints", "discoverySrv"] as const;
const details = {
  initialClusterState: ["initialCluster", "discoverySrv"],
  initialClusterToken: ["initialCluster", "discoverySrv"],
  discoveryToken: ["discoveryEndpoints"],
  discoverySrvName: ["discoverySrv"],
} as const satisfies Partial<Record<keyof AgentOptions, readonly (typeof ways)[number][]>>;

function bootGiven(given: AgentOptions, hostname: string, advertised: readonly string[]): Boot | undefined {
  const [way, another] = ways.filter((option) => given[option] !== undefined);
  for (const [detail, of] of Object.entries(details) as [keyof typeof details, readonly string[]][]) {
    if (given[detail] === undefined || (way !== undefined && of.includes(way))) continue;
    refuse(detail, `it belongs to ${of.join(" and ")}`, "add that, or leave it out");
  }
  if (way === undefined) return undefined;
  if (another !== undefined) refuse(another, `${way} says how to begin as well`, "choose one");
  if ((given.seeds ?? []).length > 0) refuse(way, "an agent with seeds joins a cluster", "drop --seeds, or this");
  const state = given.initialClusterState ?? "new";
  const token = label("initialClusterToken", given.initialClusterToken ?? "quorate");
  const flag = `--${way.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  switch (way) {
    case "initialCluster":
      return {
        flag,
        kind: "static",
        state,
        token,
        members: membersGiven(given.initialCluster ?? "", state, hostname, advertised),
      };
    case "discoverySrv": {
      const [domain, service] = [label(way, given.discoverySrv ?? ""), label("discoverySrvName", given.discoverySrvName ?? "")];
      if (domain === "") refuse(way, "it names no domain");
      return { flag, kind: "dns", state, token, domain, service };
    }
    case "discovery": {
      const url = given.discovery ?? "";
      const parsed = URL.canParse(url) ? new URL(url) : undefined;
      if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || parsed.pathname.length < 2 || parsed.username !== "")
        refuse(way, `${quote(url)} is no URL of a token`, "make one with `quorate discovery create --size N --url URL`");
      return { flag, kind: "discovery", discovery: { kind: "v2", url } };
    }
    case "discoveryEndpoints": {
      const { discoveryToken: name = "" } = given;
      if (!/^[A-Za-z0-9._-]{1,100}$/.test(name))
        refuse("discoveryToken", `${quote(name)} must be 1 to 100 characters of A-Z, a-z, 0-9, dot, underscore and dash`);
      const endpoints = urls(way, given.discoveryEndpoints, []);
      if (endpoints.length === 0) refuse(way, "it names none");
      return { flag, kind: "discovery", discovery: { kind: "v3", endpoints, token: name } };
    }
  }
}

function membersGiven(
  text: string,
  state: "new" | "existing",
  hostname: string,
  advertised: readonly string[],
): Together["members"] {
  let members: ReadonlyMap<string, readonly string[]>;
  try {
    members = initialMembers(text);
  } catch (error) {
    refuse("initialCluster", messageOf(error), "write it as h1=http://192.0.2.1:2380,h2=http://192.0.2.2:2380");
  }
  if (members.size === 0) refuse("initialCluster", "it names nobody");
  for (const list of members.values()) urls("initialCluster", list, []);
  if (state === "new") assertListed(members, hostname, advertised);
  return [...members].map(([name, peerUrls]) => ({ name, peerUrls }));
}

/** This host is in the list by its name and server URLs. */
function assertListed(members: ReadonlyMap<string, readonly string[]>, hostname: string, advertised: readonly string[]): void {
  const urls = members.get(hostname);
  if (urls === undefined) {
    refuse(
      "initialCluster",
      `it does not name this host, ${hostname}`,
      `name this host by one of ${[...members.keys()].join(", ")} with --hostname, or add ${hostname}=${advertised[0] ?? ""}`,
    );
  }
  if (urls.length === advertised.length && urls.every((url) => advertised.includes(url))) return;
  refuse(
    "initialCluster",
    `it has ${urls.join(" and ")} for ${hostname}, which advertises ${advertised.join(" and ")}`,
    "add --server-urls or --advertise-server-urls as in the list",
  );
}

/** With how many others it is to agree. */
function expectGiven(given: AgentOptions, seeds: readonly string[], advertised: readonly string[]): number | undefined {
  const { expect } = given;
  if (expect === undefined) return undefined;
  for (const option of [...ways, "newCluster", "adopt"] as const) {
    if (given[option] !== undefined && given[option] !== false)
      refuse("expect", `${option} says how to begin as well`, "choose one");
  }
  if (given.server === false) refuse("expect", "this agent never runs a server", "drop --no-server, or --expect");
  whole("expect", expect, 1, seeds.length);
  if (expect <= seeds.length / 2) {
    refuse(
      "expect",
      `${expect} is not more than half of the ${seeds.length} seeds, so that two clusters could come of it`,
      `expect ${Math.floor(seeds.length / 2) + 1} at least`,
    );
  }
  if (!seeds.some((seed) => advertised.includes(seed))) {
    refuse(
      "expect",
      `none of the seeds is a client URL of this host, which advertises ${advertised.join(" and ")}`,
      "list the client URLs of all hosts in --seeds, this one's among them",
    );
  }
  return expect;
}

/** The URLs of a host that is told the same as all others: those of the seed that is this machine. */
function ownSeed(seeds: readonly string[], { machineName, addresses }: Surroundings): Partial<AgentOptions> {
  const own = seeds.filter((seed) => {
    if (!URL.canParse(seed)) return false;
    const host = new URL(seed).hostname.replace(/^\[|\]$/g, "");
    return addresses.includes(host) || host === machineName || host.split(".")[0] === machineName;
  });
  const [seed] = own;
  if (seed === undefined || own.length > 1) {
    refuse(
      "expect",
      seed === undefined
        ? "none of the seeds is an address or the name of this machine"
        : `${own.join(" and ")} are both this machine`,
      "say which seed is this host with --client-urls or --advertise-client-urls, and --server-urls",
    );
  }
  const client = new URL(seed);
  const server = new URL(seed);
  server.port = String(Number(client.port) + 1);
  const urls = { clientUrls: [client.origin], serverUrls: [server.origin] };
  if (isIP(client.hostname.replace(/^\[|\]$/g, "")) !== 0) return urls;
  return {
    clientUrls: [`http://0.0.0.0:${client.port}`],
    serverUrls: [`http://0.0.0.0:${server.port}`],
    advertiseClientUrls: [client.origin],
    advertiseServerUrls: [server.origin],
  };
}

/** Where an agent keeps everything unless it is told otherwise. */
export function defaultPrefix(around: Pick<Surroundings, "isRoot" | "stateFolder"> = surroundings()): string {
  return around.isRoot ? "/var/lib/quorate" : join(around.stateFolder, "quorate");
}

/**
 * Fills in defaults and checks every rule.
 *
 * @throws QuorateError INVALID_OPTION, with the option's name in `data.option` and what to do in `hint`.
 */
export function resolveOptions(asked: AgentOptions, around: Surroundings = surroundings()): ResolvedOptions {
  checkKinds(asked);
  const given =
    asked.expect === undefined || asked.clientUrls !== undefined ? asked : { ...asked, ...ownSeed(asked.seeds ?? [], around) };
  const hostname = given.hostname ?? around.machineName;
  if (!isHostname(hostname)) {
    refuse(
      "hostname",
      `${quote(hostname)} must be 1 to 253 characters of A-Z, a-z, 0-9, dot, underscore and dash`,
      "give this host a name with --hostname",
    );
  }
  const server = given.server ?? true;
  const seeds = urls("seeds", given.seeds, []);
  if (!server && seeds.length === 0) {
    refuse(
      "server",
      "an agent without a server needs seeds to connect to",
      "add --seeds=http://HOST:2379 with a client URL of the cluster",
    );
  }
  const clientUrls = listenUrls(
    "clientUrls",
    urls("clientUrls", given.clientUrls, ["http://127.0.0.1:2379"]),
    "--advertise-client-urls",
  );
  const serverUrls = listenUrls(
    "serverUrls",
    urls("serverUrls", given.serverUrls, ["http://127.0.0.1:2380"]),
    "--advertise-server-urls",
  );
  const both = clientUrls.find((url) => serverUrls.includes(url));
  if (both !== undefined) refuse("serverUrls", `${both} is a client URL too`, "give clients and servers a port each");
  if (given.prefix !== undefined && !isAbsolute(given.prefix)) {
    refuse(
      "prefix",
      `${quote(given.prefix)} is a relative path`,
      "give an absolute path, so that it does not depend on where the agent is started",
    );
  }
  if (given.prefix !== undefined && given.tmpPrefix === true)
    refuse("tmpPrefix", "a prefix is given as well", "choose one of the two");
  if (given.convergedExit === true && given.convergedTimeoutMs === undefined) {
    refuse(
      "convergedExit",
      "how long everything has to be converged is not said",
      "add --converged-timeout=TIME: longer than it takes to start the agents that are to wait for each other",
    );
  }
  if (given.convergedStatusFile === "") refuse("convergedStatusFile", "it must be the name of a file");
  if (given.worldGroup !== undefined && given.replica !== true)
    refuse("worldGroup", "there is no replica to share", "add --replica");
  if (given.worldGroup === "") refuse("worldGroup", "it must be the name or the number of a group");
  if (given.adopt === true && seeds.length === 0)
    refuse("adopt", "there is no cluster to adopt without seeds", "add --seeds=http://HOST:2379");
  if (given.newCluster === true && seeds.length > 0)
    refuse("newCluster", "an agent with seeds joins a cluster, it does not found one", "drop --seeds or --new-cluster");
  if (given.autoCompactionRetention !== undefined && !/^[1-9][0-9]{0,5}(s|m|h)$/.test(given.autoCompactionRetention)) {
    refuse("autoCompactionRetention", `${quote(given.autoCompactionRetention)} must be a duration like 10m`);
  }
  const advertiseClientUrls = advertised("advertiseClientUrls", given.advertiseClientUrls, clientUrls, "clientUrls", server);
  const advertiseServerUrls = advertised("advertiseServerUrls", given.advertiseServerUrls, serverUrls, "serverUrls", server);
  const policy = policyGiven(given);
  const chooser = chooserGiven(given.chooser);
  return Object.freeze({
    hostname,
    seeds,
    boot: bootGiven(given, hostname, advertiseServerUrls),
    expect: expectGiven(given, seeds, advertiseClientUrls),
    clientUrls,
    serverUrls,
    advertiseClientUrls,
    advertiseServerUrls,
    prefix: given.tmpPrefix === true ? undefined : (given.prefix ?? defaultPrefix(around)),
    server,
    idealClusterSize: whole("idealClusterSize", given.idealClusterSize ?? 5, 1, 1_000),
    keys: keysUnder(given.namespace ?? "/_mgmt"),
    zone: label("zone", given.zone ?? ""),
    priority: whole("priority", given.priority ?? 0, -1_000, 1_000),
    sessionTtlMs: whole("sessionTtlMs", given.sessionTtlMs ?? 10_000, 2_000, 600_000, " milliseconds"),
    policy: Object.freeze({ ...defaultClusterPolicy, ...policy, chooser: chooser.name }),
    given: Object.freeze({ policy: Object.freeze(policy), idealClusterSize: given.idealClusterSize }),
    chooser,
    convergedTimeoutMs: whole("convergedTimeoutMs", given.convergedTimeoutMs ?? 0, 0, longestMs, " milliseconds"),
    convergedExit: given.convergedExit ?? false,
    convergedStatusFile: given.convergedStatusFile === undefined ? undefined : resolvePath(given.convergedStatusFile),
    maxRuntimeMs: whole("maxRuntimeMs", given.maxRuntimeMs ?? 0, 0, longestMs, " milliseconds"),
    leaveOnTerminate: given.leaveOnTerminate ?? false,
    replica: given.replica ?? false,
    worldGroup: given.worldGroup,
    adopt: given.adopt ?? false,
    newCluster: given.newCluster ?? false,
    moved: given.moved ?? false,
    etcdBin: given.etcdBin,
    autoCompactionRetention: given.autoCompactionRetention ?? "10m",
    quotaBackendBytes: whole(
      "quotaBackendBytes",
      given.quotaBackendBytes ?? 4 * 1024 ** 3,
      16 * 1024 ** 2,
      64 * 1024 ** 3,
      " bytes",
    ),
    logger: given.logger,
    debug: given.debug ?? false,
  });
}
