import { connect } from "node:net";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import ssh2 from "ssh2";
import type { Client, ClientChannel } from "ssh2";
import { raced } from "../clock.ts";
import { messageOf, QuorateError } from "../errors.ts";
import { identityOf } from "./identity.ts";
import { fingerprint, hostKeysOf, typeOf } from "./known-hosts.ts";
import type { HostKeys } from "./known-hosts.ts";
import { nameOf, type SshHop, type SshRoute } from "./options.ts";

/** Logged in at every host of a route, each through the one before. It is over with the first of them. */
export interface Chain {
  /** At the last host. */
  readonly client: Client;
  readonly socket: Socket;
  /** Says goodbye as far as that goes at once, and is gone. Idempotent. */
  readonly cut: () => void;
}

/** Why a host does not open a channel; of RFC 4254, 5.1. */
const prohibited = 1;

/**
 * @throws QuorateError UNREACHABLE; DENIED (none of the keys is accepted, a host passes nobody on); WRONG_HOST_KEY; the signal's reason.
 *   Nothing is left then.
 */
export async function openChain(route: SshRoute, signal: AbortSignal): Promise<Chain> {
  const clients: Client[] = [];
  const [first] = route;
  if (first === undefined) throw new RangeError("A route has one host at least");
  signal.throwIfAborted();
  const socket = connect({ host: first.host, port: first.port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000 });
  const cut = (): void => {
    for (const client of clients.toReversed()) client.end();
    socket.destroy();
  };
  try {
    await raced(connected(socket, first), signal);
    let stream: Duplex = socket;
    for (const [n, hop] of route.entries()) {
      const client = new ssh2.Client();
      clients.push(client);
      // Of a host behind another only the end is told, and nothing is closed.
      client.once("end", cut);
      client.once("close", cut);
      await raced(logIn(client, stream, hop), signal);
      const next = route[n + 1];
      if (next === undefined) return { client, socket, cut };
      stream = await raced(passedOn(client, hop, next), signal);
    }
    throw new RangeError("A route has one host at least");
  } catch (error) {
    cut();
    throw error;
  }
}

/** A stream of bytes to where an endpoint serves, as the last host sees it. @throws QuorateError UNREACHABLE, DENIED */
export function forwarded({ client }: Chain, last: SshHop, url: string): Promise<ClientChannel> {
  const { host, port } = placeOf(url);
  return channelTo(client, host, port, (reason, text) => {
    const isRefusal = reason === prohibited;
    const state = isRefusal ? `${nameOf(last)} does not forward to it` : `${nameOf(last)} does not get there`;
    return new QuorateError(isRefusal ? "DENIED" : "UNREACHABLE", `Cannot reach ${url}: ${state}`, {
      retryable: !isRefusal,
      cause: new Error(text),
      ...(isRefusal
        ? { hint: `See AllowTcpForwarding and PermitOpen of sshd on ${last.host}, and the options of the key there` }
        : {}),
      data: { endpoint: url, outcome: "none", reason: /refused/i.test(text) ? `ECONNREFUSED (${text})` : text },
    });
  });
}

/** etcd's port where none is named. */
export function placeOf(url: string): { readonly host: string; readonly port: number } {
  const [, host = "", port = "2379"] = /^https?:\/\/(\[[^\]]*\]|[^:/]*)(?::(\d+))?/.exec(url) ?? [];
  return { host: host.replace(/^\[|\]$/g, ""), port: Number(port) };
}

function connected(socket: Socket, hop: SshHop): Promise<void> {
  return new Promise((resolve, reject) => {
    // Whatever ends it later is told by its close.
    socket.on("error", (cause) => {
      reject(outOfReach(hop, "it cannot be reached", firstOf(cause)));
    });
    socket.once("connect", () => resolve());
  });
}

/** A name with several addresses has one error for each. */
function firstOf(error: Error): Error {
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : [];
  return first instanceof Error ? first : error;
}

async function logIn(client: Client, stream: Duplex, hop: SshHop): Promise<void> {
  const [keys, { methods, names }] = [await hostKeysOf(hop), await identityOf(hop)];
  let refused: QuorateError | undefined;
  let agentFailed: Error | undefined;
  await new Promise<void>((resolve, reject) => {
    client.once("ready", () => resolve());
    client.once("close", () => reject(refused ?? outOfReach(hop, "it ended the connection")));
    client.on("error", (error: Error & { level?: string }) => {
      if (error.level === "agent") agentFailed = error;
      else if (error.level === "client-authentication") reject(noneAccepted(hop, names, agentFailed ?? error));
      else reject(refused ?? outOfReach(hop, "there is no ssh to be had", error));
    });
    client.connect({
      sock: stream,
      username: hop.user,
      authHandler: [...methods],
      algorithms: { serverHostKey: [...keys.algorithms] },
      // Whoever waits has a deadline of its own, and silence is noticed by what goes through the tunnel.
      readyTimeout: 0,
      keepaliveInterval: 0,
      hostVerifier: (key: Buffer) => {
        if (keys.accepts(key)) return true;
        refused = wrongHostKey(hop, key, keys);
        return false;
      },
    });
  });
}

/** From one host to the next. */
function passedOn(client: Client, hop: SshHop, next: SshHop): Promise<ClientChannel> {
  return channelTo(client, next.host, next.port, (reason, text) => {
    if (reason !== prohibited) return outOfReach(next, `${nameOf(hop)} does not get there`, new Error(text));
    return new QuorateError("DENIED", `Cannot log in at ${nameOf(next)}: ${nameOf(hop)} does not forward to it`, {
      cause: new Error(text),
      hint: `See AllowTcpForwarding and PermitOpen of sshd on ${hop.host}, and the options of the key there`,
      data: { outcome: "none" },
    });
  });
}

function channelTo(
  client: Client,
  host: string,
  port: number,
  failure: (reason: number | undefined, text: string) => QuorateError,
): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    const done = (error: (Error & { reason?: number | string }) | undefined, channel: ClientChannel): void => {
      if (error === undefined) {
        resolve(channel);
        return;
      }
      const text = error.message.replace(/^\(SSH\) Channel open failure: /, "");
      reject(failure(typeof error.reason === "number" ? error.reason : undefined, text));
    };
    try {
      client.forwardOut("127.0.0.1", 0, host, port, done);
    } catch (error) {
      reject(failure(undefined, messageOf(error)));
    }
  });
}

function outOfReach(hop: SshHop, state: string, cause?: Error): QuorateError {
  return new QuorateError("UNREACHABLE", `Cannot log in at ${nameOf(hop)}: ${state}`, {
    retryable: true,
    cause,
    data: { outcome: "none", reason: cause?.message ?? state },
  });
}

function noneAccepted(hop: SshHop, names: readonly string[], cause: Error): QuorateError {
  return new QuorateError("DENIED", `Cannot log in at ${nameOf(hop)}: it accepts none of ${names.join(", ")}`, {
    cause,
    hint: `Add one of them to ~/.ssh/authorized_keys of ${hop.user} there, or name another key`,
    data: { outcome: "none" },
  });
}

function wrongHostKey(hop: SshHop, key: Buffer, { known, from }: HostKeys): QuorateError {
  const shown = fingerprint(key);
  const state = known.length > 0 ? `and its key is ${known.join(" or ")}, says ${from}` : `and none is known for it in ${from}`;
  return new QuorateError(
    "WRONG_HOST_KEY",
    `Cannot log in at ${nameOf(hop)}: it shows the host key ${shown} (${typeOf(key)}), ${state}`,
    {
      hint:
        known.length > 0
          ? "Somebody may be listening in: only if that host has a new key, note it in place of the old one"
          : "Compare it with what `ssh-keygen -lf` says of the key on that host; then log in once with ssh, or name it (hostKey, --ssh-host-key)",
      data: { outcome: "none", host: hop.host, port: hop.port, shown, known },
    },
  );
}
