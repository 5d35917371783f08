import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isAlive } from "../support/etcd-server.ts";
import { eventually } from "../support/eventually.ts";
import { full, slow } from "../support/full.ts";
import { project, type Project } from "../support/project.ts";

const lives = { QUORATE_TEST_LIVES: "2", QUORATE_TEST_FULL_LIVES: "6", QUORATE_TEST_SUITES: "" };

/** A project whose parts of `npm run test:full` are short, and say what they were asked. */
function short(files: Readonly<Record<string, string>>, asked: Readonly<Record<string, string>> = lives): Project {
  const sim = `import { parseArgs } from "node:util";
    const options = { seed: { type: "string" }, rounds: { type: "string" }, step: { type: "string" } };
    const { seed, rounds, step } = parseArgs({ options }).values;
    for (let one = Number(seed); one < Number(seed) + Number(rounds); one += Number(step))
      console.log(JSON.stringify({ seed: one, faults: 300, cpuMs: 1 }));`;
  return project(
    {
      "test/skips.md": "",
      "test/a.test.ts": `import { test } from "vitest";
        test("good", () => undefined);`,
      "test/smoke/b.test.ts": `import { expect, test } from "vitest";
        test("good", () => expect(process.env["QUORATE_TEST_MODE"]).toBeOneOf([undefined, "auto-tls", "auth"]));`,
      "test/support/sim/main.ts": sim,
      "test/support/typescript-hooks.mjs": readFileSync(new URL("../support/typescript-hooks.mjs", import.meta.url), "utf8"),
      "scripts/check.mjs": "export const check = async () => true;",
      "scripts/mutants.mjs": `console.log("2 of 2 mutants caught");`,
      "src/index.ts": "export const nothing = 0;",
      ...files,
    },
    asked,
  );
}

const testFull = ["scripts/test.mjs", "--full"];

slow("test:full plays the lives after the tests, then the mutants, one at a time, and counts each of them", async () => {
  using small = short({});
  const ran = await small.run(testFull);
  expect(ran.stderr).toMatch(/simulation: seeds 3 to 6\n4 lives, 0 broken[^]*\nmutants\n/);
  const order = ["time per folder", "2 of 2 mutants caught", "time per part"];
  const places = order.map((text) => ran.stdout.indexOf(text));
  expect(places.every((place, i) => place > (places[i - 1] ?? 0))).toBe(true);
  const parts = [
    "checks",
    "tests with etcd 3.5.99",
    "tests with etcd 3.5.99 and auto-tls",
    "tests with etcd 3.5.99 and auth",
    "simulation",
    "mutants",
  ];
  for (const name of parts) expect(ran.stdout).toMatch(new RegExp(`\n  ${name} +\\d+\\.\\d s  ok\n`));
  expect(ran.stdout).toMatch(/\n6 passed, 0 failed, 0 skipped\n$/);
  expect(ran.code).toBe(0);
});

slow("test:full fails for one broken life, and says how to play it again", async () => {
  using small = short({
    "test/support/sim/main.ts": `console.log(JSON.stringify({ broken: "seed 5: two clusters", cpuMs: 1 }));`,
  });
  const ran = await small.run(testFull);
  expect(ran.stderr).toContain(
    "BROKEN seed 5: two clusters\n  again, with what its agents say: npm run sim -- --seed 5 --rounds 1",
  );
  expect(ran.stdout).toMatch(/\n {2}simulation +\d+\.\d s {2}FAILED\n/);
  expect(ran.stdout).toMatch(/\n5 passed, 1 failed, 0 skipped\n$/);
  expect(ran.code).toBe(1);
});

test.each(["SIGINT", ...(full ? (["SIGTERM"] as const) : [])] as const)(
  "%s ends test:full with all that it runs",
  async (signal) => {
    using small = short({
      "test/support/sim/main.ts": `import { writeFileSync } from "node:fs";
      import { tmpdir } from "node:os";
      writeFileSync(tmpdir() + "/" + process.pid + ".life", "");
      setInterval(() => undefined, 1000);`,
    });
    const pids = (): number[] =>
      readdirSync(join(small.folder, "tmp")).flatMap((name) => (name.endsWith(".life") ? Number.parseInt(name, 10) : []));
    let pid = 0;
    const ended = small.run(testFull, (own) => (pid = own));
    await eventually("the tests ask for what they need, and a life is being played", () => pid > 0 && pids().length > 0, 30_000);
    process.kill(pid, signal);
    const ran = await ended;
    expect(ran.stderr).toContain(`stopped by ${signal}`);
    expect(ran.stdout).not.toContain("mutants caught");
    expect(ran.stdout).not.toContain("outlived");
    expect(ran.code).toBe(1);
    expect(pids().filter(isAlive)).toEqual([]);
  },
);

test("a number of lives that is none is refused, and not taken for no lives", async () => {
  using small = short({}, { QUORATE_TEST_FULL_LIVES: "100k" });
  const stderr = "error: QUORATE_TEST_FULL_LIVES must be a whole number from 1: it is 100k\n";
  expect(await small.run(testFull)).toEqual({ code: 2, stdout: "", stderr });
});
