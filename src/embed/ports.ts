import { lookup } from "node:dns/promises";
import { get } from "node:http";
import { createServer } from "node:net";
import { systemClock, within } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { processesWith, socketsInTheWay, userName } from "./sockets.ts";

/** Who keeps us from listening. Without any field: somebody whom the system does not show us. */
export interface PortHolder {
  readonly pid?: number;
  readonly process?: string;
  /** Known also where the process is not ours to look into. */
  readonly user?: string;
  /** It answers `/version` like an etcd. */
  readonly isEtcd?: boolean;
}

/**
 * Tries to listen where a URL says and, where that is taken, finds out by whom.
 *
 * @returns undefined where the port is free, or where the URL is none of this machine's TCP addresses.
 */
export async function portHolder(url: string): Promise<PortHolder | undefined> {
  const place = placeOf(url);
  if (place === undefined || !(await isTaken(place))) return undefined;
  const [named, isEtcd] = await Promise.all([holderAt(place), answersLikeEtcd(url)]);
  return { ...named, isEtcd };
}

/**
 * @throws QuorateError PORT_IN_USE for the first URL whose port is taken: the message names the holder, `data` has { url, port,
 * pid, process, user, isEtcd }.
 */
export async function assertPortsFree(urls: readonly string[]): Promise<void> {
  for (const url of urls) {
    const holder = await portHolder(url);
    if (holder === undefined) continue;
    throw new QuorateError("PORT_IN_USE", `Cannot listen on ${url}: ${describe(holder)} holds the port`, {
      hint:
        holder.isEtcd === true
          ? `An etcd answers there: to use it, add --seeds=${url} --no-server; else choose other ports`
          : "Choose another port",
      data: { url, port: placeOf(url)?.port, ...holder },
    });
  }
}

function describe({ pid, process, user }: PortHolder): string {
  if (pid !== undefined) return `${process ?? "a process"} (pid ${pid}${user === undefined ? "" : `, user ${user}`})`;
  return user === undefined ? "another process" : `a process of user ${user}`;
}

interface Place {
  readonly host: string;
  readonly port: number;
}

function placeOf(url: string): Place | undefined {
  if (!URL.canParse(url)) return undefined;
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "http:" && protocol !== "https:") return undefined;
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port) || (protocol === "http:" ? 80 : 443) };
}

function isTaken({ host, port }: Place): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EADDRINUSE"));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(false)));
  });
}

async function holderAt({ host, port }: Place): Promise<PortHolder> {
  const { address } = await lookup(host);
  let user: string | undefined;
  for (const socket of await socketsInTheWay(address, port)) {
    // Without inode no process has it any more: it only waits for its time to pass.
    if (socket.inode === 0) continue;
    const owner = await userName(socket.uid);
    const [process] = await processesWith(`socket:[${socket.inode}]`);
    if (process !== undefined) return { ...process, user: owner };
    user ??= owner;
  }
  return user === undefined ? {} : { user };
}

const answerMs = 500;
const longestAnswer = 4_096;

async function answersLikeEtcd(url: string): Promise<boolean> {
  const target = new URL("/version", url);
  if (target.protocol !== "http:") return false;
  if (target.hostname === "0.0.0.0") target.hostname = "127.0.0.1";
  if (target.hostname === "[::]") target.hostname = "[::1]";
  try {
    const never = new AbortController().signal;
    const text = await within(
      answerMs,
      systemClock,
      never,
      (own) => fetchText(target, own),
      () => new Error("It did not answer in time"),
    );
    return "etcdserver" in (JSON.parse(text) as object);
  } catch {
    return false;
  }
}

function fetchText(url: URL, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url, { signal, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        if (text.length > longestAnswer) request.destroy(new Error("The answer is too long"));
      });
      response.once("end", () => resolve(text)).once("error", reject);
    });
    request.once("error", reject);
  });
}
