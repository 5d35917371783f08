// npm run sim -- --seed S --rounds R [--jobs J] [--keep-going] [--kinds] [--trace info|debug]: plays R seeded lives of a cluster, from seed
// S on. Whole agents, a model of etcd and of the network, virtual time. Ends with 1 where one of them broke a rule, and shows its seed, the
// rule and what came before; it stops at the first one, unless it is to keep going. With --kinds it tells how many faults of which kind a
// life had, with --trace each life, with what its agents log.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const notesShown = 60;

/** @typedef {{ seed: number, faults?: number, events?: number, changes?: number, seconds?: number, cpuMs: number, kinds?: Record<string, number>, broken?: string, stack?: string, notes?: string[] }} Told */

let values;
try {
  ({ values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      rounds: { type: "string", default: "100" },
      jobs: { type: "string", default: "1" },
      "keep-going": { type: "boolean", default: false },
      kinds: { type: "boolean", default: false },
      trace: { type: "string" },
    },
  }));
} catch (error) {
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  console.error("usage: npm run sim -- --seed S --rounds R [--jobs J] [--keep-going] [--kinds] [--trace info|debug]");
  process.exit(2);
}
const { seed, rounds, jobs } = {
  seed: whole("seed", values.seed, 0),
  rounds: whole("rounds", values.rounds, 1),
  jobs: whole("jobs", values.jobs, 1),
};
const { trace, "keep-going": keepGoing } = values;
/** @type {import("node:child_process").ChildProcess[]} */
const children = [];

const sum = { lives: 0, faults: 0, leastFaults: Infinity, changes: 0, seconds: 0, cpuMs: 0, broken: 0 };
/** @type {Map<string, number>} */
const kinds = new Map();
const startMs = performance.now();
const workers = Array.from({ length: Math.min(jobs, rounds) }, (_, i) => work(i));
const codes = await Promise.all(workers);
const minutes = (performance.now() - startMs) / 60_000;
const { lives } = sum;
console.log(
  `${lives} lives, ${sum.broken} broken: ${Math.round(sum.faults / lives)} faults each (${sum.leastFaults} at least), ` +
    `${(sum.changes / lives).toFixed(1)} member calls that landed among them, ` +
    `${Math.round(sum.seconds / lives)} s of virtual time each, ${Math.round(lives / minutes)} lives a minute ` +
    `(${Math.round((60_000 * lives) / sum.cpuMs)} a minute of one core)`,
);
if (values.kinds) {
  console.log("faults of a life, on average");
  for (const [kind, met] of [...kinds].sort(([, a], [, b]) => b - a))
    console.log(`${(met / lives).toFixed(2).padStart(8)} ${kind}`);
}
process.exitCode = sum.broken > 0 || codes.some((code) => code !== 0) || lives < rounds ? 1 : 0;

/**
 * One process that plays every so many of the seeds.
 *
 * @param {number} first
 * @returns {Promise<number | null>}
 */
async function work(first) {
  const args = ["--seed", String(seed + first), "--rounds", String(rounds - first), "--step", String(jobs)];
  const child = spawn(
    process.execPath,
    [
      // What lives leave behind is nearly all garbage: a small nursery is copied over and over.
      "--min-semi-space-size=64",
      "--max-semi-space-size=64",
      // A helper thread's time is the machine's time as well: it compiled and collected for a quarter of what a life costs.
      "--single-threaded",
      // What runs once in a life is slow for hundreds of lives otherwise.
      "--always-sparkplug",
      "--import",
      join(root, "test/support/typescript-hooks.mjs"),
      join(root, "test/support/sim/main.ts"),
      ...args,
      ...(trace === undefined ? [] : ["--trace", trace]),
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  children.push(child);
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM"])) process.once(signal, () => child.kill());
  /** @type {Promise<number | null>} */
  const ended = new Promise((resolve) => child.once("close", resolve));
  for await (const line of createInterface({ input: child.stdout })) tell(/** @type {Told} */ (JSON.parse(line)));
  return await ended;
}

/** @param {Told} told */
function tell({ broken, stack, notes, faults = 0, changes = 0, seconds = 0, cpuMs, kinds: met = {} }) {
  for (const [kind, times] of Object.entries(met)) kinds.set(kind, (kinds.get(kind) ?? 0) + times);
  sum.lives++;
  sum.cpuMs += cpuMs;
  sum.faults += faults;
  sum.changes += changes;
  sum.seconds += seconds;
  if (broken === undefined) sum.leastFaults = Math.min(sum.leastFaults, faults);
  if (trace !== undefined) for (const note of notes ?? []) console.log(note);
  if (broken === undefined) return;
  sum.broken++;
  if (trace === undefined) for (const note of (notes ?? []).slice(-notesShown)) console.log(`  ${note}`);
  console.log(`BROKEN ${broken}`);
  console.log(
    `  again, with what its agents say: npm run sim -- --seed ${/\d+/.exec(broken)?.[0] ?? ""} --rounds 1 --trace info`,
  );
  if (stack !== undefined && trace !== undefined) console.log(stack);
  if (!keepGoing) for (const child of children) child.kill();
}

/**
 * @param {string} name
 * @param {string} text
 * @param {number} least
 */
function whole(name, text, least) {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  console.error(`error: --${name} must be a whole number from ${least}: it is ${text}`);
  process.exit(2);
}
