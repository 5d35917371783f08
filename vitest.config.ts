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

/** Those that replace modules need a process of their own. */
const alone = ["test/embed/without-tools.test.ts"];
/** Folders, where scripts/test.mjs leaves some out: its flag for that does not reach projects. */
const without = (process.env["QUORATE_TEST_WITHOUT"] ?? "").split(",").filter((folder) => folder !== "");
const exclude = [...configDefaults.exclude, ...(full ? [] : ["test/full/**"]), ...without.map((folder) => `${folder}/**`)];

export default defineConfig({
  test: {
    projects: [
      // What a process has loaded it keeps for its next files: loading it anew for each was a tenth of all processor time.
      {
        extends: true,
        test: { name: "shared", include: ["test/**/*.test.ts"], exclude: [...exclude, ...alone], isolate: false },
      },
      { extends: true, test: { name: "alone", include: alone, exclude } },
    ],
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
