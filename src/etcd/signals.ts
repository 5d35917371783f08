import { setMaxListeners } from "node:events";
import type { Clock } from "../clock.ts";

/** What ends a try that took too long; the error people see is made where the circumstances are known. */
export const late = Symbol("late");
/** What stops a timer. An error would cost a stack trace each time. */
export const inTime = Symbol("in time");

const unlimited = new WeakSet<AbortSignal>();

/**
 * Aborts `target` when one of the sources fires, until the returned function is called. In place of `AbortSignal.any`, whose
 * signals stay registered with a long-lived source for good.
 */
export function passOn(sources: readonly (AbortSignal | undefined)[], target: AbortController): () => void {
  const undo = sources.flatMap((source) => {
    if (source === undefined) return [];
    const abort = (): void => {
      target.abort(source.reason);
    };
    if (source.aborted) abort();
    if (!unlimited.has(source)) {
      // Many calls on one signal are no leak, whatever Node's warning says.
      setMaxListeners(0, source);
      unlimited.add(source);
    }
    source.addEventListener("abort", abort, { once: true });
    return [() => source.removeEventListener("abort", abort)];
  });
  return () => {
    for (const stop of undo) stop();
  };
}

/** Aborts `target` with {@link late} after `ms`. Aborting what it returns stops the timer. */
export function abortAfter(clock: Clock, ms: number, target: AbortController): AbortController {
  const stop = new AbortController();
  clock.sleep(Math.max(0, ms), stop.signal).then(
    () => {
      target.abort(late);
    },
    () => undefined,
  );
  return stop;
}
