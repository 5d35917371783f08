import { readFileSync } from "node:fs";
import { createServer } from "node:net";

const lowest = 12_000;
/** Each process looks through a stretch of its own first, so that two that choose at the same moment do not choose the same. */
const stretch = 400;
let next = 0;

/**
 * `n` different ports of 127.0.0.1 that nobody listens on, from below the range the system takes the ports of outgoing connections
 * from: for servers that start a while after the ports were chosen, or start again on them.
 */
export async function freePorts(n: number): Promise<readonly number[]> {
  const highest = Math.max(lowest + stretch, ephemeralFrom());
  const stretches = Math.floor((highest - lowest) / stretch);
  const found: number[] = [];
  for (let tries = 0; found.length < n; tries++) {
    if (tries > highest - lowest) throw new Error(`Cannot find ${n} free ports between ${lowest} and ${highest}`);
    const port = lowest + (((process.pid % stretches) * stretch + next++) % (highest - lowest));
    if (await isFree(port)) found.push(port);
  }
  return found;
}

/** Where the ports of outgoing connections begin: 32768 unless the machine says otherwise. */
function ephemeralFrom(): number {
  try {
    return Number(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/)[0]) || 32_768;
  } catch {
    return 32_768;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => {
      resolve(false);
    });
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () =>
      server.close(() => {
        resolve(true);
      }),
    );
  });
}
