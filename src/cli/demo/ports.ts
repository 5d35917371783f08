import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";

const lowest = 12_000;
/** Ports are handed out from stretches of this many, each of which one process at a time has to itself. */
const stretch = 400;

/** The stretch this process has, and how far it has got in it. Its first port is never handed out: it is held as the claim. */
let mine: { readonly first: number; next: number } | undefined;
let turn: Promise<unknown> = Promise.resolve();

/**
 * `n` different ports of 127.0.0.1 that nobody listens on, from below the range the system takes the ports of outgoing connections
 * from: for servers that start a while after the ports were chosen, or start again on them. No port is given twice, to this process
 * or to another that asks here, as long as this one runs: a server that is down for a while finds its port free when it comes back,
 * and nobody else's server answers there meanwhile.
 */
export function freePorts(n: number): Promise<readonly number[]> {
  const found = turn.then(() => choose(n));
  turn = found.catch(() => undefined);
  return found;
}

async function choose(n: number): Promise<readonly number[]> {
  const found: number[] = [];
  while (found.length < n) {
    mine ??= await claim();
    if (mine.next === mine.first + stretch) {
      mine = await claim();
      continue;
    }
    const port = mine.next++;
    const server = await listenAt(port);
    if (server === undefined) continue;
    await new Promise((resolve) => server.close(resolve));
    found.push(port);
  }
  return found;
}

/** Takes a stretch that nobody has, by listening on its first port until this process ends. */
async function claim(): Promise<{ readonly first: number; next: number }> {
  const stretches = Math.max(1, Math.floor((ephemeralFrom() - lowest) / stretch));
  for (let i = 0; i < stretches; i++) {
    const first = lowest + ((process.pid + i) % stretches) * stretch;
    const held = await listenAt(first);
    if (held === undefined) continue;
    held.unref();
    return { first, next: first + 1 };
  }
  throw new Error(
    `Cannot find free ports between ${lowest} and ${lowest + stretches * stretch}: something listens at each ${stretch}th`,
  );
}

/** Where the ports of outgoing connections begin: 32768 unless the machine says otherwise. */
function ephemeralFrom(): number {
  try {
    return Number(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/)[0]) || 32_768;
  } catch {
    return 32_768;
  }
}

function listenAt(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer((connection) => connection.destroy());
    server.once("error", () => {
      resolve(undefined);
    });
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => {
      resolve(server);
    });
  });
}
