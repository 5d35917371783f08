// The parts of scripts/test.mjs that are processes of their own: what each came to, how long it took, and the end of all at a signal.
import { spawn } from "node:child_process";
import { constants, setPriority } from "node:os";
import { fileURLToPath } from "node:url";

/** @import { ChildProcess } from "node:child_process" */

const root = fileURLToPath(new URL("..", import.meta.url));
/** What is left of a process that was told to end, before it is ended. */
const graceMs = 30_000;

/** @type {Set<ChildProcess>} */
const running = new Set();
/** @type {{ name: string, good: boolean, seconds: number }[]} */
const done = [];
/** @type {NodeJS.Signals | undefined} */
let stoppedBy;

/** From here on a signal ends what runs, and nothing else is begun. */
export function stopAtSignals() {
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) process.on(signal, () => stop(signal));
}

/** @param {NodeJS.Signals} signal */
function stop(signal) {
  stoppedBy = signal;
  for (const child of running) {
    // A ^C reaches what has the terminal by itself, and a second one would have it leave its own children behind.
    const isBeside = child.stdout !== null;
    if (signal !== "SIGINT" || isBeside) child.kill(isBeside ? "SIGTERM" : signal);
    setTimeout(() => child.kill("SIGKILL"), graceMs).unref();
  }
}

/** Ends what still runs, as after an error of this process. */
export function endParts() {
  for (const child of running) child.kill("SIGTERM");
}

/**
 * Runs a part that has the terminal.
 *
 * @param {string} name
 * @param {readonly string[]} args of node
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<number>} its exit code
 */
export async function runPart(name, args, env) {
  return (await run(name, args, env, false)).code;
}

/**
 * Begins a part that runs beside others, on what processor time they leave: what it says is kept, so that it does not stand in the
 * middle of what they say.
 *
 * @param {string} name
 * @param {readonly string[]} args of node
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{ code: number, said: string }>} when it is over
 */
export function runBeside(name, args, env) {
  const ended = run(name, args, env, true);
  // It is asked for later.
  ended.catch(() => undefined);
  return ended;
}

/** Prints a line for each part: how long it took. They do not add up where one ran beside others. */
export function tellParts() {
  const width = Math.max(...done.map(({ name }) => name.length));
  console.log("\ntime per part");
  for (const { name, good, seconds } of done)
    console.log(`  ${name.padEnd(width)} ${seconds.toFixed(1).padStart(7)} s  ${good ? "ok" : "FAILED"}`);
}

/**
 * @param {string} name
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @param {boolean} isBeside
 * @returns {Promise<{ code: number, said: string }>}
 */
async function run(name, args, env, isBeside) {
  refuseWhenStopped();
  const startMs = performance.now();
  let said = "";
  /** @type {number} */
  const code = await new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, env, stdio: isBeside ? ["ignore", "pipe", "pipe"] : "inherit" });
    running.add(child);
    if (isBeside && child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding("utf8").on("data", (/** @type {string} */ text) => (said += text));
    child.once("error", reject);
    child.once("close", (status) => {
      running.delete(child);
      resolve(status ?? 1);
    });
  });
  done.push({ name, good: code === 0, seconds: (performance.now() - startMs) / 1000 });
  // What was ended says nothing of what it was to find out.
  if (!isBeside) refuseWhenStopped();
  return { code, said };
}

function refuseWhenStopped() {
  if (stoppedBy) throw new Error(`stopped by ${stoppedBy}`);
}
