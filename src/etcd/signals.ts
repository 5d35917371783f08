import type { Clock } from "../clock.ts";

/** What ends a try that took too long; the error people see is made where the circumstances are known. */
export const late = Symbol("late");
/** What stops a timer. An error would cost a stack trace each time. */
export const inTime = Symbol("in time");

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
