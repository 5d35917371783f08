import { passOn } from "../../clock.ts";
import { isRetryable } from "../../errors.ts";
import { campaign, lock as wireLock } from "../../etcd/index.ts";
import type { Fence } from "../api/common.ts";
import type { Leadership, Lock, TtlOptions } from "../api/world.ts";
import type { Context } from "../context.ts";
import { WorldError, asWorldError } from "../error.ts";
import { checkKey, checkName, shown } from "../names.ts";
import { ttlMsOf } from "../ttl.ts";
import type { OwnSession, Sessions } from "./session.ts";

const lockTimeoutMs = 60_000;
/** Between two candidacies of one that waits for ever. */
const againMs = 250;

export async function lock(context: Context, name: string, options: TtlOptions): Promise<Lock> {
  const doing = { what: `get the lock ${shown(name)}` };
  return await context.run(doing, options, async () => {
    checkName("the name of a lock", name);
    const key = checkKey(context.keys.locks.key(name));
    const ttlMs = options.ttl === undefined ? context.sessionTtlMs : ttlMsOf(options.ttl);
    const limit = context.limit(options, doing, lockTimeoutMs);
    const waiting = new AbortController();
    const stop = passOn([limit.signal, context.over], waiting);
    try {
      const { clock, log } = context;
      const held = await wireLock(
        { client: await context.client(), name: key, clock, ttlMs, ...(log === undefined ? {} : { log }) },
        waiting.signal,
      );
      return lockOf(context, name, held);
    } finally {
      stop();
      limit.end();
    }
  });
}

type Held = Awaited<ReturnType<typeof wireLock>>;

function lockOf(context: Context, name: string, held: Held): Lock {
  const doing = { what: `hold the lock ${name}`, key: held.key };
  const over = translated(held.signal, doing);
  const letGo = context.hold(() => held.release());
  const release = async (): Promise<void> => {
    letGo();
    await held.release();
  };
  return {
    key: held.key,
    revision: held.revision,
    signal: over,
    check: () => checked(() => held.check(), doing),
    release,
    [Symbol.asyncDispose]: release,
  };
}

/** Fires with the same, as a WorldError. */
function translated(signal: AbortSignal, doing: { readonly what: string; readonly key: string }): AbortSignal {
  const own = new AbortController();
  passOn([signal], { abort: (reason) => own.abort(asWorldError(reason, doing)) });
  return own.signal;
}

function checked(check: () => unknown, doing: { readonly what: string; readonly key: string }): void {
  try {
    check();
  } catch (error) {
    throw asWorldError(error, doing);
  }
}

export async function elect(context: Context, sessions: Sessions, name: string, options: TtlOptions): Promise<Leadership> {
  const doing = { what: `lead ${shown(name)}` };
  const call = async (): Promise<Leadership> => {
    checkName("the name of an election", name);
    const prefix = `${checkKey(context.keys.elections.key(name))}/`;
    const ttlMs = options.ttl === undefined ? context.sessionTtlMs : ttlMsOf(options.ttl);
    const waiting = new AbortController();
    const limit = options.timeoutMs === undefined ? undefined : context.limit(options, doing);
    const stop = passOn([limit?.signal ?? options.signal, context.over], waiting);
    try {
      for (;;) {
        try {
          return await stand(context, await sessions.open(ttlMs, waiting.signal), { prefix, ...doing }, waiting.signal);
        } catch (error) {
          waiting.signal.throwIfAborted();
          if (!isRetryable(error)) throw error;
          context.log?.debug({ err: error, election: name }, "standing again");
          await context.clock.sleep(againMs, waiting.signal);
        }
      }
    } finally {
      stop();
      limit?.end();
    }
  };
  return await context.run(doing, options, call, true);
}

/** One candidacy: until it leads, or its session is lost. */
async function stand(
  context: Context,
  session: OwnSession,
  { prefix, what }: { readonly prefix: string; readonly what: string },
  signal: AbortSignal,
): Promise<Leadership> {
  try {
    const { clock, log, hostname } = context;
    const logged = log === undefined ? {} : { log };
    const client = await context.client();
    const leading = await campaign({ client, session: session.wire, prefix, value: hostname, clock, ...logged }, signal);
    const facts = { what, key: leading.key };
    const letGo = context.hold(() => resign());
    const resign = async (): Promise<void> => {
      letGo();
      await leading.resign();
      await session.close();
    };
    return {
      key: leading.key,
      revision: leading.revision,
      signal: translated(leading.signal, facts),
      check: () => checked(() => leading.fence(), facts),
      resign,
      [Symbol.asyncDispose]: resign,
    };
  } catch (error) {
    await session.close();
    throw error;
  }
}

export async function leaderOnly<T>(
  context: Context,
  sessions: Sessions,
  name: string,
  job: (signal: AbortSignal, fence: Fence) => Promise<T>,
  options: TtlOptions,
): Promise<T> {
  const { signal } = options;
  for (;;) {
    const leadership = await elect(context, sessions, name, options);
    const own = new AbortController();
    const release = passOn([leadership.signal, signal], own);
    try {
      const result = await job(own.signal, leadership);
      if (!own.signal.aborted) return result;
    } catch (error) {
      if (!own.signal.aborted) throw error;
      context.log?.debug({ err: error, election: name }, "a job ended with its leadership");
    } finally {
      release();
      await leadership.resign();
    }
    if (signal?.aborted === true) {
      throw new WorldError("ABORTED", `Cannot go on with ${name}: it was aborted`, { cause: signal.reason });
    }
    context.throwIfClosed();
  }
}
