import { within, type Clock } from "../clock.ts";
import { QuorateError, isRetryable } from "../errors.ts";
import { grantLease, type EtcdClient } from "../etcd/index.ts";
import type { ControlView } from "./control/control-view.ts";
import { writeRecord } from "./control/records.ts";
import type { ResolvedOptions } from "./resolve.ts";

const announceMs = 2_000;

interface RestartDeps {
  readonly client: EtcdClient;
  readonly options: ResolvedOptions;
  readonly clock: Clock;
}

/**
 * Keeps the seat for `graceMs` although the session ends: this host means to come back. `reason` is for the others.
 *
 * @throws QuorateError DEADLINE where that was not acknowledged within 2 s, or as every call of the client
 */
export async function announceRestart({ client, options, clock }: RestartDeps, graceMs: number, reason: string): Promise<void> {
  await within(
    announceMs,
    clock,
    new AbortController().signal,
    async (signal) => {
      const lease = await grantLease(client, { ttlMs: graceMs, clock }, signal);
      const key = options.keys.restarting.key(options.hostname);
      await client.put(key, writeRecord("reason", { reason }), { lease, signal });
    },
    () => new QuorateError("DEADLINE", "Cannot announce the restart in time"),
  );
}

/** Takes the announcement back once `over()`: the server serves again, or there is no seat to come back to. */
export async function endRestart(
  { client, options, clock }: RestartDeps,
  view: ControlView,
  over: () => boolean,
  signal: AbortSignal,
): Promise<never> {
  const key = options.keys.restarting.key(options.hostname);
  for (;;) {
    await view.until(() => over() && view.get(key) !== undefined, signal);
    try {
      const { revision } = await client.txn({ then: [{ del: key }] }, { signal, repeatable: true });
      await view.until(() => view.hasSeen(key, revision), signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!isRetryable(error)) throw error;
      await clock.sleep(250, signal);
    }
  }
}
