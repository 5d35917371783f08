import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { sshRoute, type SshOptions } from "../ssh/index.ts";

/** Endpoints behind a host that one has to log in at, for a program of its own. */
export interface Forwards {
  /** Unix sockets, as etcdctl takes them, in the order of the URLs. */
  readonly endpoints: readonly string[];
  close(): Promise<void>;
}

/** Only this user may use them. @throws QuorateError UNREACHABLE, DENIED, WRONG_HOST_KEY, INVALID_OPTION */
export async function forwardsTo(urls: readonly string[], ssh: SshOptions): Promise<Forwards> {
  const { Tunnels } = await import("../ssh/tunnels.ts");
  const tunnels = new Tunnels(sshRoute(ssh), systemClock);
  const over = new AbortController();
  await tunnels.begin(over.signal);
  const folder = await mkdtemp(join(tmpdir(), "quorate-etcdctl-"));
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    over.abort(new Error("etcdctl has ended"));
    for (const server of servers) server.close();
    tunnels.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const endpoints: string[] = [];
    for (const [n, url] of urls.entries()) {
      const server = createServer((socket) => {
        socket.on("error", () => undefined);
        tunnels.dial(url, over.signal).then(
          ({ stream, cut }) => {
            socket.once("close", cut);
            stream.on("error", () => socket.destroy());
            stream.once("close", () => socket.destroy());
            socket.pipe(stream);
            stream.pipe(socket);
          },
          () => socket.destroy(),
        );
      });
      servers.push(server);
      const path = join(folder, String(n));
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(path, resolve);
      });
      endpoints.push(`${url.startsWith("https:") ? "unixs" : "unix"}://${path}`);
    }
    return { endpoints, close };
  } catch (error) {
    await close();
    throw error;
  }
}
