// A process of scripts/mutants.mjs: one vitest, kept warm, that plays a file of tests over a tree in which one thing is broken, or nothing.
// A mutant costs what its file of tests does; starting vitest and reading the sources anew for each cost more than the tests.
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { createVitest } from "vitest/node";

/** @import { Mutant } from "./list.mjs" */
/** @import { TestModule } from "vitest/node" */

/**
 * @typedef {object} Asked
 * @property {string} path a file of tests
 * @property {Mutant | undefined} mutant undefined: the tree as it is
 */
/**
 * @typedef {object} Played
 * @property {string | undefined} failed the first test that failed
 * @property {string | undefined} crashed what went wrong outside of the tests; says nothing of a rule
 * @property {number} tests how many passed
 */

const root = fileURLToPath(new URL("../..", import.meta.url));
/** @type {Mutant | undefined} */
let mutant;

const vitest = await createVitest(
  "test",
  {
    config: false,
    root,
    watch: false,
    include: ["test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 0,
    bail: 1,
    reporters: [{}],
  },
  {
    plugins: [
      {
        name: "quorate-mutant",
        enforce: "pre",
        load(id) {
          if (mutant === undefined || relative(root, id.split("?")[0] ?? "") !== mutant.file) return null;
          const { from, to } = mutant;
          return readFileSync(join(root, mutant.file), "utf8").replace(from, () => to);
        },
      },
    ],
  },
);
// Nobody is there to take an answer any more: with the tests that are being played. It leads a group of its own.
process.once("disconnect", () => process.kill(-process.pid, "SIGKILL"));
process.on("message", (/** @type {Asked | "end"} */ asked) => {
  if (asked === "end") {
    void vitest.close().finally(() => process.exit(0));
    return;
  }
  void play(asked).then(
    (played) => process.send?.(played),
    (/** @type {unknown} */ error) => process.send?.({ failed: undefined, crashed: String(error), tests: 0 }),
  );
});
process.send?.("ready");

/**
 * @param {Asked} asked
 * @returns {Promise<Played>}
 */
async function play(asked) {
  // What is broken now, and what was before.
  for (const one of [mutant, asked.mutant]) if (one !== undefined) vitest.invalidateFile(join(root, one.file));
  mutant = asked.mutant;
  const [spec] = await vitest.globTestSpecifications([join(root, asked.path)]);
  if (spec === undefined) throw new Error(`there is no ${asked.path}`);
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications([spec]);
  const module = testModules.find(({ moduleId }) => moduleId === spec.moduleId);
  if (module === undefined) throw new Error(`${asked.path} was not played`);
  return judge(module, unhandledErrors);
}

/**
 * @param {TestModule} module
 * @param {readonly unknown[]} unhandled
 * @returns {Played}
 */
function judge(module, unhandled) {
  const tests = [...module.children.allTests()];
  const errors = [...module.errors(), ...[...module.children.allSuites()].flatMap((suite) => suite.errors()), ...unhandled];
  return {
    failed: tests.find((test) => test.result().state === "failed")?.fullName,
    crashed: errors.map((error) => (error instanceof Object && "message" in error ? String(error.message) : String(error)))[0],
    tests: tests.filter((test) => test.result().state === "passed").length,
  };
}
