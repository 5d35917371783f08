import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type Http2Server,
  type Http2Stream,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerStreamResponseOptions,
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

/** One call, handed on: what comes of it at once goes on at once, so that a small message, its headers and its trailers are one write. */
function pass(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, session: ClientHttp2Session): void {
  let behind: ClientHttp2Stream | undefined;
  gather(stream, (first, isOver) => {
    if (stream.destroyed || session.destroyed) return stream.close(constants.NGHTTP2_CANCEL);
    behind = session.request(headers, { endStream: isOver && first === undefined });
    answerWith(stream, behind);
    if (!(isOver && first === undefined)) handOn(stream, behind, first, isOver);
  });
  stream.on("close", () => behind?.close(stream.rstCode === constants.NGHTTP2_NO_ERROR ? undefined : stream.rstCode));
}

function answerWith(stream: ServerHttp2Stream, behind: ClientHttp2Stream): void {
  let trailers: IncomingHttpHeaders = {};
  behind.on("response", (answered, flags) => {
    if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) {
      if (!stream.destroyed) stream.respond(answered, withoutDate({ endStream: true }));
      return;
    }
    gather(behind, (first, isOver) => {
      if (stream.destroyed) return;
      stream.respond(answered, withoutDate({ waitForTrailers: true }));
      handOn(behind, stream, first, isOver);
    });
  });
  behind.on("trailers", (received: IncomingHttpHeaders) => (trailers = received));
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  behind.on("error", () => undefined);
  behind.on("close", () => {
    if (behind.rstCode !== constants.NGHTTP2_NO_ERROR) stream.close(behind.rstCode);
    else if (!stream.headersSent) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  });
}

/** Node adds a date that etcd has not. The types do not know it. */
function withoutDate(options: ServerStreamResponseOptions): ServerStreamResponseOptions {
  return { ...options, sendDate: false } as ServerStreamResponseOptions;
}

/** Waits for what a stream says until this turn is over, or it has ended. */
function gather(from: Http2Stream, then: (first: Buffer | undefined, isOver: boolean) => void): void {
  let first: Buffer | undefined;
  const go = (isOver: boolean): void => {
    clearImmediate(later);
    from.off("data", take);
    from.off("end", end);
    then(first, isOver);
  };
  const take = (chunk: Buffer): void => {
    first = first === undefined ? chunk : Buffer.concat([first, chunk]);
  };
  const end = (): void => {
    go(true);
  };
  const later = setImmediate(() => {
    from.pause();
    go(false);
  });
  from.on("data", take).on("end", end);
}

/** As `pipe`, without what that does for streams of all kinds. */
function handOn(from: Http2Stream, to: Http2Stream, first: Buffer | undefined, isOver: boolean): void {
  if (isOver) {
    if (first === undefined) to.end();
    else to.end(first);
    return;
  }
  const send = (chunk: Buffer): void => {
    if (to.destroyed || to.write(chunk)) return;
    from.pause();
    to.once("drain", () => from.resume());
  };
  from.on("data", send);
  from.on("end", () => {
    if (!to.destroyed) to.end();
  });
  if (first !== undefined) send(first);
  if (!to.writableNeedDrain) from.resume();
}
