import { Agent, createServer, request as send, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import type { UserHandler } from "../config/config.ts";
import { handlerFor } from "./paths.ts";
import { splice } from "./splice.ts";

/** Headers that are about one connection alone. */
const ofConnection = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/** A server for connections that speak HTTP/1, which are given to it: handlers answer what is theirs, the etcd behind that socket the rest. */
export function http1Server(handlers: ReadonlyMap<string, UserHandler>, etcdSocket: string, log: Logger | undefined): Server {
  const agent = new Agent({ keepAlive: true });
  // A watch through etcd's gateway is one request that goes on.
  const server = createServer({ requestTimeout: 0 }, (request, response) => {
    const handler = handlerFor(handlers, request.url ?? "");
    if (handler === undefined) pass(request, response, etcdSocket, agent);
    else void answer(handler, request, response, log);
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const etcd = connect(etcdSocket);
    etcd.write(headOf(request));
    etcd.write(head);
    splice(socket, etcd);
  });
  server.on("close", () => agent.destroy());
  return server;
}

/** A handler that fails costs its own request. */
export async function answer(
  handler: UserHandler,
  request: IncomingMessage,
  response: ServerResponse,
  log: Logger | undefined,
): Promise<void> {
  try {
    await handler(request, response);
  } catch (error) {
    log?.error({ err: error, url: request.url }, "A handler failed");
    if (response.headersSent) response.destroy();
    else response.writeHead(500).end();
  }
}

function pass(request: IncomingMessage, response: ServerResponse, socketPath: string, agent: Agent): void {
  const { method, url, headers } = request;
  const etcd = send({ socketPath, agent, method, path: url, headers: withoutConnection(headers) });
  etcd.once("response", (answered) => {
    response.writeHead(answered.statusCode ?? 502, withoutConnection(answered.headers));
    response.flushHeaders();
    answered.pipe(response);
    answered.once("error", () => response.destroy());
  });
  etcd.once("error", () => {
    if (response.headersSent) response.destroy();
    else response.writeHead(502, { "content-type": "text/plain" }).end("etcd does not answer\n");
  });
  response.once("close", () => etcd.destroy());
  request.pipe(etcd);
}

function withoutConnection<T extends NodeJS.Dict<string | string[]>>(headers: T): T {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !ofConnection.includes(name))) as T;
}

/** What the client said, as it said it. */
function headOf({ method, url, rawHeaders }: IncomingMessage): string {
  const lines = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${rawHeaders[i + 1] ?? ""}`] : []));
  return [`${method ?? "GET"} ${url ?? "/"} HTTP/1.1`, ...lines, "", ""].join("\r\n");
}
