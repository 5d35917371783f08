import { hostname as machineName, homedir, networkInterfaces, tmpdir } from "node:os";
import { isIP } from "node:net";
import { isAbsolute, join, resolve as resolvePath } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { QuorateError } from "../errors.ts";
import { isHostname, keysUnder, quote, type Keys } from "../keys.ts";
import { dynamicSize, whyNotWithin, type Chooser } from "../chooser/index.ts";
import { label, refuse, urls, whole } from "./option-checks.ts";
import type { AgentOptions } from "./options.ts";
import { assertAlone, noNetworkUrls } from "./no-network.ts";
import { bootGiven, expectGiven, ownSeed, type Boot } from "./resolve-begin.ts";
import {
  assertSchemes,
  autoTlsGiven,
  joinUrlsGiven,
  loginGiven,
  madeIn,
  tlsGiven,
  usualUrl,
  type AgentTls,
} from "./resolve-tls.ts";
import type { FileLogin } from "../etcd/index.ts";
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
  readonly tls: AgentTls;
  /** Its files are made, under the prefix. */
  readonly autoTls: boolean;
  readonly joinTokenFile: string | undefined;
  /** Where it gives certificates to others; none unless it does. */
  readonly joinUrls: readonly string[];
  /** Undefined: it logs in as nobody. */
  readonly login: FileLogin | undefined;
  /** Its server is at no port: URLs are names. */
  readonly noNetwork: boolean;
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
    certFile: text,
    keyFile: text,
    trustedCaFile: text,
    clientCertAuth: flag,
    peerCertFile: text,
    peerKeyFile: text,
    peerTrustedCaFile: text,
    peerClientCertAuth: flag,
    autoTls: flag,
    joinTokenFile: text,
    joinUrls: list,
    user: text,
    passwordFile: text,
    noNetwork: flag,
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
  const noNetwork = given.noNetwork ?? false;
  if (noNetwork) assertAlone(given);
  const clientUrls: readonly string[] = noNetwork
    ? [noNetworkUrls.client]
    : listenUrls("clientUrls", urls("clientUrls", given.clientUrls, [usualUrl("clients", given)]), "--advertise-client-urls");
  const serverUrls: readonly string[] = noNetwork
    ? [noNetworkUrls.server]
    : listenUrls("serverUrls", urls("serverUrls", given.serverUrls, [usualUrl("peers", given)]), "--advertise-server-urls");
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
  const prefix = given.tmpPrefix === true ? undefined : (given.prefix ?? defaultPrefix(around));
  const autoTls = autoTlsGiven(given);
  const tls = autoTls && prefix !== undefined ? madeIn(prefix) : tlsGiven(given);
  const boot = bootGiven(given, hostname, advertiseServerUrls);
  const expect = expectGiven(given, seeds, advertiseClientUrls);
  assertSchemes({ seeds, clientUrls, serverUrls, advertiseClientUrls, advertiseServerUrls }, tls, {
    server,
    insecure: noNetwork || given.insecure === true,
  });
  const policy = policyGiven(given);
  const chooser = chooserGiven(given.chooser);
  return Object.freeze({
    hostname,
    seeds,
    boot,
    expect,
    clientUrls,
    serverUrls,
    advertiseClientUrls,
    advertiseServerUrls,
    tls,
    autoTls,
    joinTokenFile: given.joinTokenFile === undefined ? undefined : resolvePath(given.joinTokenFile),
    joinUrls: autoTls && server ? joinUrlsGiven(given, serverUrls, advertiseServerUrls) : [],
    login: loginGiven(given),
    noNetwork,
    prefix,
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
