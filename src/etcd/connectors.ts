import { isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type * as Grpc from "@grpc/grpc-js";
import { grpc } from "./grpc.ts";
import type { LocalEnd } from "./local-end.ts";
import { readTls, type TlsFiles } from "./tls.ts";

/** What a channel connects with, and on which sockets. */
export interface Connectors {
  readonly credentials: Grpc.ChannelCredentials;
  readonly sockets: Set<Socket>;
  /** Those on which no response was accepted yet. */
  readonly unproved: Set<Socket>;
}

/**
 * Credentials that remember the sockets they are used on, because grpc gives no way to cut one. `end` is made ready for each. Each connection is made
 * with what the files for TLS hold then, where grpc would go on with what they held once; and no address is given as a server's name.
 */
export function connectorsFor(url: string, end: LocalEnd | undefined, tls: TlsFiles = {}): Connectors {
  const isSecure = url.startsWith("https:");
  const credentials = isSecure ? grpc.credentials.createSsl() : grpc.credentials.createInsecure();
  const sockets = new Set<Socket>();
  const unproved = new Set<Socket>();
  const create = credentials._createSecureConnector.bind(credentials);
  credentials._createSecureConnector = (...args) => {
    const connector = create(...args);
    const connect = connector.connect.bind(connector);
    connector.connect = (socket) => {
      sockets.add(socket);
      unproved.add(socket);
      socket.once("close", () => {
        sockets.delete(socket);
        unproved.delete(socket);
      });
      return isSecure ? secured(socket, url, tls) : connect(socket);
    };
    if (end !== undefined) connector.waitForReady = () => end.prepare();
    return connector;
  };
  return { credentials, sockets, unproved };
}

/** Rejects with why one side does not trust the other, as far as this one is told. */
async function secured(socket: Socket, url: string, tls: TlsFiles): Promise<{ readonly socket: Socket; readonly secure: true }> {
  const texts = await readTls(tls);
  const host = new URL(url).hostname.replace(/^\[|\]$/g, "");
  const name = isIP(host) === 0 ? { servername: host } : {};
  return await new Promise((resolve, reject) => {
    const secure = connectTls({ ...texts, ...name, host, socket, ALPNProtocols: ["h2"] }, () => {
      resolve({ socket: secure, secure: true });
    });
    secure.on("error", reject);
  });
}
