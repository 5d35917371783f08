import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import { isHostname, type Keys } from "../../keys.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { CertificateFolder } from "./folder.ts";
import { issue } from "./issue.ts";
import { askedSchema, joinPath, type Asked, type Given } from "./prepare.ts";
import { unseal } from "./sealed.ts";
import { fits, tokenRecord, type TokenRecord } from "./token.ts";

export interface ServeDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly folder: CertificateFolder;
  readonly urls: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly onProblem: (problem: string | undefined) => void;
}

const mostBytes = 20_000;
const callMs = 5_000;
/** A certificate that was renewed is shown after so long. */
const refreshMs = 60_000;

/** Why nobody is given certificates: told to who asked. */
class NotTaken extends Error {
  readonly status: number;
  constructor(status: number, why: string) {
    super(why);
    this.status = status;
  }
}

/** Signs for hosts that come with a token, at these URLs, until the signal fires. What is wrong with it harms nothing else of the agent. */
export async function serveJoins(deps: ServeDeps, signal: AbortSignal): Promise<void> {
  const { urls, folder, clock, log, onProblem } = deps;
  const servers: Server[] = [];
  const sockets = new Set<Duplex>();
  try {
    for (const url of urls) {
      const server = createServer(await shown(folder), (request, response) => {
        void answer(deps, request, response, signal);
      });
      server.maxConnections = 16;
      server.on("connection", (socket) => {
        sockets.add(socket);
        socket.once("close", () => sockets.delete(socket));
      });
      const { hostname, port } = new URL(url);
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: hostname.replace(/^\[|\]$/g, ""), port: Number(port) }, resolve);
      });
      servers.push(server);
    }
    onProblem(undefined);
  } catch (error) {
    log.warn({ err: error, urls }, "nobody can join through this agent: the join URL cannot be bound");
    onProblem(`its join URL cannot be bound: ${messageOf(error)}`);
  }
  try {
    while (!signal.aborted) {
      await clock.sleep(refreshMs, signal).catch(() => undefined);
      for (const server of servers) server.setSecureContext(await shown(folder));
    }
  } finally {
    for (const server of servers) server.close();
    for (const socket of sockets) socket.destroy();
  }
}

async function shown({ clients }: CertificateFolder): Promise<{ readonly cert: Buffer; readonly key: Buffer }> {
  const [cert, key] = await Promise.all([readFile(clients.certFile), readFile(clients.keyFile)]);
  return { cert, key };
}

async function answer(deps: ServeDeps, request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const end = (status: number, body: object): void => {
    response.writeHead(status, { "content-type": "application/json", connection: "close" }).end(JSON.stringify(body));
  };
  try {
    if (request.method !== "POST" || request.url !== joinPath) throw new NotTaken(404, "there is nothing here");
    const parsed = askedSchema.safeParse(JSON.parse(await textOf(request)));
    if (!parsed.success || !isHostname(parsed.data.hostname)) throw new NotTaken(400, "it cannot be read");
    const given = await sign(deps, parsed.data, signal);
    deps.log.info({ host: parsed.data.hostname, token: parsed.data.id }, "gave certificates to a host that joins");
    end(200, given);
  } catch (error) {
    if (error instanceof NotTaken) {
      deps.log.warn({ from: request.socket.remoteAddress, why: error.message }, "refused a host that wants to join");
      end(error.status, { error: error.message });
    } else {
      deps.log.warn({ from: request.socket.remoteAddress, err: error }, "could not answer a host that wants to join");
      end(503, { error: "the cluster does not answer" });
    }
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  request.setEncoding("utf8");
  for await (const part of request as AsyncIterable<string>) {
    text += part;
    if (text.length > mostBytes) throw new NotTaken(413, "it is too long");
  }
  return text;
}

async function sign(deps: ServeDeps, asked: Asked, signal: AbortSignal): Promise<Given> {
  const { client, keys, folder, clock } = deps;
  await useToken(deps, asked, signal);
  const secret = await readFile(folder.secret, "utf8");
  const sealed =
    (await client.get(keys.authority, { signal, timeoutMs: callMs })).entry?.value ??
    (await readFile(folder.authorities, "utf8"));
  const authorities = unseal(sealed, secret);
  if (authorities === undefined) throw new Error("the authorities cannot be opened with the secret of this agent");
  const [{ hostname, hosts }, now] = [asked, clock.wallTime()];
  const certified = async (side: "clients" | "peers"): Promise<Given["clients"]> => {
    const cert = await issue(authorities[side], asked[side], { hostname, hosts }, now).catch(() => {
      throw new NotTaken(400, "its key is none");
    });
    return { cert, ca: authorities[side].cert };
  };
  return { schema: 1, clients: await certified("clients"), peers: await certified("peers"), secret, authorities: sealed };
}

/** It is used up when this returns: another one who comes with it is refused, and who asks again for the same keys is not. */
async function useToken({ client, keys }: ServeDeps, { id, secret, clients, peers }: Asked, signal: AbortSignal): Promise<void> {
  const usedBy = createHash("sha256").update(`${clients}\n${peers}`).digest("hex");
  const key = keys.tokens.key(id);
  for (;;) {
    const { entry } = await client.get(key, { signal, timeoutMs: callMs });
    const record = entry && tokenRecord(entry.value);
    if (entry === undefined || record === undefined || !fits(record, secret))
      throw new NotTaken(403, "the token is unknown, or has expired");
    if (record.usedBy === usedBy) return;
    if (record.usedBy !== undefined) throw new NotTaken(403, "the token was used already, by another host");
    const used: TokenRecord = { ...record, usedBy };
    const { succeeded } = await client.txn(
      {
        compare: [{ key, modRevision: entry.modRevision }],
        then: [{ put: key, value: JSON.stringify(used), ...(entry.lease === "0" ? {} : { lease: entry.lease }) }],
      },
      { signal, timeoutMs: callMs },
    );
    if (succeeded) return;
  }
}
