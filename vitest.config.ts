import { configDefaults, defineConfig } from "vitest/config";

const full = process.env["QUORATE_TEST_FULL"] === "1";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...(full ? [] : ["test/full/**"])],
    pool: "forks",
    // Most of the time is waiting for servers: more than there are cores.
    maxWorkers: 4,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A test that fails once is a bug to find, never one to run again.
    retry: 0,
  },
});
