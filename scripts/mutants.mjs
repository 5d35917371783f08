// npm run mutants [-- [--remember] TEXT]: breaks the chooser and the leader in every way that test/mutants/list.mjs names (with TEXT: only
// those whose line has it in it), one at a time, and plays the tests and then the simulation until something fails. Exits 1 when one goes
// unnoticed. What caught each last time is in test/mutants/caught.json and is tried first; --remember writes it.
// Only a test that fails catches, and only of a file that passes without a mutant, before and after; a file that cannot be loaded, or an
// error outside of its tests, says nothing of the rule.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ofTheLeader, ofThePlan } from "../test/mutants/list.mjs";
import { Player } from "../test/mutants/players.mjs";
import { fail, setup } from "./setup.mjs";

/** @import { Mutant } from "../test/mutants/list.mjs" */

const root = fileURLToPath(new URL("..", import.meta.url));
const args = process.argv.slice(2);
const remembers = args.includes("--remember");
const only = args.filter((arg) => arg !== "--remember").join(" ");
/** Whole agents, from a copy of the sources: what is asked when no test notices. */
const lives = { name: "the simulation's lives", rounds: "300", longestMs: 240_000 };

const memory = join(root, "test/mutants/caught.json");
/** What caught each mutant last. @type {Record<string, string>} */
const caughtBy = existsSync(memory) ? JSON.parse(readFileSync(memory, "utf8")) : {};
/** @type {Map<string, number>} */
const catches = new Map();
for (const path of Object.values(caughtBy)) catches.set(path, (catches.get(path) ?? 0) + 1);

// Those that catch most first, and the model's own test after the chooser's: it takes longest.
const ofRules = [...testsIn("test/chooser"), "test/sim/sim.test.ts"];
const ofLeading = testsIn("test/agent/lead");
/** @type {{ readonly mutant: Mutant, readonly net: readonly string[] }[]} */
const queue = [
  ...ofThePlan.map((mutant) => ({ mutant, net: ofRules })),
  ...ofTheLeader.map((mutant) => ({ mutant, net: ofLeading })),
].filter(({ mutant }) => lineOf(mutant).includes(only));

await setup().catch((/** @type {unknown} */ error) => {
  fail(error);
  process.exit(1);
});
const startMs = performance.now();
const total = queue.length;
let caught = 0;
/** @type {string[]} */
const wrong = [];
/** How long each file takes without a mutant; undefined: its tests do not pass. @type {Map<string, Promise<number | undefined>>} */
const clean = new Map();
const players = Array.from({ length: Math.max(1, Math.min(4, availableParallelism(), total)) }, () => new Player());
/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
  process.once(signal, () => {
    for (const player of players) player.kill();
    for (const child of running) child.kill("SIGTERM");
    process.exit(1);
  });
}
try {
  await Promise.all(players.map(work));
} finally {
  for (const player of players) player.kill();
}
for (const line of wrong) console.log(line);
console.log(`${caught} of ${total} mutants caught in ${Math.round((performance.now() - startMs) / 1000)} s`);
if (caught < total || wrong.length > 0) process.exitCode = 1;

/** @param {Player} player */
async function work(player) {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const line = lineOf(next.mutant);
    const fromMs = performance.now();
    const by = await catcherOf(player, next.mutant, next.net);
    if (by === undefined) wrong.push(`UNNOTICED: ${line}`);
    else {
      caught++;
      caughtBy[line] = by.path;
      if (remembers) remember();
    }
    const seconds = ((performance.now() - fromMs) / 1000).toFixed(1).padStart(6);
    console.log(`${seconds} s  ${by === undefined ? "UNNOTICED" : `caught by ${by.path}${by.how}`.padEnd(50)}  ${line}`);
  }
  // What a mutant leaves behind in the player would look like one that is caught.
  for (const path of player.sawFail) {
    const played = await player.play(path);
    if (played === "late" || played.failed !== undefined || played.crashed !== undefined)
      wrong.push(`FAILED: ${path} does not pass any more without a mutant: ${told(played)}`);
  }
  await player.end();
}

/**
 * @param {Player} player
 * @param {Mutant} mutant
 * @param {readonly string[]} net
 * @returns {Promise<{ readonly path: string, readonly how: string } | undefined>}
 */
async function catcherOf(player, mutant, net) {
  const last = caughtBy[lineOf(mutant)];
  const catcher = async (/** @type {string} */ path) => {
    if (path === lives.name) return (await survives(mutant)) ? undefined : { path, how: "" };
    const cleanMs = await (clean.get(path) ?? playClean(player, path));
    if (cleanMs === undefined) return undefined;
    // A mutant may make something wait for ever.
    const played = await player.play(path, mutant, 30_000 + 10 * cleanMs);
    if (played === "late") return { path, how: " (by time)" };
    return played.failed === undefined ? undefined : { path, how: "" };
  };
  const paths = [...net, lives.name];
  if (last !== undefined && paths.includes(last)) paths.unshift(...paths.splice(paths.indexOf(last), 1));
  for (const path of paths) {
    const found = await catcher(path);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * @param {Player} player
 * @param {string} path
 */
function playClean(player, path) {
  const playing = (async () => {
    const fromMs = performance.now();
    const played = await player.play(path);
    const good = played !== "late" && played.failed === undefined && played.crashed === undefined && played.tests > 0;
    if (good) return performance.now() - fromMs;
    wrong.push(`FAILED: ${path} does not pass without a mutant, so it catches nothing: ${told(played)}`);
    return undefined;
  })();
  clean.set(path, playing);
  return playing;
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
    return !(await isBroken(["scripts/sim.mjs", "--seed", "1", "--rounds", lives.rounds], folder));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Whether a life broke a rule, or went on for ever.
 *
 * @param {readonly string[]} simArgs
 * @param {string} cwd
 * @returns {Promise<boolean>}
 */
function isBroken(simArgs, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, simArgs, { cwd, stdio: ["ignore", "pipe", "ignore"] });
    running.add(child);
    let said = "";
    let late = false;
    child.stdout.setEncoding("utf8").on("data", (/** @type {string} */ text) => (said += text));
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGTERM");
    }, lives.longestMs);
    child.once("error", reject);
    child.once("close", () => {
      clearTimeout(timer);
      running.delete(child);
      resolve(late || said.includes("\nBROKEN "));
    });
  });
}

/** @param {string} folder */
function testsIn(folder) {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `${folder}/${name}`)
    .sort((a, b) => (catches.get(b) ?? 0) - (catches.get(a) ?? 0));
}

/** Of those that are in the list still. */
function remember() {
  const lines = [...ofThePlan, ...ofTheLeader].map(lineOf).filter((line) => caughtBy[line] !== undefined);
  writeFileSync(
    memory,
    `${JSON.stringify(Object.fromEntries(lines.sort().map((line) => [line, caughtBy[line]])), undefined, 2)}\n`,
  );
}

/** @param {Mutant} mutant */
function lineOf({ file, breaks }) {
  return `${file}: ${breaks}`;
}

/** @param {"late" | import("../test/mutants/player.mjs").Played} played */
function told(played) {
  return played === "late" ? "it does not end" : (played.failed ?? played.crashed ?? "it has no tests");
}
