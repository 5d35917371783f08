import type { ILeaseTimeToLiveResponse } from "etcd3";
import type { Logger } from "pino";
import { QuorateError } from "../errors.ts";
import type { EtcdClient } from "./client.ts";
import { toNumber, txnRequest } from "./codec.ts";
import { reasonOf } from "./failure.ts";
import { marginOf } from "./session.ts";

/** While the remaining time nears what it has to be, and after a question that came to nothing. */
const askEveryMs = 50;
/**
 * A TTL of two seconds is told as one for as long as the session lives, as whole seconds are all that is told: nothing shows that it lives, so it
 * is asked on and on, at leisure.
 */
const shortest = { ttlMs: 2_000, askEveryMs: 200 };
const failedMs = 250;

/** A lease of a {@link Session}, and what hangs on it. */
export interface Lapsing {
  /** Decimal int64. */
  readonly lease: string;
  /** Any key this client may delete; it is not touched where it is there. */
  readonly key: string;
}

/**
 * Settles once a lease of a {@link Session} is gone, and helps that along where its session is over: a session that is not renewed gives
 * itself up a margin before its lease expires, so a lease that has less left than most of that margin holds nothing that anybody still
 * relies on. It is revoked then. etcd itself would expire it a margin and up to 0.5 s later, as it looks twice a second; it does not know
 * how sessions end, and after the death of the raft leader it adds an election timeout to all leases, for renewals that a deposed raft
 * leader may have answered. A fifth of the margin is left for those, and for clocks of different speed.
 *
 * A lease that is renewed is never revoked: each renewal puts its time back to the TTL, of which a renewing session leaves a third unused
 * at most. Who lives costs one question for about each two thirds of its TTL. `onNear` is called when a lease seems to come to its end,
 * perhaps more than once.
 *
 * @throws QuorateError as every call, where trying again is of no use; or the signal's reason
 */
export async function untilLapsed(
  client: EtcdClient,
  lapsing: Lapsing,
  { log, onNear }: { readonly log: Logger; readonly onNear?: () => void },
  signal: AbortSignal,
): Promise<void> {
  const { clock } = client.caller;
  for (;;) {
    try {
      const left = await leftOf(client, lapsing.lease, signal);
      if (left === undefined) return;
      const inMs = left.ms - left.enoughMs;
      if (inMs > 0) {
        await clock.sleep(inMs, signal);
        continue;
      }
      onNear?.();
      if (await revokeIfOver(client, lapsing, left.enoughMs, log, signal)) return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof QuorateError && error.retryable)) throw error;
      log.debug({ err: error, lease: BigInt(lapsing.lease).toString(16) }, "a lease could not be looked at");
      await clock.sleep(failedMs, signal);
    }
  }
}

/**
 * Whether the lease was revoked, or is gone. One endpoint is asked throughout, between two writes in one raft term: so the raft leader of that term has
 * answered, which alone knows of every renewal, and not one that was paused while another was elected.
 */
async function revokeIfOver(
  client: EtcdClient,
  { lease, key }: Lapsing,
  enoughMs: number,
  log: Logger,
  signal: AbortSignal,
): Promise<boolean> {
  const { clock, endpoints } = client.caller;
  const endpoint = endpoints.candidates()[0];
  if (endpoint === undefined) return false;
  const term = await termOf(client, key, endpoint, signal);
  let before = Infinity;
  let askedMs = clock.nowMs();
  let left = await leftOf(client, lease, signal, endpoint);
  // Whole seconds are all that is told: how much is left is known when one of them is over.
  while (left !== undefined && left.ms >= enoughMs) {
    if (left.ms > before) return false;
    before = left.ms;
    await clock.sleep(left.ttlMs <= shortest.ttlMs ? shortest.askEveryMs : askEveryMs, signal);
    askedMs = clock.nowMs();
    left = await leftOf(client, lease, signal, endpoint);
  }
  if (left === undefined) return true;
  await clock.sleep(enoughMs - overMs(left.ttlMs), signal);
  const again = await leftOf(client, lease, signal, endpoint);
  if (again === undefined) return true;
  // Renewed in between it would have more left than that, unless this took too long to tell.
  if (again.ms >= enoughMs || clock.nowMs() - askedMs > again.ttlMs - enoughMs) return false;
  if ((await termOf(client, key, endpoint, signal)) !== term) return false;
  await revoke(client, lease, signal);
  log.info({ lease: BigInt(lease).toString(16), ttlMs: left.ttlMs }, "a session that is over has left its lease; revoked it");
  return true;
}

interface Left {
  /** What is left at least. Whole seconds: less than one more. */
  readonly ms: number;
  /** Once less than this is left, the session is over after another `enoughMs - overMs`. Whole seconds. */
  readonly enoughMs: number;
  readonly ttlMs: number;
}

/** How much of a lease is left when its session is over for sure. */
function overMs(ttlMs: number): number {
  return 0.8 * marginOf(ttlMs);
}

/** Undefined where the lease is gone. */
async function leftOf(client: EtcdClient, lease: string, signal: AbortSignal, endpoint?: string): Promise<Left | undefined> {
  const kind = { what: `read lease ${BigInt(lease).toString(16)}`, repeatable: true, writes: false };
  const options = { signal, timeoutMs: 1_000, ...(endpoint === undefined ? {} : { endpoint }) };
  const told: ILeaseTimeToLiveResponse = await client.caller.run(kind, options, (rpcs) =>
    rpcs.lease.leaseTimeToLive({ ID: lease }),
  );
  const ttlMs = 1_000 * toNumber(told.grantedTTL);
  if (ttlMs === 0) return undefined;
  // A raft leader that has not begun to count says "for ever"; below zero, that it is about to expire.
  return {
    ms: Math.min(ttlMs, 1_000 * Math.max(0, toNumber(told.TTL))),
    enoughMs: 1_000 * Math.ceil(overMs(ttlMs) / 1_000),
    ttlMs,
  };
}

/** The raft term of a write through that endpoint, one that changes nothing. */
function termOf(client: EtcdClient, key: string, endpoint: string, signal: AbortSignal): Promise<number> {
  const kind = { what: "write nothing", repeatable: true, writes: true };
  const request = txnRequest({ compare: [{ key, createRevision: 0 }], then: [{ del: key }] });
  return client.caller.run(kind, { signal, timeoutMs: 1_000, endpoint }, async ({ kv }) =>
    toNumber((await kv.txn(request)).header.raft_term),
  );
}

async function revoke(client: EtcdClient, ID: string, signal: AbortSignal): Promise<void> {
  const kind = { what: `revoke lease ${BigInt(ID).toString(16)}`, repeatable: true, writes: true };
  try {
    await client.caller.run(kind, { signal }, ({ lease }) => lease.leaseRevoke({ ID }));
  } catch (error) {
    if (!reasonOf(error).includes("lease not found")) throw error;
  }
}
