import { expect, test } from "vitest";
import { project } from "../support/project.ts";

const skips = "- `test/a.test.ts > declared`: nothing to test it with\n";

test("npm test counts, names every skip with its reason, and passes when all is well", async () => {
  using small = project({
    "test/skips.md": skips,
    "test/a.test.ts": `import { test } from "vitest";
      test("good", () => undefined);
      test.skip("declared", () => undefined);`,
  });
  const ran = await small.run(["scripts/test.mjs", "test"]);
  expect(ran.stdout).toContain("skipped: test/a.test.ts > declared: nothing to test it with\n");
  expect(ran.stdout).toMatch(/time per folder\n {2}test +\d+\.\d s\n/);
  expect(ran.stdout).toMatch(/\n1 passed, 0 failed, 1 skipped\n$/);
  expect(ran.code).toBe(0);

  // What -t leaves out is not a skip that needs a reason.
  const part = await small.run(["scripts/test.mjs", "-t", "^declared"]);
  expect(part.stdout).toMatch(/\n0 passed, 0 failed, 2 skipped\n$/);
  expect(part.code).toBe(0);
});

test("npm test fails for a failed test, an undeclared skip, a broken file, an unhandled error and a process left behind", async () => {
  using small = project({
    "test/skips.md": skips,
    "test/a.test.ts": `import { spawn } from "node:child_process";
      import { test } from "vitest";
      test("bad", () => { throw new Error("as planned"); });
      test("not declared", (ctx) => ctx.skip("no reason in the list"));
      test("leaves a process", () => {
        spawn(process.execPath, ["-e", "setInterval(() => undefined, 1000)", "left-behind"], { detached: true, stdio: "ignore" }).unref();
      });
      test("leaves an error", () => { void Promise.reject(new Error("nobody cares")); });`,
    "test/b.test.ts": `throw new Error("cannot be loaded");`,
  });
  const ran = await small.run(["scripts/test.mjs", "test"]);
  expect(ran.stdout).toContain(
    "skipped: test/a.test.ts > not declared: no reason in the list\n  FAILED: test/skips.md does not name it\n",
  );
  expect(ran.stdout).toMatch(/FAILED: process \d+ outlived the tests: .*left-behind\n/);
  expect(ran.stdout).toMatch(/\n2 passed, 5 failed, 1 skipped\n$/);
  expect(ran.code).toBe(1);
});
