// npm run mutants [-- TEXT]: breaks the chooser and the leader in every way that test/mutants/list.mjs names (with TEXT: only those whose
// line has it in it), one at a time, and runs the tests and then the simulation until something fails. Exits 1 when one goes unnoticed.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { availableParallelism } from "node:os";
import { ofTheLeader, ofThePlan } from "../test/mutants/list.mjs";
import { fail, setup } from "./setup.mjs";

/** @import { Mutant } from "../test/mutants/list.mjs" */

const root = fileURLToPath(new URL("..", import.meta.url));
const only = process.argv.slice(2).join(" ");
/** A mutant that makes something wait for ever is caught by that. */
const longestMs = 240_000;

/** @typedef {{ readonly name: string, readonly paths: readonly string[] }} Net */
/** @type {Net} */
const ofRules = { name: "tests", paths: ["test/chooser"] };
// The quick ones first.
/** @type {Net} */
const ofActing = { name: "tests", paths: ["gate.test.ts", "test/agent/lead/carry-out"] };
/** @type {Net} */
const ofLeading = { name: "tests", paths: ["test/agent/lead"] };
/** @type {Net} */
const simulation = { name: "simulation", paths: ["test/sim"] };
/** @type {{ readonly mutant: Mutant, readonly index: number, readonly nets: readonly Net[] }[]} */
const queue = [...ofThePlan, ...ofTheLeader]
  .map((mutant, index) => ({
    mutant,
    index,
    nets: [...(index < ofThePlan.length ? [ofRules] : [ofActing, ofLeading]), simulation],
  }))
  .filter(({ mutant }) => `${mutant.file}: ${mutant.breaks}`.includes(only));

await setup().catch((/** @type {unknown} */ error) => {
  fail(error);
  process.exit(1);
});
const total = queue.length;
let caught = 0;
/** @type {string[]} */
const unnoticed = [];
/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM"])) {
  process.once(signal, () => {
    queue.length = 0;
    for (const child of running) child.kill("SIGTERM");
    process.exitCode = 1;
  });
}
await Promise.all(Array.from({ length: Math.max(1, Math.min(4, availableParallelism())) }, work));
for (const line of unnoticed) console.log(`UNNOTICED: ${line}`);
console.log(`${caught} of ${total} mutants caught`);
if (caught < total) process.exitCode = 1;

async function work() {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { mutant, index, nets } = next;
    const line = `${mutant.file}: ${mutant.breaks}`;
    let by;
    for (const net of nets) {
      if (await passes(index, net.paths)) continue;
      by = net.name;
      break;
    }
    if (by === undefined) unnoticed.push(line);
    else caught++;
    console.log(`${by === undefined ? "UNNOTICED " : `caught by the ${by}`.padEnd(20)}  ${line}`);
  }
}

/**
 * @param {number} index
 * @param {readonly string[]} paths
 * @returns {Promise<boolean>}
 */
function passes(index, paths) {
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      ["node_modules/vitest/vitest.mjs", "run", "--config", "test/mutants/vitest.config.ts", ...paths],
      { cwd: root, env: { ...process.env, QUORATE_MUTANT: String(index), QUORATE_TEST_FULL: "" }, stdio: "ignore" },
    );
    running.add(child);
    const late = setTimeout(() => child.kill("SIGKILL"), longestMs);
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(late);
      running.delete(child);
      resolve(code === 0);
    });
  });
}
