import type { Server as Http1Server } from "node:http";
import type { Http2Server } from "node:http2";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import type { Config } from "../config/config.ts";
import { addressOf, isSecure, isUnix } from "../config/urls.ts";
import { socketPath } from "../probe.ts";
import { http1Server } from "./http1.ts";
import { http2Server } from "./http2.ts";
import { preface } from "./frames.ts";
import { Literals } from "./literals.ts";
import { untilFirstCall } from "./opening.ts";
import { passUntil } from "./passage.ts";
import type { Services } from "./services.ts";
import { splice } from "./splice.ts";
import { ClientTLS } from "./tls.ts";

const http2Begins = preface.slice(0, 3);
/** Every client of gRPC says it with its first call. */
const grpc = new Literals(["application/grpc"]);
/** A client that is told to make a call elsewhere connects at once. */
const returnsWithinMs = 30_000;

export interface FrontOptions {
  readonly log: Logger | undefined;
  readonly clock: Clock;
}

/**
 * Listens on the client URLs in etcd's place: handlers and services of the program answer what is theirs, etcd, on a private socket, all
 * else. A connection whose first call is etcd's is handed through as it is for as long as its calls are.
 */
export class Front {
  /** What etcd is to listen on, in its working folder: etcd 3.4 takes no other. */
  readonly etcdUrl = "unix://etcd:0";
  readonly folder: string;
  readonly #etcdSocket: string;
  readonly #services: Services | undefined;
  readonly #http1: Http1Server;
  readonly #http2: Http2Server | undefined;
  readonly #tls: ClientTLS | undefined;
  readonly #log: Logger | undefined;
  readonly #clock: Clock;
  /** What the paths of handlers and services begin with. */
  readonly #ours: Literals;
  /** Addresses of clients whose next connection is for more than etcd, and until when they are expected. */
  readonly #returning = new Map<string, number>();
  readonly #servers: (Server | TlsServer)[] = [];
  readonly #open = new Set<Socket | Duplex>();
  readonly #serves: Promise<void>;
  /** To be called once etcd serves: what was said until then is heard then. */
  serve: () => void = () => undefined;

  private constructor(config: Config, folder: string, services: Services | undefined, { log, clock }: FrontOptions) {
    const handlers = new Map(Object.entries(config.userHandlers));
    this.folder = folder;
    this.#services = services;
    this.#log = log;
    this.#clock = clock;
    this.#ours = new Literals([...handlers.keys(), ...[...(services?.paths ?? [])].map(serviceOf)]);
    this.#etcdSocket = join(folder, socketPath(this.etcdUrl));
    this.#http1 = http1Server(handlers, this.#etcdSocket, log);
    this.#tls = config.lcUrls.some(isSecure) ? new ClientTLS(config, log) : undefined;
    // On a secure URL any client may choose HTTP/2, and only its streams say what they are for.
    if (services !== undefined || this.#tls !== undefined) {
      this.#http2 = http2Server({
        handlers,
        servicePaths: services?.paths ?? new Set(),
        serviceSocket: serviceSocketIn(folder),
        etcdSocket: this.#etcdSocket,
        log,
      });
    }
    this.#serves = new Promise((resolve) => (this.serve = resolve));
  }

  /** The same as {@link etcdUrl}, from anywhere. */
  get probeUrl(): string {
    return `unix://${this.#etcdSocket}`;
  }

  /** Whether there is anything to be answered beside etcd. */
  static isNeeded({ userHandlers, serviceRegister }: Config): boolean {
    return serviceRegister !== undefined || Object.keys(userHandlers).length > 0;
  }

  /**
   * Listens on `lcUrls`.
   *
   * @throws ConfigError InvalidHandler for a service of etcd's own; what listening, reading certificates and `serviceRegister` throw
   */
  static async listen(config: Config, options: FrontOptions): Promise<Front> {
    const folder = await mkdtemp(join(tmpdir(), "quorate-etcd-"));
    let front: Front | undefined;
    let services: Services | undefined;
    try {
      await chmod(folder, 0o700);
      if (config.serviceRegister !== undefined) {
        // gRPC takes long to load, and most programs need none.
        const { listenForServices } = await import("./services.ts");
        services = await listenForServices(config.serviceRegister, serviceSocketIn(folder));
      }
      front = new Front(config, folder, services, options);
      for (const url of config.lcUrls) await front.#listen(url);
      return front;
    } catch (error) {
      if (front === undefined) services?.close();
      await (front?.close() ?? rm(folder, { recursive: true, force: true }));
      throw error;
    }
  }

  async close(): Promise<void> {
    this.serve();
    for (const server of this.#servers) server.close();
    for (const one of this.#open) one.destroy();
    this.#http1.close();
    this.#http2?.close();
    this.#services?.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #listen(url: string): Promise<void> {
    const server = isSecure(url)
      ? this.#secureServer()
      : createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).once("listening", resolve);
      if (isUnix(url)) return void server.listen(socketPath(url));
      const { host, port } = addressOf(url, "lcUrls");
      server.listen({ host: host === "localhost" || host === "" ? "127.0.0.1" : host, port: Number(port) });
    });
    server.on("error", (error) => this.#log?.warn({ err: error, url }, "Cannot take a connection"));
    this.#servers.push(server);
  }

  #secureServer(): TlsServer {
    const tls = this.#tls!;
    const server = createTlsServer({ ...tls.options(), allowHalfOpen: true, noDelay: true });
    server.prependListener("connection", (socket: Socket) => {
      tls.refresh(server);
      this.#remember(socket);
    });
    server.on("secureConnection", (socket: TLSSocket) => {
      if (tls.admits(socket)) this.#accept(socket);
      else socket.destroy();
    });
    server.on("tlsClientError", (error) => this.#log?.warn({ err: error }, "A client was not let in"));
    return server;
  }

  #remember(socket: Socket): void {
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    socket.on("error", () => socket.destroy());
  }

  #accept(socket: Socket): void {
    this.#remember(socket);
    void this.#serves.then(() => this.#route(socket));
  }

  /** Looks at what a connection says first, which stays to be read. */
  #route(socket: Socket): void {
    let said = Buffer.alloc(0);
    const look = (): void => {
      const more = socket.read() as Buffer | null;
      if (more !== null) said = Buffer.concat([said, more]);
      const first = said.toString("latin1", 0, http2Begins.length);
      // A word cut in two is waited for.
      if (first.length < http2Begins.length && http2Begins.startsWith(first) && !socket.readableEnded) return;
      socket.off("readable", look).off("end", end);
      socket.unshift(said);
      this.#hand(socket, first === http2Begins);
    };
    // Who says nothing and goes is not waited for.
    const end = (): void => {
      socket.destroy();
    };
    socket.on("readable", look).on("end", end);
  }

  #hand(socket: Socket, isHttp2: boolean): void {
    if (!isHttp2) this.#http1.emit("connection", socket);
    else if (this.#http2 === undefined || (this.#services === undefined && !("encrypted" in socket)))
      splice(socket, this.#connectToEtcd());
    else if (this.#isReturning(socket)) this.#http2.emit("connection", socket);
    else this.#handByFirstCall(socket, this.#http2);
  }

  #handByFirstCall(socket: Socket, http2: Http2Server): void {
    const from = addressFrom(socket);
    untilFirstCall(socket, (headers) => {
      if (headers === undefined || !grpc.areIn(headers) || this.#ours.areIn(headers)) http2.emit("connection", socket);
      else {
        passUntil(
          (later) => this.#ours.areIn(later),
          socket,
          this.#connectToEtcd(),
          () => {
            this.#returning.set(from, this.#clock.nowMs() + returnsWithinMs);
          },
        );
      }
    });
  }

  #isReturning(socket: Socket): boolean {
    const nowMs = this.#clock.nowMs();
    for (const [address, untilMs] of this.#returning) if (untilMs < nowMs) this.#returning.delete(address);
    return this.#returning.has(addressFrom(socket));
  }

  #connectToEtcd(): Socket {
    return connect({ path: this.#etcdSocket, allowHalfOpen: true });
  }
}

function addressFrom(socket: Socket): string {
  return socket.remoteAddress ?? "this machine";
}

/** "/package.Service/" of the path of a method. */
function serviceOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/") + 1);
}

function serviceSocketIn(folder: string): string {
  return join(folder, "services");
}
