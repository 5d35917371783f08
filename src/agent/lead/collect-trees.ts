import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import type { EtcdClient, Leadership } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";

interface CollectDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger;
  readonly hostname: string;
  readonly sessionTtlMs: number;
}

/** Of one leader. Later ones begin anew: a cluster whose leader changes more often has other worries. */
const pauseMs = { first: 10 * 60_000, then: 60 * 60_000 };

/** While this agent leads: deletes from time to time what no tree of files needs. Never resolves. */
export async function collectTrees(deps: CollectDeps, leadership: Leadership, signal: AbortSignal): Promise<never> {
  const { clock, log } = deps;
  for (let ms = pauseMs.first; ; ms = pauseMs.then) {
    await clock.sleep(ms, signal);
    try {
      await collectOnce(deps, leadership, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof QuorateError)) throw error;
      log.warn({ err: error }, "what no tree of files needs could not be collected; trying again later");
    }
  }
}

async function collectOnce(deps: CollectDeps, leadership: Leadership, signal: AbortSignal): Promise<void> {
  const { client, keys, clock, log, hostname, sessionTtlMs: ttlMs } = deps;
  const { objects } = keys.fs;
  if ((await client.range(objects, { limit: 1, keysOnly: true, signal })).entries.length === 0) return;
  // Most clusters have none.
  const { etcdStore, openEngine } = await import("../../world/fs/engine/index.ts");
  const store = etcdStore({ client: () => Promise.resolve(client), keys, clock, log, ttlMs });
  await using engine = openEngine({ store, by: hostname, randomBytes: client.randomBytes });
  const { key, revision } = leadership;
  const fence = { key, revision, check: () => void leadership.fence() };
  const { deletedObjects, deletedBytes, neededObjects, neededBytes } = await engine.collect({ fence, signal });
  log.info({ deletedObjects, deletedBytes, neededObjects, neededBytes }, "collected what no tree of files needs");
}
