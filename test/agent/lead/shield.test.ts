import { expect, test } from "vitest";
import { systemClock, type Clock } from "../../../src/clock.ts";
import { shielded } from "../../../src/agent/lead/shield.ts";

/** Counts the waits that are under way. */
class CountingClock implements Clock {
  waits = 0;
  nowMs = (): number => systemClock.nowMs();
  wallTime = (): Date => systemClock.wallTime();
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.waits++;
    await systemClock.sleep(ms, signal).finally(() => this.waits--);
  }
}

test("a stop in the middle of a step lets it come to its end", async () => {
  const clock = new CountingClock();
  const stop = new AbortController();
  const steps: string[] = [];
  const running = shielded(stop.signal, 60_000, clock, async (own) => {
    steps.push("removed");
    stop.abort(new Error("stop"));
    await systemClock.sleep(20, own);
    steps.push("promoted");
    return "done";
  });
  expect(await running).toBe("done");
  expect(steps).toEqual(["removed", "promoted"]);
  await systemClock.sleep(0, new AbortController().signal);
  expect(clock.waits).toBe(0);
});

test("a step that does not end is given up after that time, with the reason of the stop", async () => {
  const stop = new AbortController();
  const running = shielded(stop.signal, 30, systemClock, async (own) => {
    stop.abort(new Error("stop"));
    await systemClock.sleep(60_000, own);
  });
  await expect(running).rejects.toThrow("stop");
});

test("without a stop nothing ends it, and what it throws is passed on", async () => {
  const clock = new CountingClock();
  const never = new AbortController().signal;
  expect(await shielded(never, 1, clock, async () => systemClock.sleep(20, never).then(() => "done"))).toBe("done");
  await expect(shielded(never, 1, clock, () => Promise.reject(new Error("refused")))).rejects.toThrow("refused");
  expect(clock.waits).toBe(0);
});
