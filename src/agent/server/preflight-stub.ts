import { createHmac, timingSafeEqual } from "node:crypto";
import { rm } from "node:fs/promises";
import { createServer, get, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer, get as getSecurely } from "node:https";
import type { ListenOptions, Socket } from "node:net";
import type { Clock } from "../../clock.ts";
import { within } from "../../clock.ts";
import type { ServerTls } from "../../embed/index.ts";
import { messageOf } from "../../errors.ts";
import { readTls, type Reaching } from "../../etcd/index.ts";

/** What a volunteer answers at its own server URL, while its server is not running. */
export interface PreflightAnswer {
  readonly hostname: string;
  /** HMAC-SHA256 of the nonce under the proof of the agent's record, hex. */
  readonly proof: string;
  readonly etcd: string;
  /** Free bytes where its data folder will be. */
  readonly freeBytes: number;
  /** Peer URLs of voters it could not reach, each with the reason. */
  readonly unreachable: readonly string[];
}

export const preflightPath = "/quorate/preflight";
const askedFor = /^\/quorate\/preflight\?nonce=([0-9a-f]{32})$/;

export function proofOf(secret: string, nonce: string): string {
  return createHmac("sha256", secret).update(nonce).digest("hex");
}

export function isProof(secret: string, nonce: string, given: string): boolean {
  const wanted = Buffer.from(proofOf(secret, nonce));
  const got = Buffer.from(given);
  return wanted.length === got.length && timingSafeEqual(wanted, got);
}

interface ListenAt {
  /** What is shown, and asked for, at `https` URLs. */
  readonly tls?: ServerTls | undefined;
  /** A unix socket to listen at as well. */
  readonly socket?: string;
}

/** Listens on the agent's own URLs while its server does not: answers what it is asked in JSON, and closes before etcd starts. */
export class PreflightStub implements AsyncDisposable {
  readonly #servers: Server[] = [];
  /** Also those that have not said who they are yet: a server waits for them when it is closed. */
  readonly #sockets = new Set<Socket>();

  /**
   * `answer` gets the path and query of a GET; undefined: there is nothing.
   *
   * @throws the listen error of the first URL that cannot be bound.
   */
  static async open(
    listenUrls: readonly string[],
    answer: (path: string) => Promise<object> | undefined,
    { tls, socket }: ListenAt = {},
  ): Promise<PreflightStub> {
    const stub = new PreflightStub();
    try {
      for (const text of listenUrls) {
        const url = new URL(text);
        const at = { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) };
        await stub.#listen(at, answer, url.protocol === "https:" ? tls : undefined);
      }
      if (socket !== undefined) {
        // Of a server that was killed.
        await rm(socket, { force: true });
        await stub.#listen({ path: socket }, answer, undefined);
      }
      return stub;
    } catch (error) {
      await stub.close();
      throw error;
    }
  }

  async #listen(
    at: ListenOptions,
    answer: (path: string) => Promise<object> | undefined,
    tls: ServerTls | undefined,
  ): Promise<void> {
    const onRequest: RequestListener = (request, response) => {
      const answering = request.method === "GET" ? answer(request.url ?? "") : undefined;
      if (answering === undefined) {
        response.writeHead(404, { connection: "close" }).end();
        return;
      }
      answering.then(
        (body) => response.writeHead(200, { "content-type": "application/json", connection: "close" }).end(JSON.stringify(body)),
        () => response.writeHead(500, { connection: "close" }).end(),
      );
    };
    const server = tls === undefined ? createServer(onRequest) : await secureServer(tls, onRequest);
    server.maxConnections = 16;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(at, resolve);
    });
    this.#servers.push(server);
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.splice(0).map(async (server) => {
        const closed = new Promise((resolve) => server.close(resolve));
        for (const socket of this.#sockets) socket.destroy();
        await closed;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function secureServer(tls: ServerTls, onRequest: RequestListener): Promise<Server> {
  const { certFile, keyFile, trustedCaFile, clientCertAuth } = tls;
  const texts = await readTls({ certFile, keyFile, ...(trustedCaFile === undefined ? {} : { caFile: trustedCaFile }) });
  return createSecureServer({ ...texts, requestCert: clientCertAuth, rejectUnauthorized: clientCertAuth }, onRequest);
}

/** Answers pre-flights, each by its nonce; anyone may ask anything else. */
export function answerPreflights(
  listenUrls: readonly string[],
  answer: (nonce: string) => Promise<PreflightAnswer>,
  at: ListenAt = {},
): Promise<PreflightStub> {
  return PreflightStub.open(
    listenUrls,
    (path) => {
      const nonce = askedFor.exec(path)?.[1];
      return nonce === undefined ? undefined : answer(nonce);
    },
    at,
  );
}

/** One small GET with a deadline and a bounded answer. Rejects with a plain reason. */
export function fetchText(
  url: string,
  timeoutMs: number,
  clock: Clock,
  signal: AbortSignal,
  { tls = {}, socket }: Reaching = {},
): Promise<string> {
  const isSecure = url.startsWith("https:");
  return within(
    timeoutMs,
    clock,
    signal,
    async (own) => {
      const texts = isSecure ? await readTls(tls) : {};
      const at = socket === undefined ? {} : { socketPath: socket };
      const how = { ...texts, ...at, signal: own, agent: false, headers: { connection: "close" } } as const;
      return await new Promise<string>((resolve, reject) => {
        const request = (isSecure ? getSecurely : get)(url, how, (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk: string) => {
            text += chunk;
            if (text.length > 65_536) request.destroy(new Error("the answer is too long"));
          });
          response.on("error", reject);
          response.on("end", () => {
            if (response.statusCode === 200) resolve(text);
            else reject(new Error(`it answered ${response.statusCode ?? 0}`));
          });
        });
        request.on("error", (error) => {
          reject(own.aborted ? (own.reason as Error) : error);
        });
      });
    },
    () => new Error(`no answer within ${timeoutMs} ms`),
  );
}

const unreached = (url: string): string => `${url} cannot be reached`;

/** Whether what {@link tryPeers} says is that this peer URL cannot be reached. */
export function isUnreached(problem: string, url: string): boolean {
  return problem.startsWith(`${unreached(url)}: `);
}

type FetchText = (url: string, timeoutMs: number, clock: Clock, signal: AbortSignal) => Promise<string>;

/** Tries every peer URL of the voters; says which do not answer as an etcd, or are this agent itself. */
export async function tryPeers(
  peerUrls: readonly string[],
  own: readonly string[],
  clock: Clock,
  signal: AbortSignal,
  fetch: FetchText = fetchText,
): Promise<readonly string[]> {
  const problems = await Promise.all(
    peerUrls.map(async (url) => {
      if (own.includes(url))
        return `${url} is the server URL of this very host: that voter must advertise an address others reach`;
      try {
        const version = JSON.parse(await fetch(`${url}/version`, 1_000, clock, signal)) as { etcdserver?: unknown };
        return typeof version.etcdserver === "string" ? undefined : `${url} is not an etcd`;
      } catch (error) {
        signal.throwIfAborted();
        return `${unreached(url)}: ${messageOf(error)}`;
      }
    }),
  );
  return problems.filter((problem) => problem !== undefined);
}
