import type { Compare, RecordOp } from "../../../etcd/index.ts";
import type { FsGcResult } from "../../api/fs.ts";
import { WorldError } from "../../error.ts";
import { bytesOf } from "./node.ts";
import { lookAround, objectsOf, rootsInUse, shelteredFrom, tooOld } from "./needed.ts";
import type { Seen } from "./needed.ts";
import type { Objects } from "./objects.ts";
import { mostInTxn } from "./store.ts";
import type { Store, StoreCall, StoreLock } from "./store.ts";
import type { Address, CollectOptions, History } from "./types.ts";

const defaults: History = { commits: 100, bytes: 256 * 1024 * 1024 };

/**
 * Deletes what nothing needs. Safe beside commits and readers, as an object is deleted only where it is as it was at the one revision at
 * which all was looked at: whoever comes to need it later has touched it in the same transaction, or is sheltered by a pin, and who needed it then was
 * seen. What has a lease is left to it.
 *
 * @throws WorldError FENCED; INVALID_VALUE where what is needed cannot be known; what the store fails with
 */
export async function collect(store: Store, objects: Objects, options: CollectOptions): Promise<FsGcResult> {
  const fromMs = store.clock.nowMs();
  const { signal, dryRun = false } = options;
  const history = { ...defaults, ...options.history };
  await using lock = await store.lock(store.keys.fs.collection, signal);
  const guard = guardOf(lock, options);
  const before = await lookAround(store, { signal });
  const old = new Set((await tooOld(objects, before, history, signal)).map(({ key }) => key));
  if (!dryRun)
    await deleteAll(
      [...old].map((del) => ({ del })),
      store,
      guard,
      signal,
    );
  // Anew: somebody may have pinned, before it went, what is not in the history any more.
  const seen = dryRun || old.size === 0 ? before : await lookAround(store, { signal });
  return {
    ...(await sweep(store, objects, seen, old, { dryRun, guard, signal })),
    tookMs: Math.round(store.clock.nowMs() - fromMs),
  };
}

/** What has to hold with every deletion. */
interface Guard {
  readonly conditions: () => readonly Compare[];
  readonly check: () => void;
}

function guardOf(lock: StoreLock, { fence }: CollectOptions): Guard {
  const own = fence === undefined ? [] : [{ key: fence.key, createRevision: fence.revision }];
  return {
    conditions: () => [lock.fence(), ...own],
    check: () => {
      lock.fence();
      fence?.check();
    },
  };
}

interface SweepOptions {
  readonly dryRun: boolean;
  readonly guard: Guard;
  readonly signal: AbortSignal | undefined;
}

async function sweep(
  store: Store,
  objects: Objects,
  seen: Seen,
  old: ReadonlySet<string>,
  { dryRun, guard, signal }: SweepOptions,
): Promise<Omit<FsGcResult, "tookMs">> {
  const { fs } = store.keys;
  const inHistory = [...seen.trees.values()].flatMap((commits) => commits.filter(({ key }) => !old.has(key)));
  const roots = [...inHistory.map(({ root }) => root), ...rootsInUse(seen)];
  const needed = await objectsOf(objects, roots, signal);
  const from = shelteredFrom(seen);
  const { records } = await seen.moment.scan(fs.objects, { keysOnly: true, signal });
  const garbage: { readonly key: string; readonly address: Address; readonly modRevision: number }[] = [];
  let bytes = 0;
  for (const { key, lease, modRevision } of records) {
    const address = fs.objects.nameIn(key) ?? "";
    bytes += bytesOf(address) || 0;
    const isNeeded = needed.has(address) || lease !== "0" || modRevision >= from;
    if (!isNeeded) garbage.push({ key, address, modRevision });
  }
  const ops = garbage.map(({ key, modRevision }): RecordOp => ({ when: [{ key, modRevision }], then: [{ del: key }] }));
  const deleted = dryRun ? garbage.map(() => true) : await deleteAll(ops, store, guard, signal);
  const gone = garbage.filter((_, i) => deleted[i]);
  const deletedBytes = gone.reduce((sum, { address }) => sum + (bytesOf(address) || 0), 0);
  return {
    objects: records.length,
    bytes,
    neededObjects: records.length - gone.length,
    neededBytes: bytes - deletedBytes,
    deletedObjects: gone.length,
    deletedBytes,
  };
}

/** Returns which of them happened. @throws WorldError FENCED */
async function deleteAll(
  ops: readonly RecordOp[],
  store: Store,
  guard: Guard,
  signal: AbortSignal | undefined,
): Promise<boolean[]> {
  const deleted: boolean[] = [];
  for (let i = 0; i < ops.length; i += mostInTxn) {
    const call: StoreCall = { signal, check: guard.check };
    const answer = await store.txn({ when: guard.conditions(), then: ops.slice(i, i + mostInTxn) }, call);
    if (!answer.succeeded) {
      throw new WorldError(
        "FENCED",
        "Cannot delete what nothing needs: another collection may have begun, or the fence is lost",
        {
          outcome: i === 0 ? "none" : "unknown",
        },
      );
    }
    deleted.push(...answer.answers.map(({ succeeded }) => succeeded));
  }
  return deleted;
}
