import type { AgentOptions } from "../agent/options.ts";
import {
  isChooserName,
  policyFieldNames,
  policyFields,
  showDuration,
  showPolicyValue,
  type ClusterPolicy,
  type PolicyField,
} from "../agent/control/policy.ts";
import { whyNotWithin } from "../chooser/index.ts";
import { QuorateError } from "../errors.ts";
import { quote } from "../keys.ts";
import type { FileLogin, TlsFiles } from "../etcd/index.ts";
import type { SshOptions } from "../ssh/index.ts";
import { sshFlags, sshGiven } from "./options-ssh.ts";
import { loginFlags, loginGiven, tlsFilesGiven, tlsFlags } from "./options-tls.ts";

/** Every flag of the command line, and the only place that reads the environment. Rules that hold for the library too are in agent/resolve. */

export type Env = Readonly<Record<string, string | undefined>>;

/** The environment as it is now. */
export function environment(): Env {
  return { ...process.env };
}

/** npm started us: it may be gone before we are, without a word. */
export function isBelowNpm(env: Env): boolean {
  return env["npm_lifecycle_event"] !== undefined;
}

/** One flag: its name without dashes, its variable, and how its text becomes a value. */
export interface Flag<T> {
  readonly name: string;
  /** `-o` of `--output`. */
  readonly short?: string;
  /** What stands for the value in the help; absent for a switch. */
  readonly takes?: string;
  readonly many: boolean;
  readonly help: string;
  /** Throws an Error that says what is wrong with the text and what is right. */
  readonly read: (texts: readonly string[]) => T;
  /** Accepted, but not shown. */
  readonly hidden?: boolean;
}

/** Values of flags as commander collected them: texts in the order given, `true` for a switch. */
export type Given = Readonly<Record<string, readonly string[] | true | undefined>>;

const last = (texts: readonly string[]): string => texts.at(-1) ?? "";

const list = (texts: readonly string[]): string[] =>
  texts
    .flatMap((text) => text.split(","))
    .map((text) => text.trim())
    .filter((text) => text !== "");

const onOff = (texts: readonly string[]): boolean => {
  const text = last(texts).toLowerCase();
  if (["1", "true", "yes", "on"].includes(text)) return true;
  if (["0", "false", "no", "off"].includes(text)) return false;
  throw new Error(`${quote(last(texts))} is neither true nor false`);
};

const whole = (texts: readonly string[]): number => {
  const text = last(texts).trim();
  if (!/^-?[0-9]{1,15}$/.test(text)) throw new Error(`${quote(text)} is not a whole number`);
  return Number(text);
};

/** A whole number, 0 or more. */
export function wholeCount(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new Error(`${quote(text)} is not a whole number`);
  return Number(text);
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of `10s`, `500ms`, `2m`, `1h`; a bare number is seconds. */
export function parseDuration(text: string): number {
  const match = /^([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)?$/.exec(text.trim());
  if (!match) throw new Error(`${quote(text)} is not a duration like 10s, 500ms or 2m`);
  return Math.round(Number(match[1]) * (unitMs[match[2] ?? "s"] ?? 1_000));
}

const byteUnits: Readonly<Record<string, number>> = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** Bytes of `4294967296`, `512M`, `4G`, `4GiB`. */
export function parseBytes(text: string): number {
  const match = /^([0-9]{1,15})(K|M|G)?(?:iB|B)?$/.exec(text.trim());
  if (!match) throw new Error(`${quote(text)} is not a size in bytes like 512M or 4G`);
  return Number(match[1]) * (byteUnits[match[2] ?? ""] ?? 1);
}

const oneOf =
  <const T extends string>(...choices: readonly T[]) =>
  (texts: readonly string[]): T => {
    const found = choices.find((choice) => choice === last(texts));
    if (found === undefined) throw new Error(`${quote(last(texts))} is not one of ${choices.join(", ")}`);
    return found;
  };

/** `127.0.0.1:2379` is a URL to etcdctl, so it is one here. */
const endpointUrls = (texts: readonly string[]): string[] => {
  const urls = list(texts).map((text) => (text.includes("://") ? text : `http://${text}`));
  if (urls.length === 0) throw new Error("it names no endpoint");
  for (const url of urls) {
    if (!URL.canParse(url)) throw new Error(`${quote(url)} is not of the form http://HOST:PORT`);
  }
  return urls.map((url) => url.replace(/\/$/, ""));
};

type Detail = Pick<Flag<unknown>, "takes" | "short" | "hidden">;

const text = (name: string, takes: string, help: string): Flag<string> => ({ name, takes, many: false, help, read: last });
const urls = (name: string, help: string): Flag<string[]> => ({ name, takes: "URL,...", many: true, help, read: list });
const toggle = (name: string, help: string, detail: Detail = {}): Flag<boolean> => ({
  name,
  many: false,
  help,
  read: onOff,
  ...detail,
});
const number = (name: string, help: string): Flag<number> => ({ name, takes: "N", many: false, help, read: whole });
const time = (name: string, help: string): Flag<number> => ({
  name,
  takes: "TIME",
  many: false,
  help,
  read: (texts) => parseDuration(last(texts)),
});
const standbys = (help: string): Flag<0 | 1> => ({
  name: policyFields.standbys.flag,
  takes: "0|1",
  many: false,
  help,
  read: (texts) => (oneOf("0", "1")(texts) === "1" ? 1 : 0),
});

/** The flags of `quorate run`, by the option of `startAgent` that each one sets. */
export const agentFlags = {
  hostname: text("hostname", "NAME", "name of this host in the cluster (default: the machine's host name)"),
  seeds: urls("seeds", "client URLs of the cluster to join; without any, this agent founds one or continues its own"),
  initialCluster: text("initial-cluster", "NAME=URL,...", "found a cluster together with these hosts, by their server URLs"),
  initialClusterState: {
    name: "initial-cluster-state",
    takes: "new|existing",
    many: false,
    help: "existing: they are there already, and this host joins them (default: new)",
    read: oneOf("new", "existing"),
  } satisfies Flag<"new" | "existing">,
  initialClusterToken: text(
    "initial-cluster-token",
    "TEXT",
    "tells that cluster from another with the same addresses (default: quorate)",
  ),
  discovery: text("discovery", "URL", "found a cluster with those that are told the same token, of `quorate discovery create`"),
  discoveryEndpoints: urls("discovery-endpoints", "client URLs of the etcd that has the token of --discovery-token"),
  discoveryToken: text("discovery-token", "TOKEN", "the token there"),
  discoverySrv: text("discovery-srv", "DOMAIN", "found a cluster with the hosts that its SRV records _etcd-server._tcp name"),
  discoverySrvName: text("discovery-srv-name", "NAME", "what the names of these services end in, after a dash"),
  expect: number("expect", "found a cluster with so many of the seeds, which are all started with these same flags"),
  clientUrls: urls("client-urls", "where the server listens for clients (default: http://127.0.0.1:2379)"),
  serverUrls: urls("server-urls", "where the server listens for its peers (default: http://127.0.0.1:2380)"),
  advertiseClientUrls: urls("advertise-client-urls", "what clients are told to use (default: the client URLs)"),
  advertiseServerUrls: urls("advertise-server-urls", "what peers are told to use (default: the server URLs)"),
  prefix: text("prefix", "DIR", "folder for data and state (default: /var/lib/quorate for root, else ~/.local/state/quorate)"),
  tmpPrefix: toggle("tmp-prefix", "keep everything in a temporary folder that is removed at the end"),
  server: toggle("no-server", "never run a server here; any etcd will do as seed"),
  idealClusterSize: number("ideal-cluster-size", "seats to fill, written by the founder of a cluster only (default: 5)"),
  namespace: text("namespace", "KEY", "where Quorate's keys start (default: /_mgmt)"),
  zone: text("zone", "NAME", "seats are spread over zones"),
  priority: number("priority", "seats go to higher priorities first, -1000 to 1000 (default: 0)"),
  sessionTtlMs: time("session-ttl", "how long the keys of this agent outlive it, at least 2s (default: 10s)"),
  maxSeats: number(policyFields.maxSeats.flag, "founder's: seats that are filled at most, whatever the size (default: 7)"),
  standbys: standbys("founder's: learners kept in sync beyond the size, to step in at once (default: 0)"),
  strictReconfigCheck: toggle(
    policyFields.strictReconfigCheck.flag,
    "founder's: run etcd with its own check as well (slower growth)",
  ),
  evenVoters: toggle(
    policyFields.evenVoters.flag,
    "founder's: fill an even number of seats with voters, in place of a learner in the last one",
  ),
  stabilizationMs: time(
    policyFields.stabilizationMs.flag,
    "founder's: health of a learner, without a break, before it becomes a voter (default: 0s)",
  ),
  nomineeTimeoutMs: time(
    policyFields.nomineeTimeoutMs.flag,
    "founder's: when a nominee that has not started its server is given up (default: 60s)",
  ),
  stallTimeoutMs: time(
    policyFields.stallTimeoutMs.flag,
    "founder's: when a learner that is behind and stands still is given up (default: 60s)",
  ),
  restartGraceMs: time(
    policyFields.restartGraceMs.flag,
    "founder's: how long an agent that was stopped by SIGTERM keeps its seat (default: 5m)",
  ),
  convergedTimeoutMs: time(
    "converged-timeout",
    "a host is converged once nothing has happened there for so long: seat and server as wanted, cluster settled (default: 0s)",
  ),
  convergedExit: toggle("converged-exit", "end once all hosts are converged, as SIGTERM ends it; needs --converged-timeout"),
  convergedStatusFile: text(
    "converged-status-file",
    "FILE",
    "append a line, true or false, whenever it changes whether all hosts are converged",
  ),
  maxRuntimeMs: time("max-runtime", "end after so long, as SIGTERM ends it (default: never)"),
  replica: toggle("replica", "keep a copy of the World's keys warm under the prefix, for programs on this host"),
  worldGroup: text("world-group", "GROUP", "group whose programs may read that copy too"),
  adopt: toggle("adopt", "take over a cluster that Quorate did not found"),
  newCluster: toggle("new-cluster", "found a new cluster although this prefix belonged to one"),
  moved: toggle("moved", "this prefix was moved here from another machine, where nothing runs on it any more"),
  certFile: text(
    "cert-file",
    "FILE",
    "certificate for the client URLs, which then begin with https, and for what this agent asks",
  ),
  keyFile: text("key-file", "FILE", "its key"),
  trustedCaFile: text("trusted-ca-file", "FILE", "authorities that sign the certificates of client URLs and of clients"),
  clientCertAuth: toggle("client-cert-auth", "refuse clients that show no certificate of these authorities"),
  peerCertFile: text("peer-cert-file", "FILE", "certificate for the server URLs, which then begin with https"),
  peerKeyFile: text("peer-key-file", "FILE", "its key"),
  peerTrustedCaFile: text("peer-trusted-ca-file", "FILE", "authorities that sign the certificates of servers"),
  peerClientCertAuth: toggle("peer-client-cert-auth", "refuse peers that show no certificate of these authorities"),
  autoTls: toggle("auto-tls", "have all certificates made and renewed, under the prefix; who shows none is refused"),
  joinTokenFile: text("join-token-file", "FILE", "what `quorate token create` printed: to be given certificates by the cluster"),
  joinUrls: urls("join-urls", "https URLs at which this agent gives them (default: the port after the server URL's)"),
  user: loginFlags.user,
  passwordFile: loginFlags.passwordFile,
  noNetwork: toggle("no-network", "one agent alone: its server is behind unix sockets under the prefix, and at no port"),
  insecure: toggle("insecure", "allow plain http beyond loopback"),
  etcdBin: text("etcd-bin", "FILE", "the etcd to run (default: the managed store, then PATH)"),
  autoCompactionRetention: text("auto-compaction-retention", "TIME", "history that etcd keeps (default: 10m)"),
  quotaBackendBytes: {
    name: "quota-backend-bytes",
    takes: "BYTES",
    many: false,
    help: "largest database, like 512M or 4G (default: 4G)",
    read: (texts: readonly string[]) => parseBytes(last(texts)),
  } satisfies Flag<number>,
} as const satisfies { readonly [K in keyof AgentOptions]?: Flag<unknown> };

const levels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof levels)[number];

/** What else `quorate run` takes: how to log, and what people who come from mgmt type. */
export const logFlags = {
  level: {
    name: "log-level",
    takes: "LEVEL",
    many: false,
    help: `${levels.join(", ")} (default: info, on a terminal without what etcd says there)`,
    read: oneOf(...levels),
  },
  format: {
    name: "log-format",
    takes: "FORMAT",
    many: false,
    help: "pretty or json (default: pretty on a terminal)",
    read: oneOf("pretty", "json"),
  },
} as const satisfies Record<string, Flag<unknown>>;

/** Only `policy set` has it: which choosers an agent has is said by the program that starts it. */
export const chooserFlag = text(
  "chooser",
  "NAME",
  "what decides who holds a seat: dynamicsize, or the chooser of that name, which only some agents may have",
);

/** How this agent ends: its own, and nobody's policy. */
export const endFlags = {
  leaveOnTerminate: toggle(
    "leave-on-terminate",
    "SIGTERM and SIGHUP leave the cluster, as ^C does, in place of keeping the seat",
  ),
} as const satisfies Record<string, Flag<unknown>>;

/** What `quorate policy set` changes. All take a value: what is not given stays. */
export const policyFlags = {
  maxSeats: number(policyFields.maxSeats.flag, policyFields.maxSeats.means),
  standbys: standbys(policyFields.standbys.means),
  evenVoters: toggle(policyFields.evenVoters.flag, policyFields.evenVoters.means, { takes: "true|false" }),
  strictReconfigCheck: toggle(policyFields.strictReconfigCheck.flag, policyFields.strictReconfigCheck.means, {
    takes: "true|false",
  }),
  stabilizationMs: time(policyFields.stabilizationMs.flag, policyFields.stabilizationMs.means),
  nomineeTimeoutMs: time(policyFields.nomineeTimeoutMs.flag, policyFields.nomineeTimeoutMs.means),
  stallTimeoutMs: time(policyFields.stallTimeoutMs.flag, policyFields.stallTimeoutMs.means),
  restartGraceMs: time(policyFields.restartGraceMs.flag, policyFields.restartGraceMs.means),
} as const satisfies { readonly [F in PolicyField]: Flag<ClusterPolicy[F]> };

export const formats = ["table", "json", "yaml"] as const;
export type Format = (typeof formats)[number];

/** The flags of the commands that ask a cluster. */
export const clientFlags = {
  endpoints: {
    name: "endpoints",
    takes: "URL,...",
    many: true,
    help: "client URLs of the cluster (default: http://127.0.0.1:2379)",
    read: endpointUrls,
  },
  ...tlsFlags,
  ...loginFlags,
  ...sshFlags,
  namespace: agentFlags.namespace,
  output: {
    name: "output",
    short: "o",
    takes: "FORMAT",
    many: false,
    help: "table, json or yaml (default: table)",
    read: oneOf(...formats),
  },
} as const satisfies Record<string, Flag<unknown>>;

export const defaultEndpoints: readonly string[] = ["http://127.0.0.1:2379"];

/** The variable of a flag: `--session-ttl` is `QUORATE_SESSION_TTL`. */
export function variableOf(flag: Pick<Flag<unknown>, "name">): string {
  return `QUORATE_${flag.name.toUpperCase().replaceAll("-", "_")}`;
}

/**
 * The value of one flag: the command line's, else its variable's, else undefined. An empty variable counts as none.
 *
 * @throws QuorateError INVALID_OPTION that names the flag, or the variable if the value came from there.
 */
export function valueOf<T>(flag: Flag<T>, given: Given, env: Env): T | undefined {
  const typed = given[flag.name];
  const variable = env[variableOf(flag)];
  const texts = typed === true ? ["true"] : (typed ?? (variable === undefined || variable === "" ? undefined : [variable]));
  if (texts === undefined) return undefined;
  const from = typed === undefined ? variableOf(flag) : `--${flag.name}`;
  try {
    return flag.read(texts);
  } catch (cause) {
    throw new QuorateError("INVALID_OPTION", `Cannot use ${from}: ${(cause as Error).message}`, {
      data: { flag: flag.name, from },
    });
  }
}

/** What `quorate run` was asked to do. */
export interface RunSettings {
  readonly agent: Omit<AgentOptions, "logger" | "debug">;
  /** SIGTERM and SIGHUP leave. */
  readonly leaveOnTerminate: boolean;
  /** Undefined: not said. */
  readonly logLevel: LogLevel | undefined;
  readonly logFormat: "pretty" | "json" | undefined;
}

/** @throws QuorateError INVALID_OPTION that names the flag or the variable. */
export function runSettings(given: Given, env: Env): RunSettings {
  const agent: Record<string, unknown> = {};
  for (const [option, flag] of Object.entries(agentFlags) as [string, Flag<unknown>][]) {
    const value = valueOf(flag, given, env);
    if (value !== undefined) agent[option] = option === "server" ? value !== true : value;
  }
  return {
    agent,
    leaveOnTerminate: valueOf(endFlags.leaveOnTerminate, given, env) ?? false,
    logLevel: valueOf(logFlags.level, given, env),
    logFormat: valueOf(logFlags.format, given, env),
  };
}

/** What a command that asks a cluster was given. */
export interface ClientSettings {
  readonly endpoints: readonly string[];
  /** For endpoints with `https`. */
  readonly tls?: TlsFiles;
  /** For an etcd with authentication. */
  readonly login?: FileLogin;
  /** Where to log in, and see the endpoints from. */
  readonly ssh?: SshOptions;
  /** Folder of the agent of this host, where it is said. */
  readonly prefix?: string | undefined;
  readonly namespace: string;
  readonly output: Format;
}

/** @throws QuorateError INVALID_OPTION that names the flag or the variable. */
export function clientSettings(given: Given, env: Env): ClientSettings {
  const ssh = sshGiven(given, env);
  const tls = tlsFilesGiven((flag) => valueOf(flag, given, env));
  const login = loginGiven((flag) => valueOf(flag, given, env));
  return {
    endpoints: valueOf(clientFlags.endpoints, given, env) ?? defaultEndpoints,
    ...(tls === undefined ? {} : { tls }),
    ...(login === undefined ? {} : { login }),
    ...(ssh === undefined ? {} : { ssh }),
    prefix: valueOf(agentFlags.prefix, given, env),
    namespace: valueOf(clientFlags.namespace, given, env) ?? "/_mgmt",
    output: valueOf(clientFlags.output, given, env) ?? "table",
  };
}

/**
 * What of a policy was asked for. Variables do not count: a policy is changed by what is typed, not by what an agent beside it was
 * started with.
 *
 * @throws QuorateError INVALID_OPTION that names the flag.
 */
export function policyGiven(given: Given): Partial<ClusterPolicy> {
  const said = policyFieldNames.flatMap((field) => {
    const flag: Flag<number | boolean> = policyFlags[field];
    const value = valueOf(flag, given, {});
    if (value === undefined) return [];
    const why = whyNotWithin(value, policyFields[field].bound);
    if (why === undefined) return [[field, value] as const];
    const bounds = field.endsWith("Ms") ? timeBounds(policyFields[field].bound as readonly [number, number]) : why;
    throw new QuorateError("INVALID_OPTION", `Cannot use --${flag.name}: ${showPolicyValue(field, value)} ${bounds}`, {
      data: { flag: flag.name, from: `--${flag.name}` },
    });
  });
  const chooser = valueOf(chooserFlag, given, {});
  if (chooser !== undefined && !isChooserName(chooser)) {
    throw new QuorateError("INVALID_OPTION", `Cannot use --chooser: ${quote(chooser)} is no name of a chooser`, {
      data: { flag: "chooser", from: "--chooser" },
    });
  }
  return { ...Object.fromEntries(said), ...(chooser === undefined ? {} : { chooser }) };
}

function timeBounds([least, most]: readonly [number, number]): string {
  return `is not from ${showDuration(least)} to ${showDuration(most)}`;
}

/** `--client-urls` for the option `clientUrls`; undefined for what no flag sets. */
export function flagOf(option: string): string | undefined {
  const flag = (agentFlags as Readonly<Record<string, Flag<unknown>>>)[option];
  return flag && `--${flag.name}`;
}
