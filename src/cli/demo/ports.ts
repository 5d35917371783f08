import { createServer, type AddressInfo, type Server } from "node:net";

/** Different free ports of 127.0.0.1, as the system gives them: held together, then let go. */
export async function freePorts(n: number): Promise<readonly number[]> {
  const held = await Promise.all(Array.from({ length: n }, hold));
  const ports = held.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function hold(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      resolve(server);
    });
  });
}
