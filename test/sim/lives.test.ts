import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { simulate } from "../support/sim/simulate.ts";

// Whole agents over a model of etcd and of the network, in virtual time. `npm run sim -- --seed S --rounds 1 --trace info` shows a life.
const isFull = process.env["QUORATE_TEST_FULL"] === "1";
const lives = isFull ? 100_000 : 200;

/** Runs the script and returns what it says, with its exit code. */
function play(...args: string[]): Promise<{ readonly code: number; readonly said: string }> {
  const script = fileURLToPath(new URL("../../scripts/sim.mjs", import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], { maxBuffer: 64 * 1024 ** 2 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : error ? -1 : 0, said: stdout + stderr });
    });
  });
}

test(
  `${lives} lives of 300 faults each: no rule is broken, and each cluster settles once the faults stop`,
  { timeout: lives * 3_000 },
  async () => {
    const { code, said } = await play("--seed", "1", "--rounds", String(lives), "--jobs", "2");
    expect(said).toContain(`${lives} lives, 0 broken`);
    expect(Number(/\(([0-9]+) at least\)/.exec(said)?.[1])).toBeGreaterThanOrEqual(300);
    expect(code).toBe(0);
  },
);

test("one seed is one life: the same events, each time", { timeout: 60_000 }, async () => {
  const [one, other] = [await simulate(7), await simulate(7)];
  expect(other.notes).toEqual(one.notes);
  expect(other.events).toBe(one.events);
});
