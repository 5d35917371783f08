// npm run mutants [-- TEXT]: breaks the chooser and the leader in every way that test/mutants/list.mjs names (with TEXT: only those whose
// line has it in it), one at a time, and runs the tests and then the simulation until something fails. Exits 1 when one goes unnoticed.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
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
const ofSteps = { name: "simulation", paths: ["test/sim/sim.test.ts"] };
/** Whole agents: from a copy of the sources. */
const lives = "300";
/** @type {{ readonly mutant: Mutant, readonly index: number, readonly nets: readonly Net[] }[]} */
const queue = [...ofThePlan, ...ofTheLeader]
  .map((mutant, index) => ({
    mutant,
    index,
    nets: index < ofThePlan.length ? [ofRules, ofSteps] : [ofActing, ofLeading],
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
    if (by === undefined && !(await survives(mutant))) by = "simulation";
    if (by === undefined) unnoticed.push(line);
    else caught++;
    console.log(`${by === undefined ? "UNNOTICED " : `caught by the ${by}`.padEnd(20)}  ${line}`);
  }
}

/**
 * Whether whole agents with that mistake live through the simulation.
 *
 * @param {Mutant} mutant
 * @returns {Promise<boolean>}
 */
async function survives({ file, from, to }) {
  const folder = mkdtempSync(join(tmpdir(), "quorate-mutant-"));
  try {
    for (const part of ["src", "scripts", "package.json", "test/support"]) {
      cpSync(join(root, part), join(folder, part), { recursive: true });
    }
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    const path = join(folder, file);
    writeFileSync(
      path,
      readFileSync(path, "utf8").replace(from, () => to),
    );
    return await succeeds(["scripts/sim.mjs", "--seed", "1", "--rounds", lives], folder, {});
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * @param {number} index
 * @param {readonly string[]} paths
 * @returns {Promise<boolean>}
 */
function passes(index, paths) {
  const args = ["node_modules/vitest/vitest.mjs", "run", "--config", "test/mutants/vitest.config.ts", ...paths];
  return succeeds(args, root, { QUORATE_MUTANT: String(index), QUORATE_TEST_FULL: "" });
}

/**
 * @param {readonly string[]} args
 * @param {string} cwd
 * @param {NodeJS.ProcessEnv} more
 * @returns {Promise<boolean>}
 */
function succeeds(args, cwd, more) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, env: { ...process.env, ...more }, stdio: "ignore" });
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
