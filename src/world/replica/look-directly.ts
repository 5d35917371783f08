import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { DirectLook, ReadPoint } from "./types.ts";
import { named, readPage, readPosition } from "./wire.ts";

/** Several reads of one revision, each of which asks the cluster; all of them together have that long. */
export async function lookDirectly<T>(
  client: EtcdClient,
  keys: Keys,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  read: (look: DirectLook) => Promise<T>,
): Promise<ReadPoint & { readonly found: T }> {
  const untilMs = client.clock.nowMs() + timeoutMs;
  const own = signal === undefined ? {} : { signal };
  const options = (): { readonly timeoutMs: number; readonly signal?: AbortSignal } => ({
    timeoutMs: Math.max(1, untilMs - client.clock.nowMs()),
    ...own,
  });
  const { revision } = await readPosition(client, keys.aroundWorld, options());
  const found = await read({
    get: async (key) => {
      const [entry] = (await readPage(client, { start: key }, { ...options(), revision })).entries;
      return entry === undefined ? undefined : named(entry);
    },
    range: async (range) => (await readPage(client, range, { ...options(), revision })).entries.map(named),
    keys: async (range) => (await client.range(range, { ...options(), revision, keysOnly: true })).entries.map(({ key }) => key),
  });
  return { found, revision, ageMs: 0 };
}
