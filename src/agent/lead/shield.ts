import type { Clock } from "../../clock.ts";

/**
 * Runs a task that goes on for at most `ms` after the signal has fired: a stop must not tear a member call from its record, nor the
 * removal of a voter from the promotion that follows it. Rejects as the task does; late, with the signal's reason.
 */
export async function shielded<T>(
  signal: AbortSignal,
  ms: number,
  clock: Clock,
  task: (own: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const over = new AbortController();
  const late = (): void => {
    clock.sleep(ms, over.signal).then(
      () => {
        own.abort(signal.reason);
      },
      () => undefined,
    );
  };
  signal.addEventListener("abort", late, { once: true });
  try {
    return await task(own.signal);
  } finally {
    signal.removeEventListener("abort", late);
    over.abort();
  }
}
