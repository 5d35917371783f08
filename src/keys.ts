import { QuorateError } from "./errors.ts";

/**
 * Every key Quorate reads or writes, built and parsed here and nowhere else (DESIGN: keys under the namespace, `/_mgmt`
 * by default, so that mgmt's own commands and data work).
 */
export interface Keys {
  /** Without a slash at the end. */
  readonly namespace: string;
  /** Peer URLs of an agent that offers to run a server. Lease of the agent. */
  readonly volunteer: Family;
  /** Client URLs of an agent that serves as a voter. Lease of the agent. */
  readonly endpoints: Family;
  /** Peer URLs of an agent that holds, or is to hold, a seat. The leader, fenced. */
  readonly nominated: Family;
  /** Decimal; anyone. */
  readonly idealClusterSize: string;
  /** JSON marker: schema version, cluster id, founded by. */
  readonly cluster: string;
  /** JSON: instance, versions, zone, priority, state. Lease of the agent. */
  readonly agents: Family;
  /** JSON: instance and member id of the seat. The leader, fenced. */
  readonly seats: Family;
  /** Election of the leader, by lease id in hex. */
  readonly leader: Family;
  readonly passedOver: Family;
  readonly leaving: Family;
  readonly restarting: Family;
  readonly preflight: Family;
  readonly paused: string;
  /** JSON: what the cluster keeps to, whoever leads. The founder, operators. */
  readonly policy: string;
  readonly lastSize: string;
  /** JSON: the policy that was last in force. The leader, fenced. */
  readonly lastPolicy: string;
  /** JSON: the leader's plan as of its last change: what it waits for and why. The leader, fenced. */
  readonly plan: string;
  /** JSON: the open member step. The leader, fenced. */
  readonly step: string;
  /** JSON: who asked for size 0, with `quorate size 0`; of the same revision as the size. */
  readonly closing: string;
  /** JSON: the cluster is closed; which agent ends last, and the former size. The leader, fenced. */
  readonly closed: string;
  /** JSON: the authorities that sign this cluster's certificates, sealed with a secret that only its agents have. */
  readonly authority: string;
  /** JSON: a join token, hashed, by its id. On a lease of its life. */
  readonly tokens: Family;
  /** JSON: step, because. By revision, in fixed-width decimal. The leader. */
  readonly events: Family;
  /** What every agent follows: nominations and Quorate's own keys without the events, of which there are many. */
  readonly control: readonly [KeyRange, KeyRange];
  /** Quorate's own keys without the events: two ranges for a whole look. */
  readonly ownWithoutEvents: readonly [KeyRange, KeyRange];
  /** Strings, and maps with an entry for each host. */
  readonly strings: StringKeys;
  /** Resources that hosts export to one another. */
  readonly exported: ExportedKeys;
  /** The scope of each exported resource that has another than the default one: of the host that exports it. */
  readonly scopes: ExportedKeys;
  readonly deploys: DeployKeys;
  /** `true` or `false`: whether what runs on a host is converged. Lease of whoever says so. */
  readonly converged: ConvergedKeys;
  /** Trees of files. */
  readonly fs: FsKeys;
  /** Locks by name; see etcd's concurrency package for what is below each. */
  readonly locks: Family;
  /** Elections by name, likewise. */
  readonly elections: Family;
  readonly scheduler: SchedulerKeys;
  /** What the World owns, in order: a replica holds these and nothing else. */
  readonly world: readonly KeyRange[];
  /** The smallest range that has all of {@link world}: for one watch. */
  readonly aroundWorld: KeyRange;
}

/** Keys from `start` up to but without `end`. */
export interface KeyRange {
  readonly start: string;
  readonly end: string;
}

/** A family of keys that end in one name. */
export interface Family extends KeyRange {
  readonly prefix: string;
  key(name: string): string;
  /** The name in a key of this family; undefined for any other key, also for one with a further slash. */
  nameIn(key: string): string | undefined;
}

/** `/strings/<name>`, and `/strings/<name>/<host>` of a map. */
export interface StringKeys extends KeyRange {
  str(name: string): string;
  entry(name: string, host: string): string;
  map(name: string): KeyRange;
  /** Undefined for any other key. `host` is undefined for a string. */
  parse(key: string): { readonly name: string; readonly host: string | undefined } | undefined;
}

/** Which resource: of that kind and name, by host `from`, for host `to` or, where that is undefined, for all. */
export interface ResourceId {
  readonly to: string | undefined;
  readonly from: string;
  readonly kind: string;
  readonly name: string;
}

/** `<to or *>/<from>/<kind>/<name>` below one prefix, or `<from>/<to or *>/<kind>/<name>`. */
export interface ExportedKeys extends KeyRange {
  key(id: ResourceId): string;
  parse(key: string): ResourceId | undefined;
  /** All whose first level is that host; undefined is `*`. */
  under(host: string | undefined): KeyRange;
}

/** `/deploy/<id>/payload`, `/deploy/<id>/hash` and `/deploy/<id>/root`; ids are decimal, from 1. */
export interface DeployKeys extends KeyRange {
  payload(id: number): string;
  hash(id: number): string;
  /** JSON: the tree of files that belongs to it, by its uri and root. */
  root(id: number): string;
  parse(key: string): { readonly id: number; readonly part: "payload" | "hash" | "root" } | undefined;
}

/**
 * Trees of files: `/fs/heads/<name>` and `/fs/log/<name>/<generation>`; apart from what replicas hold and follow `/blobs/pins/<pin>` and
 * `/blobs/objects/<address>`.
 */
export interface FsKeys {
  /** JSON: the present commit of a tree. */
  readonly heads: Family;
  /** JSON: every commit that is kept, by tree and generation (from 1, in 15 digits). */
  readonly log: KeyRange;
  commit(name: string, generation: number): string;
  /** Commits of one tree. */
  commits(name: string): KeyRange;
  parseCommit(key: string): { readonly name: string; readonly generation: number } | undefined;
  /** JSON: roots that somebody reads, or builds on. Lease of whoever does. */
  readonly pins: Family;
  /** Bytes, by what `engine/types.ts` calls an address. */
  readonly objects: Family;
  /** Lock of whoever deletes what nothing needs. */
  readonly collection: string;
}

/** `/converged/<host>` of an agent, and `/converged/<host>/<session>` of each program on that host, by its lease in hex. */
export interface ConvergedKeys extends KeyRange {
  key(host: string, session?: string): string;
  parse(key: string): { readonly host: string; readonly session: string | undefined } | undefined;
}

/** What is scheduled, by the name of what is scheduled (its namespace). */
export interface SchedulerKeys extends KeyRange {
  /** JSON: who takes part, and what is known of it. On its lease. */
  candidate(name: string, host: string): string;
  /** JSON: what its schedule keeps to. */
  options(name: string): string;
  /** That a host counts itself as scheduled. On its session's lease. */
  place(name: string, host: string): string;
  /** JSON: the schedule. The scheduler, fenced. */
  result(name: string): string;
  /** Election of the scheduler, by lease id in hex. */
  readonly schedulers: Family;
  /** All but the candidates. */
  readonly withoutCandidates: KeyRange;
  /** Results and schedulers. */
  readonly resultsOn: KeyRange;
  /** Undefined for any other key, those of the election too. */
  parse(key: string): SchedulerKey | undefined;
}

export type SchedulerKey =
  | { readonly of: "options" | "result"; readonly name: string; readonly host?: undefined }
  | { readonly of: "candidate" | "place"; readonly name: string; readonly host: string };

/** The first key behind all keys that start with `prefix`. */
export function endOf(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}

function family(prefix: string, encode = encodeName, decode = decodeName): Family {
  return {
    prefix,
    start: prefix,
    end: endOf(prefix),
    key: (name) => prefix + encode(name),
    nameIn: (key) => (key.startsWith(prefix) ? decode(key.slice(prefix.length)) : undefined),
  };
}

/** Percent-encodes what may not stand in one level of a key. Host names come out as they are. */
export function encodeName(name: string): string {
  return encodeURIComponent(name);
}

/** Undefined where the text is not what {@link encodeName} makes. */
export function decodeName(text: string): string | undefined {
  return decodeWith(encodeName, text);
}

/**
 * A name that people of the World choose, as one level of a key: slashes, percent signs and control characters are percent-encoded,
 * everything else comes out as it is, so that mgmt finds its own names.
 */
export function encodeLevel(name: string): string {
  return mayNeedEncoding.test(name) ? name.replace(needsEncoding, encodeURIComponent) : name;
}

/** Undefined where the text is not what {@link encodeLevel} makes. */
export function decodeLevel(text: string): string | undefined {
  // What was not valid UTF-8 arrives with such a mark.
  return text.includes("\ufffd") ? undefined : decodeWith(encodeLevel, text);
}

const needsEncoding = /[%/\u0000-\u001f\u007f]/g;
const mayNeedEncoding = new RegExp(needsEncoding.source);

function decodeWith(encode: (name: string) => string, text: string): string | undefined {
  if (text === "" || text.includes("/")) return undefined;
  try {
    const name = text.includes("%") ? decodeURIComponent(text) : text;
    return encode(name) === text ? name : undefined;
  } catch {
    return undefined;
  }
}

function stringKeys(prefix: string): StringKeys {
  return {
    ...rangeOf(prefix),
    str: (name) => prefix + encodeLevel(name),
    entry: (name, host) => `${prefix}${encodeLevel(name)}/${encodeLevel(host)}`,
    map: (name) => rangeOf(`${prefix}${encodeLevel(name)}/`),
    parse: (key) => {
      const [name, host, ...more] = levelsOf(key, prefix);
      if (name === undefined || more.length > 0) return undefined;
      return { name, host };
    },
  };
}

const everyone = "*";

function exportedKeys(prefix: string, first: "to" | "from"): ExportedKeys {
  const levelOf = (host: string | undefined): string => (host === undefined ? everyone : encodeLevel(host));
  return {
    ...rangeOf(prefix),
    key: ({ to, from, kind, name }) => {
      const [a, b] = first === "to" ? [to, from] : [from, to];
      return `${prefix}${levelOf(a)}/${levelOf(b)}/${encodeLevel(kind)}/${encodeLevel(name)}`;
    },
    parse: (key) => {
      const [a, b, kind, name, ...more] = levelsOf(key, prefix);
      const [to, from] = first === "to" ? [a, b] : [b, a];
      if (to === undefined || from === undefined || kind === undefined || name === undefined || more.length > 0) return undefined;
      return from === everyone ? undefined : { to: to === everyone ? undefined : to, from, kind, name };
    },
    under: (host) => rangeOf(`${prefix}${levelOf(host)}/`),
  };
}

function deployKeys(prefix: string): DeployKeys {
  return {
    ...rangeOf(prefix),
    payload: (id) => `${prefix}${id}/payload`,
    hash: (id) => `${prefix}${id}/hash`,
    root: (id) => `${prefix}${id}/root`,
    parse: (key) => {
      const match = key.startsWith(prefix) ? /^([1-9][0-9]{0,14})\/(payload|hash|root)$/.exec(key.slice(prefix.length)) : null;
      return match === null ? undefined : { id: Number(match[1]), part: match[2] as "payload" | "hash" | "root" };
    },
  };
}

function convergedKeys(prefix: string): ConvergedKeys {
  return {
    ...rangeOf(prefix),
    key: (host, session) => prefix + encodeLevel(host) + (session === undefined ? "" : `/${session}`),
    parse: (key) => {
      const [host, session, ...more] = levelsOf(key, prefix);
      if (host === undefined || !isHostname(host) || more.length > 0) return undefined;
      return session === undefined || /^[1-9a-f][0-9a-f]{0,15}$/.test(session) ? { host, session } : undefined;
    },
  };
}

/** In this order: whoever needs some of it mostly needs what is behind. */
function schedulerKeys(prefix: string): SchedulerKeys {
  const [candidates, options] = [`${prefix}candidates/`, `${prefix}options/`];
  const [places, results] = [`${prefix}places/`, `${prefix}results/`];
  const schedulers = family(`${prefix}schedulers/`);
  const two = (key: string, of: string): readonly [string, string] | undefined => {
    const [first, second, ...more] = levelsOf(key, of);
    return first === undefined || second === undefined || more.length > 0 ? undefined : [first, second];
  };
  const hostIn = (host: string, name: string, of: "candidate" | "place"): SchedulerKey | undefined => {
    // Nobody of another name may be told to be scheduled.
    return isHostname(host) ? { of, name, host } : undefined;
  };
  return {
    ...rangeOf(prefix),
    candidate: (name, host) => `${candidates}${encodeLevel(host)}/${encodeLevel(name)}`,
    options: (name) => options + encodeLevel(name),
    place: (name, host) => `${places}${encodeLevel(name)}/${encodeLevel(host)}`,
    result: (name) => results + encodeLevel(name),
    schedulers,
    withoutCandidates: { start: options, end: schedulers.end },
    resultsOn: { start: results, end: schedulers.end },
    parse: (key) => {
      if (key.startsWith(options) || key.startsWith(results)) {
        const isOptions = key.startsWith(options);
        const [name, ...more] = levelsOf(key, isOptions ? options : results);
        return name === undefined || more.length > 0 ? undefined : { of: isOptions ? "options" : "result", name };
      }
      const candidate = two(key, candidates);
      if (candidate !== undefined) return hostIn(candidate[0], candidate[1], "candidate");
      const place = two(key, places);
      return place === undefined ? undefined : hostIn(place[1], place[0], "place");
    },
  };
}

function fsKeys(namespace: string): FsKeys {
  const log = `${namespace}/fs/log/`;
  return {
    heads: family(`${namespace}/fs/heads/`, encodeLevel, decodeLevel),
    log: rangeOf(log),
    commit: (name, generation) => `${log}${encodeLevel(name)}/${`${generation}`.padStart(15, "0")}`,
    commits: (name) => rangeOf(`${log}${encodeLevel(name)}/`),
    parseCommit: (key) => {
      const [name, generation, ...more] = levelsOf(key, log);
      if (name === undefined || generation === undefined || more.length > 0 || !/^[0-9]{15}$/.test(generation)) return undefined;
      return Number(generation) === 0 ? undefined : { name, generation: Number(generation) };
    },
    pins: family(`${namespace}/blobs/pins/`),
    objects: family(`${namespace}/blobs/objects/`),
    collection: `${namespace}/fs/collection`,
  };
}

function rangeOf(prefix: string): KeyRange {
  return { start: prefix, end: endOf(prefix) };
}

/** The names in the levels of a key, all of them or none. */
function levelsOf(key: string, prefix: string): readonly string[] {
  if (!key.startsWith(prefix)) return [];
  const names: string[] = [];
  for (const level of key.slice(prefix.length).split("/")) {
    const name = decodeLevel(level);
    if (name === undefined) return [];
    names.push(name);
  }
  return names;
}

/** Folders of the World, in order. */
const worldFolders = ["converged", "deploy", "exported", "fs", "scheduler", "sessions", "strings"];

/**
 * All keys under one namespace.
 *
 * @throws QuorateError INVALID_OPTION unless the namespace is `/` and one or more levels of printable ASCII, at most 200 bytes.
 */
export function keysUnder(namespace: string): Keys {
  if (!/^(\/[!-.0-~]+)+$/.test(namespace) || namespace.length > 200) {
    throw new QuorateError(
      "INVALID_OPTION",
      `Cannot use the namespace ${JSON.stringify(namespace)}: it must be like /_mgmt (levels of printable characters, each behind a slash, 200 at most)`,
      { data: { option: "namespace" } },
    );
  }
  const own = `${namespace}/quorate/`;
  const events = family(`${own}events/`);
  const world = worldFolders.map((folder) => ({ start: `${namespace}/${folder}/`, end: endOf(`${namespace}/${folder}/`) }));
  return {
    namespace,
    volunteer: family(`${namespace}/volunteer/`),
    endpoints: family(`${namespace}/endpoints/`),
    nominated: family(`${namespace}/nominated/`),
    idealClusterSize: `${namespace}/chooser/dynamicsize/idealclustersize`,
    cluster: `${own}cluster`,
    agents: family(`${own}agents/`),
    seats: family(`${own}nominated/`),
    leader: family(`${own}leader/`),
    passedOver: family(`${own}passed-over/`),
    leaving: family(`${own}leaving/`),
    restarting: family(`${own}restarting/`),
    preflight: family(`${own}preflight/`),
    paused: `${own}paused`,
    policy: `${own}policy`,
    lastSize: `${own}last-size`,
    lastPolicy: `${own}last-policy`,
    plan: `${own}plan`,
    step: `${own}step`,
    closing: `${own}closing`,
    closed: `${own}closed`,
    authority: `${own}authority`,
    tokens: family(`${own}tokens/`),
    events,
    strings: stringKeys(`${namespace}/strings/`),
    exported: exportedKeys(`${namespace}/exported/`, "to"),
    scopes: exportedKeys(`${namespace}/sessions/scopes/`, "from"),
    deploys: deployKeys(`${namespace}/deploy/`),
    converged: convergedKeys(`${namespace}/converged/`),
    fs: fsKeys(namespace),
    locks: family(`${namespace}/sessions/locks/`, encodeLevel, decodeLevel),
    elections: family(`${namespace}/sessions/elections/`, encodeLevel, decodeLevel),
    scheduler: schedulerKeys(`${namespace}/scheduler/`),
    control: [
      { start: `${namespace}/nominated/`, end: events.start },
      { start: events.end, end: endOf(own) },
    ],
    ownWithoutEvents: [
      { start: own, end: events.start },
      { start: events.end, end: endOf(own) },
    ],
    world,
    aroundWorld: { start: world[0]!.start, end: world.at(-1)!.end },
  };
}

/** What a value of the size key means. `0` is the orderly shutdown. */
export type SizeValue = { readonly size: number } | { readonly refused: string };

/** Reads the size key as anyone may have written it: decimal digits, nothing around them, 0 to 1,000. */
export function parseSize(text: string): SizeValue {
  if (!/^(0|[1-9][0-9]*)$/.test(text)) return { refused: `${quote(text)} is not a whole number` };
  const size = Number(text);
  return size > 1_000 ? { refused: `${quote(text)} is more than 1000` } : { size };
}

/** A foreign value, fit for one log line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

/** A host name as Quorate accepts it: `[A-Za-z0-9._-]`, at most 253 characters. */
export function isHostname(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,253}$/.test(text) && text !== "." && text !== "..";
}

/** URLs that were looked at and are fit: every look and every ring asks for the same few. */
const fit = new Set<string>();
const mostFit = 500;

/** URLs of one agent as its keys hold them: at most 8, 4 KB, `http` or `https`, host and port, no user info, no path. */
export function parseUrls(text: string): { readonly urls: readonly string[] } | { readonly refused: string } {
  if (text.length > 4_096) return { refused: `the list of URLs has ${text.length} characters, at most 4096 are allowed` };
  const parts = text.split(",");
  if (parts.length > 8) return { refused: `there are ${parts.length} URLs, at most 8 are allowed` };
  for (const part of parts) {
    if (fit.has(part)) continue;
    const refused = whyNotUrl(part);
    if (refused !== undefined) return { refused };
    if (fit.size >= mostFit) fit.clear();
    fit.add(part);
  }
  return { urls: parts };
}

/** Why a text is not a URL that may be handed to etcd, or undefined when it is one. */
export function whyNotUrl(text: string): string | undefined {
  // Exactly scheme://host:port, as etcd writes it: what a URL parser would forgive or normalise is refused.
  const match = /^(https?):\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$/.exec(text);
  // It is told to people: a password that somebody wrote there is not.
  if (!match) return `${quote(text.replace(/\/\/[^/]*@/, "//…@"))} is not of the form http://HOST:PORT`;
  const [, , host = "", digits = ""] = match;
  const port = Number(digits);
  if (port < 1 || port > 65_535 || digits.startsWith("0")) return `${quote(text)} has no valid port`;
  if (!URL.canParse(text)) return `${quote(text)} is not a URL`;
  // 2130706433 and 0x7f.1 are 127.0.0.1 to some programs and names to others: all must reach the same host.
  if (!host.startsWith("[") && new URL(text).hostname !== host.toLowerCase())
    return `${quote(text)} has a host that is not written plainly`;
  return undefined;
}
