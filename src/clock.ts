import { setMaxListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

/** The only way this library reads time or waits. */
export interface Clock {
  /** Monotonic milliseconds. Only differences mean anything, and only on this machine. */
  nowMs(): number;
  /** Waits `ms` milliseconds. Rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Wall time, for labels people read (log lines, names of archives), and for what certificates say. Never compared with anything else. */
  wallTime(): Date;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  sleep: async (ms, signal) => {
    await delay(ms, undefined, { signal }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw error;
    });
  },
  wallTime: () => new Date(),
};

/** One for all: an error costs a stack trace each time. */
const settledFirst = new DOMException("Another task settled first", "AbortError");

/**
 * Runs all tasks, settles as the first one does, and returns only after the others have let go.
 * Each task gets a signal of its own that fires when it is no longer needed.
 */
export async function firstOf<T>(signal: AbortSignal, ...tasks: ((own: AbortSignal) => Promise<T>)[]): Promise<T> {
  const own = new AbortController();
  const release = passOnOne(signal, own);
  const running = tasks.map((task) => task(own.signal));
  try {
    return await Promise.race(running);
  } finally {
    own.abort(settledFirst);
    await Promise.allSettled(running);
    release();
  }
}

const unlimited = new WeakSet<AbortSignal>();

/**
 * Aborts `target` when one of the sources fires, until the returned function is called. In place of `AbortSignal.any` in loops,
 * whose signals stay registered with a long-lived source for good.
 */
export function passOn(sources: readonly (AbortSignal | undefined)[], target: { abort(reason: unknown): void }): () => void {
  const undo = sources.flatMap((source) => (source === undefined ? [] : [passOnOne(source, target)]));
  return () => {
    for (const stop of undo) stop();
  };
}

function passOnOne(source: AbortSignal, target: { abort(reason: unknown): void }): () => void {
  const abort = (): void => {
    target.abort(source.reason);
  };
  if (source.aborted) abort();
  if (!unlimited.has(source)) {
    // Many waits on one signal are no leak, whatever Node's warning says.
    setMaxListeners(0, source);
    unlimited.add(source);
  }
  source.addEventListener("abort", abort, { once: true });
  return () => {
    source.removeEventListener("abort", abort);
  };
}

/** Settles as the task does, or rejects with what `late()` returns once `ms` have passed. The task is aborted then, and waited for. */
export function within<T>(
  ms: number,
  clock: Clock,
  signal: AbortSignal,
  task: (own: AbortSignal) => Promise<T>,
  late: () => Error,
): Promise<T> {
  return firstOf<T>(signal, task, async (own) => {
    await clock.sleep(ms, own);
    throw late();
  });
}

/** Settles as the promise does, or rejects with the signal's reason; the promise goes on for others that wait for it. */
export function raced<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    const release = (): void => {
      signal.removeEventListener("abort", abort);
    };
    promise.then(resolve, reject).then(release, release);
  });
}

/** Rejects with the signal's reason once it fires; never resolves. For `firstOf` and `Promise.race`. */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

/**
 * "Something changed, look again." Carries no payload on purpose: a loop that acts on what an event said behaves
 * differently after a restart, when there was no event. Rings coalesce; every waiter has its own bell.
 */
export class Doorbell {
  #rung = false;
  #answer: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#answer?.();
  }

  /** Settles at once if it rang since the last wait. One waiter at a time. */
  async wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#rung) {
      await new Promise<void>((resolve, reject) => {
        const abort = (): void => {
          this.#answer = undefined;
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", abort, { once: true });
        this.#answer = () => {
          this.#answer = undefined;
          signal.removeEventListener("abort", abort);
          resolve();
        };
      });
    }
    this.#rung = false;
  }
}
