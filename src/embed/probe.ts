import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Clock } from "../clock.ts";
import { addressOf, isSecure, isUnix } from "./config/urls.ts";

const againMs = 20;

/** A certificate to show to a server that asks for one, PEM. */
export interface ShownCertificate {
  readonly cert: string;
  readonly key: string;
}

/**
 * Settles once whatever listens at that URL reacts: by an answer, or a TLS handshake that it goes through with or refuses. An etcd listens
 * before it serves, and says nothing until then; it also hangs up where it ends. Rejects with the signal's reason when aborted.
 */
export async function untilServing(url: string, clock: Clock, signal: AbortSignal, shown?: ShownCertificate): Promise<void> {
  while (!(await reacts(url, signal, shown))) await clock.sleep(againMs, signal);
}

/** False: nobody listens, or not any more. */
async function reacts(url: string, signal: AbortSignal, shown: ShownCertificate | undefined): Promise<boolean> {
  signal.throwIfAborted();
  const socket = connectTo(url);
  const cut = (): void => {
    socket.destroy();
  };
  signal.addEventListener("abort", cut);
  try {
    const reacted = await new Promise<boolean>((resolve) => {
      socket.once("error", () => resolve(false)).once("close", () => resolve(false));
      socket.once("connect", () => {
        if (isSecure(url)) {
          const secure = connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"], ...shown });
          secure.once("secureConnect", () => resolve(true));
          secure.once("error", ({ code = "" }: NodeJS.ErrnoException) => resolve(code.startsWith("ERR_SSL")));
        } else {
          socket.write("GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
          socket.once("data", () => resolve(true));
        }
      });
    });
    signal.throwIfAborted();
    return reacted;
  } finally {
    signal.removeEventListener("abort", cut);
    socket.destroy();
  }
}

/** Opens a connection to where an etcd with that URL to listen on listens. */
export function connectTo(url: string): Socket {
  if (isUnix(url)) return connectTcp({ path: socketPath(url) });
  const { host, port } = addressOf(url, "the URLs to listen on");
  return connectTcp({ host: reachable(host), port: Number(port) });
}

/** The file of a `unix://` URL as etcd makes it: all that follows, its port as well. */
export function socketPath(url: string): string {
  return url.replace(/^unixs?:\/\//, "");
}

/** Where what listens everywhere, or on `localhost`, is reached. */
function reachable(host: string): string {
  if (host === "0.0.0.0" || host === "localhost" || host === "") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}
