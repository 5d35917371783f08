// Set-up in one command, with nothing but Node and npm: the locked packages, a build, an etcd. What is there costs nothing;
// what is done prints a line.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { constants, tmpdir, userInfo } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { findEtcd, installEtcd } from "../src/embed/store.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

/** @param {string} line */
const say = (line) => console.error(`setup: ${line}`);

/**
 * Packages, build and etcd, in this order.
 *
 * @param {{ etcd?: boolean }} [options]
 */
export async function setup({ etcd = true } = {}) {
  await ensurePackages();
  await ensureBuild();
  if (etcd) await ensureEtcd();
}

/** Installs the locked packages unless npm's own record says that just these are there. */
export async function ensurePackages() {
  if (packagesAreThere()) return;
  await alone(async () => {
    if (packagesAreThere()) return;
    say("installing the locked packages (npm ci)");
    // NODE_ENV=production would leave out the compiler; install scripts are never needed.
    const args = ["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    const npm = process.env["npm_execpath"];
    const code = npm && /npm-cli\.[cm]?js$/.test(npm) ? await run(process.execPath, [npm, ...args]) : await run("npm", args);
    if (code !== 0) {
      throw new Error(`Cannot install the locked packages: npm ci ended with ${code}`, {
        cause: new Error("see its output above; `npm ping` shows whether the registry answers"),
      });
    }
  });
}

/** Compares package-lock.json with what npm noted in node_modules, which it writes last. */
function packagesAreThere() {
  try {
    const wanted = readPackages(join(root, "package-lock.json"));
    const there = readPackages(join(root, "node_modules", ".package-lock.json"));
    return Object.entries(wanted).every(
      ([path, { version, optional }]) => path === "" || there[path]?.version === version || (optional && !there[path]),
    );
  } catch {
    return false;
  }
}

/**
 * @param {string} file
 * @returns {Record<string, { version?: string, optional?: boolean }>}
 */
function readPackages(file) {
  /** @type {{ packages: Record<string, { version?: string, optional?: boolean }> }} */
  const lock = JSON.parse(readFileSync(file, "utf8"));
  return lock.packages;
}

/** Compiles src into dist unless dist was made from just these sources. */
export async function ensureBuild() {
  const stamp = join(dist, ".sources.json");
  const wanted = sources();
  if (readText(stamp) === wanted) return;
  await alone(async () => {
    const before = readText(stamp);
    if (before === wanted) return;
    say("building");
    if (before !== undefined) removeOutputs(before, wanted);
    const code = await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"]);
    if (code !== 0) throw new Error("Cannot build: the compiler found errors, see above");
    mkdirSync(dist, { recursive: true });
    writeFileSync(stamp, wanted);
  });
}

/** Every source with its time and size, as text that is equal when nothing changed. */
function sources() {
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((file) => /\.m?[jt]s$/.test(file));
  const all = [...files.map((file) => join("src", file)), "tsconfig.json", "tsconfig.build.json", "package-lock.json"].sort();
  return JSON.stringify(
    all.map((file) => {
      const { mtimeMs, size } = statSync(join(root, file));
      return [file, mtimeMs, size];
    }),
  );
}

/**
 * The compiler never removes what it made of a source that is gone.
 *
 * @param {string} before
 * @param {string} wanted
 */
function removeOutputs(before, wanted) {
  const names = (/** @type {string} */ text) => /** @type {[string][]} */ (JSON.parse(text)).map(([file]) => file);
  const still = new Set(names(wanted));
  for (const file of names(before)) {
    if (still.has(file) || !file.startsWith("src")) continue;
    const output = join(dist, relative("src", file)).replace(/ts$/, "js");
    for (const old of [output, `${output}.map`, output.replace(/js$/, "d.ts"), output.replace(/\.mjs$/, ".d.mts")])
      rmSync(old, { force: true });
  }
}

/** Makes sure of an etcd: see src/embed/store.mjs for where it is looked for. */
export function ensureEtcd() {
  return stoppable((signal) => findEtcd({ log: say, signal }));
}

/**
 * Installs the etcds of other suites, where they can be had: for the tests of `npm run test:full`.
 *
 * @param {readonly string[]} suites
 */
export async function ensureEtcdsOf(suites) {
  for (const suite of suites) {
    try {
      await stoppable((signal) => installEtcd({ suite, log: say, signal }));
    } catch (error) {
      if (error instanceof Stopped) throw error;
      say(
        `the etcd of ${suite} cannot be had, so nothing is tested with it: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}

/** What ends a step when the process is told to stop. */
class Stopped extends Error {
  /** @param {NodeJS.Signals} by */
  constructor(by) {
    super(`stopped by ${by}`);
    this.by = by;
  }
}

/**
 * Runs a step that ends, with all it started, when this process is told to stop; then throws Stopped.
 *
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} step
 * @returns {Promise<T>}
 */
async function stoppable(step) {
  const stop = new AbortController();
  const onSignal = (/** @type {NodeJS.Signals} */ by) => stop.abort(new Stopped(by));
  const signals = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);
  for (const signal of signals) process.on(signal, onSignal);
  try {
    return await step(stop.signal);
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}

/**
 * Runs one of our steps while no other process of this user does so in this folder: `npm start` and `npm test` at once in a
 * fresh clone must not both run npm ci.
 *
 * @template T
 * @param {() => Promise<T>} step
 * @returns {Promise<T>}
 */
async function alone(step) {
  const id = createHash("sha256").update(root).digest("hex").slice(0, 16);
  const lock = join(tmpdir(), `quorate-setup-${userInfo().uid}-${id}`);
  let told = false;
  while (!take(lock)) {
    if (!told) say("waiting for another set-up in this folder");
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  try {
    return await step();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** @param {string} lock */
function take(lock) {
  try {
    writeFileSync(lock, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EEXIST") throw error;
  }
  const holder = Number(readText(lock));
  // An empty file is being written at this moment.
  if (holder > 0 && !existsSync(`/proc/${holder}`) && existsSync("/proc/self")) rmSync(lock, { force: true });
  return false;
}

/** @param {string} file */
function readText(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/**
 * Runs a command with its output on stderr: stdout is for what the user asked for.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {Promise<number>} its exit code
 */
function run(command, args) {
  return stoppable(
    (signal) =>
      new Promise((resolve, reject) => {
        const child = spawn(command, args, { cwd: root, stdio: ["ignore", 2, 2] });
        signal.addEventListener("abort", () => child.kill("SIGTERM"));
        child.once("error", reject);
        child.once("close", (code) => (signal.aborted ? reject(/** @type {Stopped} */ (signal.reason)) : resolve(code ?? 1)));
      }),
  );
}

/**
 * Prints an error the way the command line does and sets the exit code.
 *
 * @param {unknown} error
 */
export function fail(error) {
  if (error instanceof Stopped) {
    say(error.message);
    process.exitCode = 128 + constants.signals[error.by];
    return;
  }
  const { message, cause, hint, code } = /** @type {Error & { hint?: string, code?: string }} */ (error);
  console.error(`error: ${message}`);
  if (cause instanceof Error) console.error(`  cause: ${cause.message}`);
  if (hint !== undefined) console.error(`  hint: ${hint}`);
  process.exitCode = code === "NO_ETCD" || code === "INVALID_ETCD" ? 7 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setup().catch(fail);
