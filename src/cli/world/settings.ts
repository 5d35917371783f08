import { QuorateError } from "../../errors.ts";
import type { ResourceFilter, WriteOptions } from "../../world/index.ts";
import { own } from "../command-words.ts";
import {
  agentFlags,
  clientFlags,
  clientSettings,
  defaultEndpoints,
  parseDuration,
  valueOf,
  variableOf,
  wholeCount,
  type ClientSettings,
  type Env,
  type Flag,
  type Given,
} from "../options.ts";
import { sshFlags } from "../options-ssh.ts";

/** The flags of the World's commands, and what they say. */

const counted = (name: string, takes: string, help: string): Flag<number> => ({
  ...own(name, takes, help),
  read: (texts) => wholeCount(texts.at(-1) ?? ""),
});

export const flags = {
  prefix: { ...agentFlags.prefix, help: "folder of an agent on this host: its cluster and hostname are meant" },
  hostname: { ...agentFlags.hostname, help: "who this is (default: the agent's with --prefix, else the machine's host name)" },
  ttl: {
    ...own("ttl", "TIME", "vanish after that time unless written again, at least 2s (default: for ever)"),
    read: (texts) => {
      const seconds = parseDuration(texts.at(-1) ?? "") / 1_000;
      if (seconds < 2) throw new Error("it has to be 2s at least");
      return Math.ceil(seconds);
    },
  } satisfies Flag<number>,
  ifRevision: counted("if-revision", "N", "only where it was last written at this revision; 0: only where there is none"),
  ifAbsent: own("if-absent", undefined, "only where there is none"),
  to: own("to", "HOST", "for that host alone (default: for everyone)"),
  scope: own("scope", "NAME", "what belongs together for --replace (default: default)"),
  replace: own("replace", undefined, "delete what this host exported in the scope before, and does not export now"),
  file: own("file", "FILE", 'a JSON list of { "kind", "name", "value", "to" }, `-` for standard input'),
  kind: own("kind", "KIND", "only of that kind"),
  name: own("name", "NAME", "only of that name"),
  from: own("from", "HOST", "only what that host exported"),
  hash: own("hash", "HASH", "what names its content, for the chain"),
  parent: own("parent", "HASH", "the hash that the deploy before it has to have (default: not checked)"),
  tree: own("tree", "URI", "the tree of files that belongs to it, as it is now: a name, or a URI (default: none)"),
  id: counted("id", "N", "its id, which has to be the next one (default: the next one)"),
  keep: counted("keep", "N", "how many of the newest stay, 1 at least"),
} as const satisfies Record<string, Flag<unknown>>;

/** Every command of the World has these. */
export const commonFlags = [...Object.values(clientFlags), flags.prefix, flags.hostname];

export interface WorldSettings extends Omit<ClientSettings, "endpoints"> {
  /** Undefined: those of the agent. */
  readonly endpoints: readonly string[] | undefined;
  readonly prefix: string | undefined;
  readonly hostname: string | undefined;
}

/**
 * Where the World is, and who asks. Of endpoints and prefix, what was typed counts more than what a variable says of the other one.
 *
 * @throws QuorateError INVALID_OPTION that names the flag or the variable.
 */
export function worldSettings(given: Given, env: Env): WorldSettings {
  const isTyped = ({ name }: Flag<unknown>): boolean => given[name] !== undefined;
  const typed = { endpoints: isTyped(clientFlags.endpoints) || isTyped(sshFlags.sshUrl), prefix: isTyped(flags.prefix) };
  const endpoints = valueOf(clientFlags.endpoints, given, typed.prefix ? {} : env);
  const prefix = valueOf(flags.prefix, given, typed.endpoints ? {} : env);
  const { tls, login, ssh, namespace, output } = clientSettings(given, typed.prefix ? withoutSsh(env) : env);
  if (ssh !== undefined && prefix !== undefined) throw exclude("--ssh-url and --prefix, which is an agent's on this host,");
  return {
    ...(tls === undefined ? {} : { tls }),
    ...(login === undefined ? {} : { login }),
    ...(ssh === undefined ? {} : { ssh }),
    namespace,
    output,
    endpoints: endpoints ?? (prefix === undefined ? defaultEndpoints : undefined),
    prefix,
    hostname: valueOf(flags.hostname, given, env),
  };
}

function withoutSsh(env: Env): Env {
  return { ...env, [variableOf(sshFlags.sshUrl)]: undefined };
}

/** What is on condition. Only what is typed counts. @throws QuorateError INVALID_OPTION */
export function writeOptions(given: Given): Pick<WriteOptions, "ifRevision" | "ifAbsent" | "lease"> {
  const ttl = valueOf(flags.ttl, given, {});
  const ifRevision = valueOf(flags.ifRevision, given, {});
  const ifAbsent = given[flags.ifAbsent.name] === true;
  if (ifAbsent && ifRevision !== undefined) throw exclude("--if-absent and --if-revision");
  return {
    ...(ttl === undefined ? {} : { lease: { ttl } }),
    ...(ifRevision === undefined ? {} : { ifRevision }),
    ...(ifAbsent ? { ifAbsent } : {}),
  };
}

/** Only what is typed counts: a variable that somebody has for something else hides nothing. */
export function filterGiven(given: Given): ResourceFilter {
  const [kind, name, host] = [flags.kind, flags.name, flags.from].map((flag) => valueOf(flag, given, {}));
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(name === undefined ? {} : { name }),
    ...(host === undefined ? {} : { host }),
  };
}

export function exclude(both: string): QuorateError {
  return new QuorateError("INVALID_OPTION", `Cannot do that: ${both} exclude each other`);
}
