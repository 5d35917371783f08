import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";

/**
 * `n` different ports of 127.0.0.1 that nobody listens on, as the system gives them. They are held together and then let go, so
 * that two calls in one moment do not get the same.
 */
export async function freePorts(n: number): Promise<number[]> {
  const held = await Promise.all(Array.from({ length: n }, hold));
  const ports = held.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function hold(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => resolve(server));
  });
}
