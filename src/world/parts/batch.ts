import type { Compare } from "../../etcd/index.ts";
import type { BatchBuilder, BatchOptions, BatchResult, BatchWriteOptions } from "../api/batch.ts";
import type { Fence, Lease, Written } from "../api/common.ts";
import type { Context, Opened } from "../context.ts";
import { WorldError } from "../error.ts";
import { shown } from "../names.ts";
import {
  PartlyWritten,
  checksOf,
  compareOf,
  conditionsOf,
  forEach,
  holdOf,
  opsOf,
  patiently,
  refusal,
  removalOf,
  sent,
  writeOf,
} from "../write.ts";
import type { Hold, Write } from "../write.ts";
import { deletionOf, exportOf } from "./resources.ts";
import type { Sessions } from "./session.ts";
import { keyInMap, keyOfString } from "./strings.ts";

/** What may be unchanged goes out three times; beyond this, an atomic batch is written whole. */
const largestCompared = 300 * 1024;

const doing = { what: "write a batch" };

export async function batch(
  context: Context,
  sessions: Sessions,
  fill: (builder: BatchBuilder) => void,
  options: BatchOptions,
): Promise<BatchResult> {
  return await context.run(doing, options, async () => {
    const { atomic = false, fence } = options;
    const writes: Write[] = [];
    fill(builderOf(context, writes));
    const fenced = fence === undefined ? writes : writes.map((one) => ({ ...one, fence: one.fence ?? fence }));
    const limit = context.limit(options, doing);
    try {
      const opened = context.opened ?? (await context.open());
      if (writes.length === 0)
        return { results: [], changed: false, revision: await opened.replica.barrier({ signal: limit.signal }) };
      const holds = await holdsOf(context, sessions, fenced, limit.signal);
      const results = await (atomic ? together : eachByItself)(opened, fenced, holds, limit.signal);
      const revision = results.reduce((most, one) => Math.max(most, one.revision), 0);
      return { results, changed: results.some(({ changed }) => changed), revision };
    } catch (error) {
      if (!(error instanceof PartlyWritten)) throw error;
      const cause = context.failure(error.cause, doing, options);
      const message = `Cannot write the whole batch: ${error.written} of ${error.all} are known to be written, and then ${cause.message}`;
      const { code, retryable, hint, key } = cause;
      throw new WorldError(code, message, {
        retryable,
        hint,
        key,
        outcome: "unknown",
        cause,
        data: { written: error.written, all: error.all },
      });
    } finally {
      limit.end();
    }
  });
}

function builderOf(context: Context, writes: Write[]): BatchBuilder {
  const keyed = (keyOf: (context: Context, name: string) => string, of: string): BatchBuilder["str"] => ({
    set: (name, value, options: BatchWriteOptions = {}) => {
      writes.push(writeOf({ what: `write the ${of} ${shown(name)}`, key: keyOf(context, name) }, value, options));
    },
    del: (name, options = {}) => {
      writes.push(removalOf({ what: `delete the ${of} ${shown(name)}`, key: keyOf(context, name) }, options));
    },
  });
  return {
    str: keyed(keyOfString, "string"),
    strmap: keyed(keyInMap, "own entry in the map"),
    resource: {
      export: (list, options = {}) => {
        for (const item of list) writes.push(exportOf(context, item, options));
      },
      delete: (list, options = {}) => {
        for (const item of list) writes.push(deletionOf(context, item, options.fence));
      },
    },
  };
}

/** What each write hangs on: one for all that name the same lease. */
async function holdsOf(
  context: Context,
  sessions: Sessions,
  writes: readonly Write[],
  signal: AbortSignal,
): Promise<readonly Hold[]> {
  const known = new Map<Lease | undefined, Promise<Hold>>();
  for (const { lease } of writes) if (!known.has(lease)) known.set(lease, holdOf(context, sessions, lease, signal));
  return await Promise.all(writes.map(({ lease }) => known.get(lease)!));
}

async function eachByItself(
  opened: Opened,
  writes: readonly Write[],
  holds: readonly Hold[],
  signal: AbortSignal,
): Promise<Written[]> {
  const all = writes.map((one, i) => ({ one, hold: holds[i]! }));
  return await forEach(all, signal, async ({ one, hold }, own) => sent(opened, one, hold, own));
}

async function together(
  { writes: out }: Opened,
  writes: readonly Write[],
  holds: readonly Hold[],
  signal: AbortSignal,
): Promise<Written[]> {
  checkDifferent(writes);
  const bytes = writes.reduce((sum, { value = "" }) => sum + Buffer.byteLength(value), 0);
  const ops = writes.map((one, i) => opsOf(one, holds[i]!, bytes <= largestCompared));
  const fences = [...new Map(writes.flatMap(({ fence }) => (fence === undefined ? [] : [[fence.key, fence] as const]))).values()];
  const conditional = writes.filter(({ ifRevision }) => ifRevision !== undefined);
  const [firstFence, ...moreFences] = fences.map((fence): Compare => compareOf(fence)!);
  const session = allChecks(holds, fences);
  const write = {
    compare: [...conditional.flatMap(conditionsOf), ...moreFences],
    then: ops.flat(),
    ...(firstFence === undefined ? {} : { fence: firstFence }),
    look: conditional.map(({ key }) => ({ range: key, keysOnly: true })),
  };
  const done = await patiently(out, signal, () => out.atomic(write, { signal, ...(session === undefined ? {} : { session }) }));
  if (!done.succeeded) {
    const found = conditional.map((one, i) => ({ one, revision: done.seen?.[i]?.modRevision ?? 0 }));
    const failed = found.find(({ one, revision }) => one.ifRevision !== revision);
    if (failed !== undefined) throw refusal(failed.one, failed.revision, done.revision);
    throw refusal({ ...writes[0]!, ifRevision: undefined, fence: fences[0] }, 0, done.revision);
  }
  let at = 0;
  return ops.map((own) => {
    const changed = done.unchanged?.has(at) !== true;
    at += own.length;
    return { changed, revision: done.revision };
  });
}

function allChecks(holds: readonly Hold[], fences: readonly Fence[]): { check(): void } | undefined {
  const checks = [...new Set([...holds.map((hold) => checksOf(hold, undefined)), ...fences])].filter((one) => one !== undefined);
  if (checks.length === 0) return undefined;
  return {
    check: () => {
      for (const one of checks) one.check();
    },
  };
}

function checkDifferent(writes: readonly Write[]): void {
  const seen = new Set<string>();
  for (const { key, what } of writes) {
    if (seen.has(key)) {
      throw new WorldError("INVALID_OPTION", `Cannot ${what}: an atomic batch writes that already`, {
        key,
        data: { option: "fill" },
      });
    }
    seen.add(key);
  }
}
