import { reportStep, type Step } from "../../chooser/index.ts";
import type { EtcdClient, Leadership } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { writeRecord } from "../control/records.ts";
import type { Outcome } from "./leader-writes.ts";
import type { EventLog, Told } from "./events.ts";
import type { Look } from "./look.ts";

interface CloseDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly leadership: Leadership;
  readonly events: EventLog;
}

/**
 * Writes that the cluster is closed, which every agent takes as its end: only as this leader, only while the size key still has the
 * value that asks for it, and not while a member call may be on its way.
 */
export async function closeCluster(
  { client, keys, leadership, events }: CloseDeps,
  step: Extract<Step, { kind: "close" }>,
  why: Pick<Told, "because" | "facts">,
  seen: Look,
  signal: AbortSignal,
): Promise<Outcome> {
  const { agent, member, formerSize } = step;
  const closed = writeRecord("closed", { schema: 1, host: agent, formerSize });
  const told = { step: "close", agent, member, what: reportStep(step), ...why } as const;
  const { succeeded } = await client.txn(
    {
      compare: [
        leadership.fence(),
        { key: keys.idealClusterSize, modRevision: seen.size.revision },
        { key: keys.step, createRevision: 0 },
      ],
      then: [{ put: keys.closed, value: closed }, events.put(seen.membership.revision, told)],
    },
    { signal, repeatable: true },
  );
  return succeeded ? { done: true } : { held: "what the plan rests on has changed meanwhile" };
}
