import { isRetryable } from "../../errors.ts";
import { parseSize } from "../../keys.ts";
import { isRefused, readRecord } from "../control/records.ts";
import { wakeEvent } from "../lead/events.ts";
import type { JoinDeps } from "./join.ts";

const pauseMs = 250;

/**
 * An agent that continues with its own data opens a cluster that was closed by size 0 again, at its former size, before it stands
 * for election: whoever led would shut it down at once. Does nothing where the cluster is not closed.
 */
export async function wakeUp({ client, options, clock, log }: Omit<JoinDeps, "machine">, signal: AbortSignal): Promise<void> {
  const { keys, hostname } = options;
  for (;;) {
    try {
      const look = [{ range: keys.closed }, { range: keys.idealClusterSize }];
      const { ranges, members } = await client.readMembership({ signal, look });
      const [closedEntry, sizeEntry] = ranges.map((range) => range[0]);
      // Where there are others, it was not closed, whoever wrote that.
      if (!closedEntry || members.length > 1) return;
      const closed = readRecord("closed", closedEntry.value);
      const size = sizeEntry && parseSize(sizeEntry.value);
      const asleep = size !== undefined && "size" in size && size.size === 0 && !isRefused(closed);
      const former = asleep ? [{ put: keys.idealClusterSize, value: String(closed.formerSize) }] : [];
      const told = asleep
        ? [wakeEvent(keys, { hostname, formerSize: closed.formerSize, revision: closedEntry.modRevision, clock })]
        : [];
      const { succeeded } = await client.txn(
        {
          compare: [
            { key: keys.closed, modRevision: closedEntry.modRevision },
            { key: keys.idealClusterSize, modRevision: sizeEntry?.modRevision ?? 0 },
          ],
          then: [{ del: keys.closed }, { del: keys.closing }, ...former, ...told],
        },
        { signal },
      );
      if (!succeeded) continue;
      if (asleep) log.info({ size: closed.formerSize }, "the cluster was closed by size 0; it goes on at its former size");
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isRetryable(error)) throw error;
      await clock.sleep(pauseMs, signal);
    }
  }
}
