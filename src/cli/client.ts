import { systemClock } from "../clock.ts";
import { EtcdClient } from "../etcd/index.ts";
import { keysUnder, type Keys } from "../keys.ts";
import { Interrupted } from "./interrupted.ts";
import type { ClientSettings } from "./options.ts";
import { reachOf } from "./reach.ts";
import { wayBy } from "./way.ts";

export interface Cluster {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly signal: AbortSignal;
}

/** Nobody listens at any of the endpoints: the time in which a server would have been started again, and no more. */
const refusedMs = 300;

/** A client for the length of one command. Aborted by `^C`. @throws as `wayBy` does */
export async function withCluster<T>(settings: ClientSettings, use: (cluster: Cluster) => Promise<T>): Promise<T> {
  const keys = keysUnder(settings.namespace);
  const ended = new AbortController();
  const end = (): void => {
    ended.abort(new Interrupted());
  };
  process.once("SIGINT", end);
  const { signal } = ended;
  try {
    const { endpoints, tls, login, socket } = await reachOf(settings);
    const way = await wayBy({ ssh: settings.ssh, tls, socket }, signal);
    const client = EtcdClient.create({
      endpoints,
      clock: systemClock,
      refusedMs,
      ...way,
      ...(login === undefined ? {} : { login }),
    });
    try {
      return await use({ client, keys, signal });
    } finally {
      await client.close();
    }
  } finally {
    process.off("SIGINT", end);
  }
}
