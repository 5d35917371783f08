import type { EtcdClient } from "./client.ts";
import { fromHex, toHex } from "./codec.ts";
import { reasonOf } from "./failure.ts";
import { QuorateError } from "../errors.ts";
import type { CallOptions } from "./types.ts";

/** What etcd raises for a member. `NOSPACE`: puts and lease grants are refused. `CORRUPT`: everything is. */
export interface Alarm {
  /** Hex. */
  readonly member: string;
  readonly kind: "NOSPACE" | "CORRUPT";
}

/**
 * Forgets the history up to that revision, and settles when the database has let go of it. Compacted that far already is no error.
 * Watches that are further behind start again from a listing.
 */
export async function compact(client: EtcdClient, revision: number, options: CallOptions): Promise<void> {
  const kind = { what: `compact the history up to revision ${revision}`, repeatable: true, writes: true };
  try {
    await client.caller.run(kind, options, ({ kv }) => kv.compact({ revision: String(revision), physical: true }));
  } catch (error) {
    if (!(error instanceof QuorateError && reasonOf(error).includes("has been compacted"))) throw error;
  }
}

/** Gives the free pages of one server's database back to the disk. That server answers nobody meanwhile. */
export async function defragment(client: EtcdClient, endpoint: string, options: CallOptions): Promise<void> {
  const kind = { what: `defragment ${endpoint}`, repeatable: false, writes: true, requireLeader: false };
  await client.caller.run(kind, { ...options, endpoint }, ({ maintenance }) => maintenance.defragment());
}

/** The alarms that are raised. */
export function alarms(client: EtcdClient, options: CallOptions): Promise<readonly Alarm[]> {
  const kind = { what: "read the alarms", repeatable: true, writes: true };
  return client.caller.run(kind, options, async ({ maintenance }) => {
    const { alarms: raised } = await maintenance.alarm({ action: "Get", memberID: "0", alarm: "None" });
    return raised.flatMap(({ memberID, alarm }): Alarm[] => {
      const kindOf = alarm === "Nospace" ? "NOSPACE" : alarm === "Corrupt" ? "CORRUPT" : undefined;
      return kindOf === undefined ? [] : [{ member: toHex(memberID), kind: kindOf }];
    });
  });
}

/** Takes one alarm back. One that is not raised is no error. */
export async function disarm(client: EtcdClient, { member, kind: alarm }: Alarm, options: CallOptions): Promise<void> {
  const kind = { what: `take back the alarm ${alarm} of member ${member}`, repeatable: true, writes: true };
  await client.caller.run(kind, options, ({ maintenance }) =>
    maintenance.alarm({ action: "Deactivate", memberID: fromHex(member), alarm: alarm === "NOSPACE" ? "Nospace" : "Corrupt" }),
  );
}

/** etcd refused a write because its database has reached the quota. */
export function isNoSpace(error: unknown): boolean {
  return reasonOf(error).includes("database space exceeded");
}
