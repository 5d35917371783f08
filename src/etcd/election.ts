import type { Logger } from "pino";
import { aborted, firstOf, passOn, type Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { endOf } from "../keys.ts";
import type { EtcdClient } from "./client.ts";
import type { Session } from "./session.ts";
import type { Compare, KeyValue } from "./types.ts";
import { watchRange } from "./watch.ts";

/** Deleted between two looks. */
const mostCleared = 100;

export interface CampaignOptions {
  readonly client: EtcdClient;
  readonly session: Session;
  /** Of the election; every candidate's key is this and its lease in hex. */
  readonly prefix: string;
  /** What others read of the leader: its name. */
  readonly value: string;
  readonly clock: Clock;
  readonly log?: Logger;
  /** The prefix is this election's alone: what is no candidate's key is deleted. Default: it is waited for, as etcd does. */
  readonly clears?: boolean;
  /**
   * Settles once that key, as created at that revision, is gone or, where that is cleared, no candidate's any more. For those who follow the prefix anyway: used for the
   * predecessor and, once leading, for the own key. Default: a watch of that key.
   */
  readonly untilDeleted?: (key: string, createRevision: number, signal: AbortSignal) => Promise<void>;
  /** The candidate whose key that is leads, and is waited for: runs beside that, and is ended with it. */
  readonly whileNext?: (leader: KeyValue, signal: AbortSignal) => Promise<void>;
}

/** Leading, until the signal fires. */
export interface Leadership {
  readonly key: string;
  /** Create revision of the key: no two leaders have the same, later ones have a higher. */
  readonly revision: number;
  /** Session over, key gone, or resigned (reason: QuorateError SESSION_LOST or LEADERSHIP_LOST). */
  readonly signal: AbortSignal;
  /** Makes any txn fail once someone else may lead. Throws the signal's reason when leadership is over already. */
  fence(): Compare;
  /** Lets the next candidate lead. Idempotent; waits for etcd for at most 2 s (the key goes with the session otherwise). */
  resign(): Promise<void>;
}

/**
 * etcd's own election (concurrency package): the key with the lowest create revision leads, everyone else waits for the one
 * before it only. `etcdctl elect --listen` shows it.
 *
 * @throws QuorateError LEADERSHIP_LOST (retryable) when the own key vanished while waiting, SESSION_LOST, or as every call; the
 *   signal's reason, after the candidacy was withdrawn as far as that can be done in 1 s
 */
export async function campaign(options: CampaignOptions, signal: AbortSignal): Promise<Leadership> {
  const { client, session, prefix } = options;
  const key = prefix + session.leaseHex;
  const own = new AbortController();
  const release = passOn([signal, session.signal], own);
  try {
    const revision = await stand(options, key, own.signal);
    for (;;) {
      own.signal.throwIfAborted();
      const seen = await insist(options, own.signal, () =>
        client.range({ start: prefix, end: endOf(prefix) }, { signal: own.signal, keysOnly: true }),
      );
      const others = seen.entries.filter((entry) => !isCandidate(entry, prefix));
      if (others.length > 0 && options.clears === true) {
        await clearAway(options, others, own.signal);
        continue;
      }
      const before = predecessor(seen.entries, key, revision);
      if (before === undefined) return leadership(options, key, revision);
      options.log?.debug({ key, before: before.key }, "waiting for the candidate before");
      const isFirst = !seen.entries.some(({ createRevision }) => createRevision < before.createRevision);
      await firstOf<void>(
        own.signal,
        (s) => untilDeleted(options, before.key, before.createRevision, s),
        async (s) => {
          if (isFirst) await options.whileNext?.(before, s);
          await aborted(s);
        },
      );
    }
  } catch (error) {
    // Not to lead without anyone knowing.
    if (!session.signal.aborted) await withdraw(client, key, 1_000);
    throw error;
  } finally {
    release();
  }
}

/** Writes the own key, or finds it written, and returns its create revision. */
async function stand(options: CampaignOptions, key: string, signal: AbortSignal): Promise<number> {
  const { client, session, value } = options;
  const done = await insist(options, signal, () => {
    session.check();
    const put = { put: key, value, lease: session.lease };
    return client.txn(
      { compare: [{ key, createRevision: 0 }], then: [put], else: [put, { range: key }] },
      { signal, repeatable: true, session },
    );
  });
  return done.succeeded ? done.revision : (done.ranges[0]?.[0]?.createRevision ?? done.revision);
}

/**
 * Deletes what is no candidate's key, and would be waited for, and led by, for ever. Should it be the key of a leader that somebody has
 * written over, that leader's fence holds no more, and so it leads no more.
 */
async function clearAway(options: CampaignOptions, entries: readonly KeyValue[], signal: AbortSignal): Promise<void> {
  const { client, log } = options;
  for (const { key, createRevision, lease } of entries.slice(0, mostCleared)) {
    log?.warn({ key }, "this key is no candidate's; deleting it");
    const compare = [
      { key, createRevision },
      { key, lease },
    ];
    await insist(options, signal, () => client.txn({ compare, then: [{ del: key }] }, { signal, repeatable: true }));
  }
}

/** Whether a key under the prefix is a candidate's: named by the lease it hangs on, so that it goes with it. */
export function isCandidate({ key, lease }: Pick<KeyValue, "key" | "lease">, prefix: string): boolean {
  return lease !== "0" && key === prefix + BigInt(lease).toString(16);
}

function predecessor(candidates: readonly KeyValue[], key: string, revision: number): KeyValue | undefined {
  if (!candidates.some((candidate) => candidate.key === key && candidate.createRevision === revision)) throw gone(key);
  return candidates
    .filter((candidate) => candidate.createRevision < revision)
    .toSorted((a, b) => b.createRevision - a.createRevision)[0];
}

function leadership(options: CampaignOptions, key: string, revision: number): Leadership {
  const { client, session } = options;
  const over = new AbortController();
  const release = passOn([session.signal], over);
  const end = (reason: unknown): void => {
    release();
    over.abort(reason);
  };
  untilDeleted(options, key, revision, over.signal).then(() => {
    end(gone(key));
  }, end);
  let resigned: Promise<void> | undefined;
  return {
    key,
    revision,
    signal: over.signal,
    fence: () => {
      session.check();
      over.signal.throwIfAborted();
      return { key, createRevision: revision };
    },
    resign: () => {
      end(new QuorateError("LEADERSHIP_LOST", "Cannot lead any more: resigned", { retryable: true, data: { key } }));
      return (resigned ??= withdraw(client, key, 2_000));
    },
  };
}

async function untilDeleted(options: CampaignOptions, key: string, revision: number, signal: AbortSignal): Promise<void> {
  await (options.untilDeleted ?? ownWatch(options))(key, revision, signal);
  signal.throwIfAborted();
}

function ownWatch({ client, prefix, clears, clock, log }: CampaignOptions) {
  return async (key: string, createRevision: number, signal: AbortSignal): Promise<void> => {
    const found = new AbortController();
    const release = passOn([signal], found);
    const deleted = new Error("deleted");
    const isIt = (entry: KeyValue): boolean =>
      entry.createRevision === createRevision && (clears !== true || isCandidate(entry, prefix));
    try {
      await watchRange(
        client,
        { start: key, end: `${key}\0` },
        (news) => {
          if (news.kind === "snapshot" && !news.entries.some(isIt)) found.abort(deleted);
          if (news.kind !== "changes") return;
          if (news.changes.some((change) => change.type === "del" || !isIt(change.entry))) found.abort(deleted);
        },
        { clock, ...(log ? { log } : {}) },
        found.signal,
      );
    } catch (error) {
      if (error !== deleted) throw error;
    } finally {
      release();
    }
  };
}

async function withdraw(client: EtcdClient, key: string, timeoutMs: number): Promise<void> {
  // The key carries our lease: nobody else ever writes it. Gone or unreachable, the session's end removes it.
  await client.txn({ then: [{ del: key }] }, { timeoutMs, repeatable: true }).catch(() => undefined);
}

/** A candidate has nothing else to do than to try again until its session or its signal ends. */
async function insist<T>({ clock }: CampaignOptions, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof QuorateError && error.retryable)) throw error;
      await clock.sleep(250, signal);
    }
  }
}

function gone(key: string): QuorateError {
  return new QuorateError("LEADERSHIP_LOST", "Cannot lead: the key of this candidate is gone", {
    retryable: true,
    data: { key },
  });
}
