import { configDefaults, defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const full = process.env["QUORATE_TEST_FULL"] === "1";

/** The simulated lives first: they take what processor time the others leave, and would run alone at the end. */
class LivesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const lives = sorted.filter(({ moduleId }) => moduleId.endsWith("/test/sim/lives.test.ts"));
    return [...lives, ...sorted.filter((file) => !lives.includes(file))];
  }
}

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...(full ? [] : ["test/full/**"])],
    pool: "forks",
    // Most of the time is waiting for servers: more than there are cores.
    maxWorkers: 4,
    sequence: { sequencer: LivesFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A test that fails once is a bug to find, never one to run again.
    retry: 0,
  },
});
