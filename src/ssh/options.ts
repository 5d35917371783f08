import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { QuorateError } from "../errors.ts";

/** How to log in at one host. */
export interface SshLogin {
  readonly host: string;
  /** Default 22. */
  readonly port?: number;
  /** Default: the name of this process's user. */
  readonly user?: string;
  /**
   * Files with a private key that needs no passphrase. Default: `~/.ssh/id_ed25519`, `id_ecdsa` and `id_rsa`, as far as they are there
   * and need none.
   */
  readonly identity?: string | readonly string[];
  /** The socket of an ssh-agent, as in `SSH_AUTH_SOCK`; for keys with a passphrase. */
  readonly agent?: string;
  /** Where the keys of hosts are known. Default: `~/.ssh/known_hosts`, then `/etc/ssh/ssh_known_hosts`. */
  readonly knownHosts?: string | readonly string[];
  /** The one key of this host, in place of `knownHosts`: its fingerprint, `SHA256:...`, or all of it, `ssh-ed25519 AAAA...`. */
  readonly hostKey?: string;
}

/** The way to a network that cannot be reached from here: a host there that one can log in at, directly or through others. */
export interface SshOptions extends SshLogin {
  /**
   * Hosts to pass on the way, the one that is reached from here first; a text is `user@host:port`. What is not said of one is as for the
   * last host, but port, user and host key.
   */
  readonly jump?: string | SshLogin | readonly (string | SshLogin)[];
}

/** {@link SshLogin}, resolved: plain data without a secret, that another process may be given. */
export interface SshHop {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly identities: readonly string[];
  /** Nobody has named the identities: those that are not there, or have a passphrase, are passed over. */
  readonly usual: boolean;
  readonly agent?: string;
  readonly knownHosts: readonly string[];
  readonly hostKey?: string;
}

/** All hosts, in the order in which they are passed; endpoints are what the last one sees. */
export type SshRoute = readonly SshHop[];

const usualIdentities = ["id_ed25519", "id_ecdsa", "id_rsa"].map((name) => `~/.ssh/${name}`);
const usualKnownHosts = ["~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"];
const fingerprintForm = /^SHA256:[A-Za-z0-9+/]{43}=?$/;
const keyForm = /^[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}(?: .*)?$/;

/** @throws QuorateError INVALID_OPTION; nothing is contacted or read */
export function sshRoute(options: SshOptions): SshRoute {
  const { jump = [], ...last } = options;
  const { identity, agent, knownHosts } = last;
  const shared = {
    ...(identity === undefined ? {} : { identity }),
    ...(agent === undefined ? {} : { agent }),
    ...(knownHosts === undefined ? {} : { knownHosts }),
  };
  const jumps = (Array.isArray(jump) ? jump : [jump]) as readonly (string | SshLogin)[];
  const before = jumps.map((one) => (typeof one === "string" ? parseLogin(one, "jump") : one));
  return [...before.map((one) => hopOf({ ...shared, ...one }, "jump")), hopOf(last, "ssh")];
}

/** What `user@host:port` says, with or without `ssh://` before it. @throws QuorateError INVALID_OPTION */
export function parseLogin(text: string, option: string): SshLogin {
  const parts = /^(?:ssh:\/\/)?(?:([^@/\s]+)@)?(\[[0-9A-Fa-f:.]+\]|[^@:/?#\s[\]]+)(?::(\d{1,5}))?\/?$/.exec(text);
  if (parts === null) throw refused(option, `${JSON.stringify(text)} is not of the form ssh://USER@HOST:PORT`);
  const [, user, host = "", port] = parts;
  return {
    host: host.replace(/^\[|\]$/g, ""),
    ...(user === undefined ? {} : { user: decodeURIComponent(user) }),
    ...(port === undefined ? {} : { port: Number(port) }),
  };
}

/** `user@host:port`, for people. */
export function nameOf({ user, host, port }: Pick<SshHop, "user" | "host" | "port">): string {
  const name = host.includes(":") ? `[${host}]` : host;
  return `${user}@${name}${port === 22 ? "" : `:${port}`}`;
}

function hopOf(login: SshLogin, option: string): SshHop {
  const { host, port = 22, user = userInfo().username, identity, agent, knownHosts = usualKnownHosts, hostKey } = login;
  const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
  if (!isText(host) || /[\s@/]/.test(host)) throw refused(option, `its host is ${JSON.stringify(host)}, which is none`);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw refused(option, `its port is ${port}, which is none`);
  if (!isText(user)) throw refused(option, "its user is no name");
  const usual = identity === undefined;
  const identities = listOf(identity ?? usualIdentities);
  const files = listOf(knownHosts);
  if (![...identities, ...files].every(isText)) throw refused(option, "identity and knownHosts take paths of files");
  if (agent !== undefined && !isText(agent)) throw refused(option, "agent takes the path of a socket");
  if (hostKey !== undefined && !fingerprintForm.test(hostKey) && !keyForm.test(hostKey)) {
    throw refused(option, `its hostKey ${JSON.stringify(hostKey)} is neither like SHA256:... nor like ssh-ed25519 AAAA...`);
  }
  return {
    host,
    port,
    user,
    identities: identities.map(atHome),
    usual,
    ...(agent === undefined ? {} : { agent: atHome(agent) }),
    knownHosts: files.map(atHome),
    ...(hostKey === undefined ? {} : { hostKey }),
  };
}

function listOf(one: string | readonly string[]): readonly string[] {
  return typeof one === "string" ? [one] : one;
}

function atHome(path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : path;
}

function refused(option: string, state: string): QuorateError {
  return new QuorateError("INVALID_OPTION", `Cannot use ssh: ${option === "ssh" ? "" : `of ${option}, `}${state}`, {
    hint: 'like { host: "gate.example.org", user: "me", jump: "me@outer.example.org" }',
    data: { option },
  });
}
