import { QuorateError } from "../errors.ts";
import { parseLogin, type SshOptions } from "../ssh/index.ts";
import { valueOf, type Env, type Flag, type Given } from "./options.ts";

const list = (texts: readonly string[]): string[] =>
  texts
    .flatMap((text) => text.split(","))
    .map((text) => text.trim())
    .filter((text) => text !== "");

const last = (texts: readonly string[]): string => texts.at(-1) ?? "";

/** How a cluster is reached that only another host reaches. Of the commands that ask one. */
export const sshFlags = {
  sshUrl: {
    name: "ssh-url",
    takes: "URL",
    many: false,
    help: "log in at ssh://USER@HOST:PORT: the endpoints are what that host sees",
    read: last,
  },
  sshJump: {
    name: "ssh-jump",
    takes: "HOST,...",
    many: true,
    help: "hosts USER@HOST:PORT to pass on the way there, as with ssh -J",
    read: list,
  },
  sshIdentity: {
    name: "ssh-identity",
    takes: "FILE,...",
    many: true,
    help: "private keys, as with ssh -i (default: those of SSH_AUTH_SOCK, and of ~/.ssh)",
    read: list,
  },
  sshKnownHosts: {
    name: "ssh-known-hosts",
    takes: "FILE,...",
    many: true,
    help: "where host keys are known (default: ~/.ssh/known_hosts)",
    read: list,
  },
  sshHostKey: {
    name: "ssh-host-key",
    takes: "KEY",
    many: false,
    help: "SHA256:... of the key of the host in --ssh-url, in place of known hosts",
    read: last,
  },
} as const satisfies Record<string, Flag<unknown>>;

/**
 * The way that was asked for; undefined: directly. The agent of the environment counts where no identity is named.
 *
 * @throws QuorateError INVALID_OPTION that names the flag or the variable.
 */
export function sshGiven(given: Given, env: Env): SshOptions | undefined {
  const url = valueOf(sshFlags.sshUrl, given, env);
  if (url === undefined) {
    const alone = Object.values(sshFlags).find(({ name }) => given[name] !== undefined);
    if (alone === undefined) return undefined;
    throw new QuorateError("INVALID_OPTION", `Cannot use --${alone.name}: there is no --ssh-url`, {
      data: { flag: alone.name, from: `--${alone.name}` },
    });
  }
  const [jump, identity, knownHosts] = [sshFlags.sshJump, sshFlags.sshIdentity, sshFlags.sshKnownHosts].map((flag) =>
    valueOf(flag, given, env),
  );
  const hostKey = valueOf(sshFlags.sshHostKey, given, env);
  const agent = env["SSH_AUTH_SOCK"];
  return {
    ...parseLogin(url, "--ssh-url"),
    ...(jump === undefined ? {} : { jump: jump.map((one) => parseLogin(one, "--ssh-jump")) }),
    ...(identity === undefined ? {} : { identity }),
    ...(agent === undefined || agent === "" || identity !== undefined ? {} : { agent }),
    ...(knownHosts === undefined ? {} : { knownHosts }),
    ...(hostKey === undefined ? {} : { hostKey }),
  };
}
