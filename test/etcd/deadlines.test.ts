import { expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { Deadlines } from "../../src/etcd/deadlines.ts";

/** Time that passes when it is told to, and what sleeps on it. */
class HandClock implements Clock {
  readonly sleepers = new Set<{ readonly atMs: number; readonly wake: () => void }>();
  #nowMs = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  wallTime(): Date {
    return new Date(0);
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { atMs: this.#nowMs + ms, wake: resolve };
      this.sleepers.add(sleeper);
      signal.addEventListener("abort", () => {
        this.sleepers.delete(sleeper);
        reject(signal.reason as Error);
      });
    });
  }

  async pass(ms: number): Promise<void> {
    this.#nowMs += ms;
    for (const sleeper of this.sleepers) {
      if (sleeper.atMs > this.#nowMs) continue;
      this.sleepers.delete(sleeper);
      sleeper.wake();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("each deadline fires in its time, on one timer, unless it was taken back", async () => {
  const clock = new HandClock();
  const deadlines = new Deadlines(clock);
  const fired: string[] = [];
  const add = (name: string, ms: number): (() => void) => deadlines.add(ms, () => fired.push(name));
  add("late", 1_000);
  add("soon", 100);
  const taken = add("taken back", 50);
  add("never", 5_000);
  await clock.pass(0);
  expect(clock.sleepers.size).toBe(1);
  taken();
  await clock.pass(99);
  expect(fired).toEqual([]);
  await clock.pass(1);
  expect(fired).toEqual(["soon"]);
  add("in between", 10);
  await clock.pass(10);
  await clock.pass(900);
  expect(fired).toEqual(["soon", "in between", "late"]);
  expect(clock.sleepers.size).toBe(1);
  deadlines.close();
  await clock.pass(10_000);
  expect(fired).toHaveLength(3);
  expect(clock.sleepers.size).toBe(0);
});
