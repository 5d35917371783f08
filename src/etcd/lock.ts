import type { Logger } from "pino";
import { passOn, type Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { EtcdClient } from "./client.ts";
import { campaign } from "./election.ts";
import { Session } from "./session.ts";
import type { Compare } from "./types.ts";

export interface LockOptions {
  readonly client: EtcdClient;
  /** As `etcdctl lock NAME` takes it: both exclude each other. */
  readonly name: string;
  readonly clock: Clock;
  readonly log?: Logger;
  /** How long the lock stays with a holder that has died. Default 10,000; etcd grants whole seconds, 2 at least. */
  readonly ttlMs?: number;
}

/** A lock that is held, until the signal fires. */
export interface HeldLock extends AsyncDisposable {
  readonly key: string;
  /** Fencing revision: no two holders have the same, later ones have a higher. */
  readonly revision: number;
  /** Fires before anybody else can hold it. Reason: QuorateError LOCK_LOST, SESSION_LOST or, once released, CLOSED. */
  readonly signal: AbortSignal;
  /** Makes any txn fail once someone else may hold it. Throws the signal's reason when it is lost already. */
  fence(): Compare;
  /** Throws the signal's reason when it is lost, by the clock and not by timers. Fits {@link CallOptions.session}. */
  check(): void;
  /**
   * Lets the next one have it: revokes the lease the lock lives on. That takes 1 s at most; where etcd cannot be reached, the lease
   * expires, as nobody renews it any more. Idempotent.
   */
  release(): Promise<void>;
}

/**
 * Waits for the lock with etcd's own layout (concurrency package): whoever has the key with the lowest create revision holds it,
 * everyone else waits for the one before only. Each attempt has a lease of its own, so that nothing of it can be left or arrive
 * later than its end. The signal ends the waiting only.
 *
 * @throws QuorateError LOCK_LOST (retryable) when the own key vanished while waiting, SESSION_LOST, or as every call; the signal's
 *   reason, after the attempt was withdrawn as far as that can be done in 1 s
 */
export async function lock(options: LockOptions, signal: AbortSignal): Promise<HeldLock> {
  const { client, clock, name, log } = options;
  const waiting = new AbortController();
  const stopWaiting = passOn([signal], waiting);
  const logged = log === undefined ? {} : { log };
  try {
    const session = await Session.open(client, { ttlMs: options.ttlMs ?? 10_000, clock, ...logged }, waiting.signal);
    try {
      const prefix = `${name}/`;
      const first = await campaign({ client, session, prefix, value: "", clock, ...logged }, waiting.signal);
      const over = new AbortController();
      const lose = (): void => {
        over.abort(inWords(name, first.signal.reason));
      };
      if (first.signal.aborted) lose();
      else first.signal.addEventListener("abort", lose, { once: true });
      const end = async (): Promise<void> => {
        over.abort(new QuorateError("CLOSED", `Cannot hold the lock ${name}: it was released`));
        await session.close();
      };
      return {
        key: first.key,
        revision: first.revision,
        signal: over.signal,
        fence: () => {
          over.signal.throwIfAborted();
          session.check();
          return { key: first.key, createRevision: first.revision };
        },
        check: () => {
          over.signal.throwIfAborted();
          session.check();
        },
        release: end,
        [Symbol.asyncDispose]: end,
      };
    } catch (error) {
      await session.close();
      throw inWords(name, error);
    }
  } finally {
    stopWaiting();
  }
}

/** What an election calls it, in the words of a lock. */
function inWords(name: string, error: unknown): unknown {
  if (!(error instanceof QuorateError) || error.code !== "LEADERSHIP_LOST") return error;
  const { data } = error;
  return new QuorateError("LOCK_LOST", `Cannot hold the lock ${name}: its key is gone`, { retryable: true, data });
}
