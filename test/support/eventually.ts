import { setTimeout as delay } from "node:timers/promises";

/** Waits until `check` gives something other than undefined or false, and returns it. Fails with `what` after the deadline. */
export async function eventually<T>(
  what: string,
  check: () => T | undefined | false | Promise<T | undefined | false>,
  withinMs = 10_000,
): Promise<T> {
  const untilMs = performance.now() + withinMs;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > untilMs) throw new Error(`Not within ${withinMs} ms: ${what}`);
    await delay(10);
  }
}
