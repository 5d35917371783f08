// Notes what every test came to, for scripts/test.mjs, in the file QUORATE_TEST_RESULTS names.
import { writeFileSync } from "node:fs";

/** @import { Reporter, TestModule } from "vitest/node" */

/**
 * @typedef {object} TestResults
 * @property {{ file: string, name: string, state: string, note: string | undefined }[]} tests
 * @property {{ file: string, ms: number, broken: boolean }[]} files broken: it failed outside its tests
 * @property {number} unhandled errors nobody caught
 */

/** @implements {Reporter} */
export default class {
  /**
   * @param {readonly TestModule[]} modules
   * @param {readonly unknown[]} unhandled
   */
  onTestRunEnd(modules, unhandled) {
    const file = process.env["QUORATE_TEST_RESULTS"];
    if (!file) return;
    /** @type {TestResults} */
    const results = {
      tests: modules.flatMap((module) =>
        [...module.children.allTests()].map((test) => {
          const result = test.result();
          return {
            file: module.relativeModuleId,
            name: test.fullName,
            state: result.state,
            note: result.state === "skipped" ? result.note : undefined,
          };
        }),
      ),
      files: modules.map((module) => ({
        file: module.relativeModuleId,
        ms: module.diagnostic().duration,
        broken: module.errors().length > 0 || [...module.children.allSuites()].some((suite) => suite.errors().length > 0),
      })),
      unhandled: unhandled.length,
    };
    writeFileSync(file, JSON.stringify(results));
  }
}
