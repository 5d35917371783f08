import {
  type ClientHttp2Session,
  type Http2Server,
  type Http2Stream,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  Http2ServerRequest,
  Http2ServerResponse,
  connect as connectHttp2,
  constants,
  createServer,
} from "node:http2";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect } from "node:net";
import type { Logger } from "pino";
import type { UserHandler } from "../config/config.ts";
import { answer } from "./http1.ts";
import { handlerFor } from "./paths.ts";

/** Whose streams are routed where. */
export interface Http2Routes {
  readonly handlers: ReadonlyMap<string, UserHandler>;
  /** Paths of the methods that the services behind `serviceSocket` have. */
  readonly servicePaths: ReadonlySet<string>;
  readonly serviceSocket: string;
  readonly etcdSocket: string;
  readonly log: Logger | undefined;
}

/** Megabytes that one session may hold; Node's 10 are less than one caller's large answers. */
const sessionMemory = 1_024;
/** Bytes on their way to one stream before it must take them. */
const windowBytes = 1_024 * 1_024;
const settings = { initialWindowSize: windowBytes, maxConcurrentStreams: 2 ** 31 - 1 };

/** A server for connections that speak HTTP/2, which are given to it. Each has connections of its own to what is behind. */
export function http2Server(routes: Http2Routes): Http2Server {
  const server = createServer({ settings, maxSessionMemory: sessionMemory });
  const behind = new WeakMap<ServerHttp2Session, Behind>();
  server.on("session", (session) => {
    behind.set(session, new Behind(session));
    session.on("error", () => session.destroy());
  });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    const path = headers[":path"] ?? "";
    const isGrpc = headers["content-type"]?.startsWith("application/grpc") === true;
    const handler = isGrpc ? undefined : handlerFor(routes.handlers, path);
    if (handler !== undefined) {
      const request = new Http2ServerRequest(stream, headers, {}, []);
      const response = new Http2ServerResponse(stream);
      void answer(handler, request as unknown as IncomingMessage, response as unknown as ServerResponse, routes.log);
      return;
    }
    const session = stream.session;
    if (session === undefined || session.destroyed) return;
    const to = routes.servicePaths.has(path) ? routes.serviceSocket : routes.etcdSocket;
    pass(stream, headers, behind.get(session as ServerHttp2Session)!.session(to));
  });
  return server;
}

/** The connections that belong to one of a client: they live and die with it. */
class Behind {
  readonly #client: ServerHttp2Session;
  readonly #sessions = new Map<string, ClientHttp2Session>();

  constructor(client: ServerHttp2Session) {
    this.#client = client;
    client.once("close", () => {
      for (const session of this.#sessions.values()) session.destroy();
    });
  }

  session(socketPath: string): ClientHttp2Session {
    const open = this.#sessions.get(socketPath);
    if (open !== undefined && !open.closed && !open.destroyed) return open;
    const session = connectHttp2("http://localhost", {
      createConnection: () => connect(socketPath),
      settings: { initialWindowSize: windowBytes, enablePush: false },
      maxSessionMemory: sessionMemory,
    });
    this.#sessions.set(socketPath, session);
    session.on("error", () => session.destroy());
    // The client learns by its own connection that this one has gone, as it would without us.
    session.once("close", () => this.#client.destroy());
    session.once("goaway", () => this.#client.close());
    return session;
  }
}

function pass(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, session: ClientHttp2Session): void {
  const behind = session.request(headers, { endStream: false });
  let trailers: IncomingHttpHeaders = {};
  behind.once("response", (answered, flags) => {
    if (stream.destroyed) return;
    const isOver = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    // Without the date that Node adds: etcd has none.
    const how = { sendDate: false, ...(isOver ? { endStream: true } : { waitForTrailers: true }) };
    stream.respond(answered, how);
    if (!isOver) forward(behind, stream);
  });
  behind.once("trailers", (received: IncomingHttpHeaders) => (trailers = received));
  stream.once("wantTrailers", () => stream.sendTrailers(trailers));
  behind.once("error", () => undefined);
  behind.once("close", () => {
    if (behind.rstCode !== constants.NGHTTP2_NO_ERROR) stream.close(behind.rstCode);
    else if (!stream.headersSent) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  });
  stream.once("close", () => behind.close(stream.rstCode === constants.NGHTTP2_NO_ERROR ? undefined : stream.rstCode));
  forward(stream, behind);
}

/** As `pipe`, without what that does for streams of all kinds: most calls are one small message each way. */
function forward(from: Http2Stream, to: Http2Stream): void {
  from.on("data", (chunk: Buffer) => {
    if (to.destroyed || to.write(chunk)) return;
    from.pause();
    to.once("drain", () => from.resume());
  });
  from.once("end", () => {
    if (!to.destroyed) to.end();
  });
}
