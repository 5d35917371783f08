import { passOn } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { grantLease } from "../etcd/index.ts";
import type { Compare, SingleOptions, WriteOp, Written as Done } from "../etcd/index.ts";
import type { BatchDeleteOptions, BatchWriteOptions } from "./api/batch.ts";
import type { CallOptions, Fence, Lease, Written } from "./api/common.ts";
import type { Context, Opened } from "./context.ts";
import { WorldError, asWorldError } from "./error.ts";
import type { Doing } from "./error.ts";
import { checkValue, textOf } from "./names.ts";
import { ttlMsOf } from "./ttl.ts";
import type { Sessions } from "./parts/session.ts";
import type { ReplicaWrites } from "./replica/index.ts";

/** One write, checked and ready to be sent. */
export interface Write extends Doing {
  readonly key: string;
  readonly value: string | undefined;
  readonly lease: Lease | undefined;
  /** What the key has to be last written at; 0: it must not be there. */
  readonly ifRevision: number | undefined;
  readonly fence: Fence | undefined;
  /** Another key that is written, or deleted, with it. */
  readonly beside?: { readonly key: string; readonly value: string | undefined };
}

/** @throws WorldError INVALID_VALUE, TOO_LARGE, INVALID_OPTION */
export function writeOf(doing: Doing & { readonly key: string }, value: string, options: BatchWriteOptions): Write {
  // A value that is missing by mistake is not to delete anything.
  checkValue(doing.key, value);
  return checked(doing, value, options);
}

/** @throws WorldError INVALID_OPTION */
export function removalOf(doing: Doing & { readonly key: string }, options: BatchDeleteOptions): Write {
  return checked(doing, undefined, options);
}

function checked(doing: Doing & { readonly key: string }, value: string | undefined, options: BatchWriteOptions): Write {
  const { lease, ifRevision, ifAbsent, fence } = options;
  if (ifAbsent === true && ifRevision !== undefined) throw invalid("ifAbsent", "and ifRevision exclude each other");
  if (ifRevision !== undefined && !(Number.isSafeInteger(ifRevision) && ifRevision >= 0))
    throw invalid("ifRevision", "has to be a revision");
  if (fence !== undefined && typeof (fence as Partial<Fence>).check !== "function")
    throw invalid("fence", "has to be a lock or a leadership");
  checkLease(lease);
  return { ...doing, value, lease, ifRevision: ifAbsent === true ? 0 : ifRevision, fence };
}

function checkLease(lease: unknown): void {
  if (lease === undefined || lease === "session") return;
  if (typeof lease === "object" && lease !== null && ("leaseId" in lease || ("ttl" in lease && Number(lease.ttl) > 0))) return;
  throw invalid("lease", 'has to be "session", a session, or { ttl: SECONDS }');
}

export function invalid(option: string, why: string): WorldError {
  return new WorldError("INVALID_OPTION", `Cannot do that: ${option} ${why}`, { data: { option } });
}

/** What a write hangs on. */
export interface Hold {
  /** Lease id, decimal. */
  readonly lease: string | undefined;
  readonly session: { check(): void } | undefined;
}

const nothing: Hold = { lease: undefined, session: undefined };

/** Grants or finds the lease. */
export async function holdOf(context: Context, sessions: Sessions, lease: Lease | undefined, signal: AbortSignal): Promise<Hold> {
  if (lease === undefined) return nothing;
  if (lease === "session") {
    const session = await sessions.shared(signal);
    return { lease: session.lease, session };
  }
  if ("ttl" in lease) {
    const client = await context.client();
    return { lease: await grantLease(client, { ttlMs: ttlMsOf(lease.ttl), clock: context.clock }, signal), session: undefined };
  }
  return { lease: BigInt(`0x${lease.leaseId}`).toString(), session: lease };
}

/** Checked right before it is sent. */
export function checksOf({ session }: Hold, fence: Fence | undefined): { check(): void } | undefined {
  if (fence === undefined || session === undefined) return session ?? fence;
  return {
    check: () => {
      session.check();
      fence.check();
    },
  };
}

export function compareOf(fence: Fence | undefined): Compare | undefined {
  return fence === undefined ? undefined : { key: fence.key, createRevision: fence.revision };
}

/** Writes one key; what is unchanged is not written. */
export async function write(context: Context, sessions: Sessions, one: Write, options: CallOptions): Promise<Written> {
  return await context.run(one, options, async () => {
    const limit = context.limit(options, one);
    try {
      const opened = context.opened ?? (await context.open());
      const hold = await holdOf(context, sessions, one.lease, limit.signal);
      return await sent(opened, one, hold, limit.signal);
    } finally {
      limit.end();
    }
  });
}

/** A value that may be unchanged goes out three times, and etcd takes 1.5 MiB at once: a larger one is looked at before. */
const largestCompared = 128 * 1024;

/** Sends it. @throws WorldError, which has its key; the signal's reason */
export async function sent(opened: Opened, one: Write, hold: Hold, signal: AbortSignal): Promise<Written> {
  try {
    return await sentUnlessThere(opened, one, hold, signal);
  } catch (error) {
    throw error === signal.reason ? error : asWorldError(error, one);
  }
}

async function sentUnlessThere(opened: Opened, one: Write, hold: Hold, signal: AbortSignal): Promise<Written> {
  const isLarge =
    one.value !== undefined && one.value.length * 3 > largestCompared && Buffer.byteLength(one.value) > largestCompared;
  if (isLarge && one.fence === undefined) {
    const { entry, revision } = await opened.replica.get(one.key, { read: "direct", signal });
    const fits = one.ifRevision === undefined || one.ifRevision === entry?.modRevision;
    if (entry !== undefined && fits && entry.lease === (hold.lease ?? "0") && textOf(entry.value) === one.value) {
      if (one.beside === undefined) return { changed: false, revision };
      const [, beside] = opsOf(one, hold, true);
      const done = await patiently(opened.writes, signal, () => opened.writes.atomic({ then: [beside!] }, { signal }));
      return { changed: false, revision: done.revision };
    }
  }
  return resultOf(one, await sentAtOnce(opened.writes, one, hold, signal, !isLarge));
}

function sentAtOnce(writes: ReplicaWrites, one: Write, hold: Hold, signal: AbortSignal, unlessSame: boolean): Promise<Done> {
  const { key, value, ifRevision, beside } = one;
  const session = checksOf(hold, one.fence);
  const fence = compareOf(one.fence);
  if (beside !== undefined) {
    const write = {
      then: opsOf(one, hold, unlessSame),
      compare: conditionsOf(one),
      ...(fence === undefined ? {} : { fence }),
      look: [{ range: key, keysOnly: true }],
    };
    return patiently(writes, signal, () => writes.atomic(write, { signal, ...(session === undefined ? {} : { session }) }));
  }
  const options: SingleOptions = {
    signal,
    unlessSame,
    ...(session === undefined ? {} : { session }),
    ...(ifRevision === undefined ? {} : { when: { modRevision: ifRevision } }),
    ...(fence === undefined ? {} : { fence }),
  };
  return patiently(writes, signal, () => {
    if (value === undefined) return writes.del(key, options);
    return writes.put(key, value, hold.lease === undefined ? options : { ...options, lease: hold.lease });
  });
}

export function opsOf({ key, value, beside }: Write, { lease }: Hold, unlessSame: boolean): WriteOp[] {
  const op = (of: string, to: string | undefined, unless: boolean): WriteOp => {
    if (to === undefined) return { del: of, unlessSame: true };
    return { put: of, value: to, unlessSame: unless, ...(lease === undefined ? {} : { lease }) };
  };
  const own = op(key, value, unlessSame);
  return beside === undefined ? [own] : [own, op(beside.key, beside.value, true)];
}

export function conditionsOf({ key, ifRevision }: Write): Compare[] {
  return ifRevision === undefined ? [] : [{ key, modRevision: ifRevision }];
}

/** Where too many writes wait, this one waits as well. */
export async function patiently(writes: ReplicaWrites, signal: AbortSignal, write: () => Promise<Done>): Promise<Done> {
  for (;;) {
    try {
      return await write();
    } catch (error) {
      if (!(error instanceof QuorateError) || error.code !== "BUSY") throw error;
      await writes.room(signal);
    }
  }
}

/** @throws WorldError CONFLICT, FENCED */
function resultOf(one: Write, done: Done): Written {
  if (done.succeeded) return { changed: done.unchanged?.has(0) !== true, revision: done.revision };
  throw refusal(one, (done.entry ?? done.seen?.[0])?.modRevision ?? 0, done.revision);
}

/** Why a write was refused, where its key was last written at `found`. */
export function refusal({ what, key, ifRevision, fence }: Write, found: number, revision: number): WorldError {
  if (ifRevision === undefined || ifRevision === found) {
    const holder = fence?.key ?? "";
    return new WorldError("FENCED", `Cannot ${what}: whoever held ${holder} holds it no more`, {
      key,
      data: { fence: holder, revision },
    });
  }
  const wanted = ifRevision === 0 ? "nothing was to be there" : `it was to be as of revision ${ifRevision}`;
  const state = found === 0 ? "nothing is there" : `it was written at ${found}`;
  const hint = "Read it again, and decide anew";
  return new WorldError("CONFLICT", `Cannot ${what}: ${wanted}, and ${state}`, {
    key,
    hint,
    data: { modRevision: found, revision },
  });
}

/** How many of one call listen to one signal: each further listener costs the more, the more there are. */
const listeners = 250;

/** Runs a task for each, with a signal that fires with `signal`; settles when all have. Throws the first failure, or PartlyWritten, then. */
export async function forEach<T, R>(
  all: readonly T[],
  signal: AbortSignal,
  task: (one: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const running: Promise<R>[] = [];
  const releases: (() => void)[] = [];
  try {
    for (let i = 0; i < all.length; i += listeners) {
      const own = new AbortController();
      releases.push(passOn([signal], own));
      for (const one of all.slice(i, i + listeners)) running.push(task(one, own.signal));
    }
    const settled = await Promise.allSettled(running);
    return settled.map((one) => {
      if (one.status === "fulfilled") return one.value;
      throw failureOfMany(settled);
    });
  } finally {
    for (const release of releases) release();
  }
}

/** Where a part was written, or may have been, nobody can say that nothing was. */
function failureOfMany(settled: readonly PromiseSettledResult<unknown>[]): unknown {
  const failures = settled.flatMap((one): unknown[] => (one.status === "rejected" ? [one.reason] : []));
  const [first] = failures;
  const written = settled.length - failures.length;
  if (written > 0) return new PartlyWritten(first, written, settled.length);
  const unknown = failures.find((one) => one instanceof QuorateError && one.code === "OUTCOME_UNKNOWN");
  if (unknown !== undefined && settled.length > 1) return new PartlyWritten(unknown, 0, settled.length);
  return unknown ?? first;
}

/** Some of many writes happened, or may have. */
export class PartlyWritten extends Error {
  /** Those that are known to have happened. */
  readonly written: number;
  readonly all: number;

  constructor(cause: unknown, written: number, all: number) {
    super(`${written} of ${all} are known to be written`, { cause });
    this.written = written;
    this.all = all;
  }
}
