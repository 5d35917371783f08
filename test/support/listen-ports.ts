import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * `n` different ports of 127.0.0.1 that nobody listens on, from below the range the system takes the ports of outgoing connections
 * from (32768 and up): for tests whose servers start a while after the ports were chosen, or start again on them.
 */
export async function listenPorts(n: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < n) {
    const port = randomInt(12_000, 32_000);
    if (await isFree(port)) found.add(port);
  }
  return [...found];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
