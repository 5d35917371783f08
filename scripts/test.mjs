// npm test: set-up, then the tests and, beside them, types and import rule; `npm test -- test/chooser` runs a part, without these. With --full all checks,
// also the slow ones, what asks etcd on every other etcd of the store as well (not the slow ones; and the smoke tests there with certificates that
// are made, or with these and logins), then the rest of 100,000 lives, and the mutants.
// QUORATE_TEST_LIVES lives are among the tests (2,000 by default), and QUORATE_TEST_FULL_LIVES in all. The etcds of the suites in
// QUORATE_TEST_SUITES are fetched for it (those of Debian that are older than the newest, by default). Nothing runs beside the tests but the
// checks, which are over soon: whatever takes a processor takes it from the disk as well, and etcd then writes 60 times as slowly.
// The last line is `N passed, N failed, N skipped`.
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { listEtcds } from "../src/embed/store.mjs";
import { endParts, runBeside, runPart, stopAtSignals, tellParts } from "./parts.mjs";
import { ensureProgram } from "./programs.mjs";
import { ensureBuild, ensureEtcd, ensureEtcdsOf, ensurePackages, fail } from "./setup.mjs";

/** @import { TestResults } from "./test-reporter.mjs" */

const root = fileURLToPath(new URL("..", import.meta.url));
const run = randomUUID();
const full = process.argv.includes("--full");
const part = process.argv.slice(2).filter((arg) => arg !== "--full");
/** Folders whose tests ask no etcd, or only what the tests of others ask of each: once is enough for them. */
const ofOneEtcd = ["test/chooser", "test/cli", "test/examples", "test/mutants", "test/scripts", "test/sim"];
/** How agents, servers and clients of the smoke tests speak with each other, where not in the clear: each with another etcd, if there is one. */
const modes = ["auto-tls", "auth"];
const count = { passed: 0, failed: 0, skipped: 0 };

const lives = {
  amongTests: wholeOf("QUORATE_TEST_LIVES", 2_000),
  inAll: wholeOf("QUORATE_TEST_FULL_LIVES", 100_000),
};
const suites = (process.env["QUORATE_TEST_SUITES"] ?? "trixie,bookworm").split(",").filter((suite) => suite !== "");
/** @type {ReturnType<typeof runBeside> | undefined} */
let checks;

try {
  await ensurePackages();
  stopAtSignals();
  // Lint and format take a fifth of the time there is, and are asked for before every commit.
  const named = full ? [] : ["types", "tidy"];
  if (part.length === 0) checks = runBeside("checks", ["scripts/check.mjs", ...named], { ...process.env, QUORATE_TEST_RUN: run });
  await ensureBuild();
  const etcd = await ensureEtcd();
  const say = (/** @type {string} */ line) => console.error(`setup: ${line}`);
  await ensureProgram("sshd", say);
  if (full) await ensureProgram("dnsmasq", say);
  if (full && part.length === 0) await ensureEtcdsOf(suites);
  // The tests find what is given or in the store by themselves.
  await testWith(etcd, { tell: etcd.from === "path", slow: full });
  await tellChecks();
  if (full) {
    const others = listEtcds().filter(({ binary }) => binary !== etcd.binary);
    for (const [i, other] of others.entries()) {
      // What they count to is counted to with the first one.
      const some = { slow: false, without: ofOneEtcd, mode: modes[i] };
      await testWith(other, { tell: true, ...(part.length === 0 ? some : { slow: true }) });
    }
    if (part.length === 0) {
      for (const mode of modes.slice(others.length))
        await testWith(etcd, { tell: true, slow: false, files: ["test/smoke"], mode });
      if (lives.inAll > lives.amongTests) await playLives();
      await runScript("mutants", ["scripts/mutants.mjs"]);
    }
  }
} catch (error) {
  fail(error);
  count.failed += 1;
} finally {
  endParts();
  await tellChecks().catch(fail);
  count.failed += endLeftovers();
}
if (count.failed > 0) process.exitCode ||= 1;
if (full) tellParts();
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);

/**
 * @param {string} name of a variable in the environment
 * @param {number} otherwise
 */
function wholeOf(name, otherwise) {
  const value = Number(process.env[name] ?? otherwise);
  if (Number.isInteger(value) && value >= 1) return value;
  console.error(`error: ${name} must be a whole number from 1: it is ${process.env[name]}`);
  process.exit(2);
}

/** Those that are not among the tests. They say something at their end only. */
async function playLives() {
  const seed = lives.amongTests + 1;
  console.error(`\nsimulation: seeds ${seed} to ${lives.inAll}`);
  const args = [
    "--seed",
    String(seed),
    "--rounds",
    String(lives.inAll - lives.amongTests),
    "--jobs",
    String(availableParallelism()),
  ];
  const { code, said } = await runBeside("simulation", ["scripts/sim.mjs", ...args], { ...process.env, QUORATE_TEST_RUN: run });
  console.error(said.trimEnd());
  count[code === 0 ? "passed" : "failed"] += 1;
}

/** What the checks found, where they ran. Those that found nothing count as nothing: they are no test. */
async function tellChecks() {
  if (checks === undefined) return;
  const ended = checks;
  checks = undefined;
  const { code, said } = await ended;
  console.error(`\n${said.trimEnd()}`);
  if (code !== 0) count.failed += 1;
}

/**
 * @param {{ binary: string, version: { text: string } }} etcd
 * @param {object} how
 * @param {boolean} how.tell whether the tests would find another one
 * @param {boolean} how.slow whether the slow ones are played as well
 * @param {readonly string[]} [how.without] folders of tests that are not to run
 * @param {readonly string[]} [how.files] files and folders to run; what was asked for, by default
 * @param {string | undefined} [how.mode] one of `modes`; by default none
 */
async function testWith({ binary, version }, { tell, slow, without = [], files = part, mode }) {
  console.error(`\ntesting with etcd ${version.text}${mode === undefined ? "" : `, smoke tests with ${mode}`} (${binary})`);
  const folder = mkdtempSync(join(tmpdir(), "quorate-test-"));
  const file = join(folder, "results.json");
  try {
    const args = [
      "node_modules/vitest/vitest.mjs",
      "run",
      "--reporter=default",
      "--reporter=./scripts/test-reporter.mjs",
      ...files,
    ];
    const code = await runPart(`tests with etcd ${version.text}${mode === undefined ? "" : ` and ${mode}`}`, args, {
      ...process.env,
      ...(tell && { QUORATE_ETCD_BIN: binary }),
      ...(slow && { QUORATE_TEST_FULL: "1" }),
      ...(mode !== undefined && { QUORATE_TEST_MODE: mode }),
      QUORATE_TEST_RUN: run,
      QUORATE_TEST_RESULTS: file,
      QUORATE_TEST_WITHOUT: without.join(","),
    });
    if (!existsSync(file)) throw new Error(`the tests ended with ${code} before they were through`);
    const found = tally(/** @type {TestResults} */ (JSON.parse(readFileSync(file, "utf8"))));
    if (code !== 0 && found === 0) count.failed += 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Counts as one that passed or failed.
 *
 * @param {string} name
 * @param {readonly string[]} args
 */
async function runScript(name, args) {
  console.error(`\n${name}`);
  const code = await runPart(name, args, { ...process.env, QUORATE_TEST_RUN: run });
  count[code === 0 ? "passed" : "failed"] += 1;
  if (code !== 0) console.error(`${name}: FAILED with ${code}`);
}

/**
 * Adds one run to the count and prints where the time went and what was skipped.
 *
 * @param {TestResults} results
 * @returns {number} how many failures it found
 */
function tally({ tests, files, unhandled }) {
  const inState = (/** @type {string[]} */ ...states) => tests.filter(({ state }) => states.includes(state));
  const skipped = inState("skipped", "pending");
  const chosen = part.some((arg) => arg.startsWith("-"));

  /** @type {Map<string, number>} */
  const folders = new Map();
  for (const { file, ms } of files) {
    const folder = dirname(file);
    folders.set(folder, (folders.get(folder) ?? 0) + ms);
  }
  console.log("\ntime per folder");
  for (const [folder, ms] of folders) console.log(`  ${folder.padEnd(16)} ${(ms / 1000).toFixed(1).padStart(6)} s`);

  const reasons = readSkips();
  let undeclared = 0;
  // With -t every other test counts as skipped; that is not what the list is about.
  for (const { file, name, note } of chosen ? [] : skipped) {
    const title = `${file} > ${name}`;
    const named = reasons.find(({ prefix }) => title.startsWith(prefix));
    console.log(`skipped: ${title}: ${note ?? named?.reason ?? "no reason given"}`);
    if (named) continue;
    console.log("  FAILED: test/skips.md does not name it");
    undeclared += 1;
  }

  const broken = files.filter((file) => file.broken).length;
  const failures = inState("failed").length + broken + unhandled + undeclared;
  count.passed += inState("passed").length;
  count.failed += failures;
  count.skipped += skipped.length;
  return failures;
}

/** The skips that are allowed: test/skips.md, a line each. */
function readSkips() {
  return readFileSync(join(root, "test", "skips.md"), "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, prefix, reason] = /^- `([^`]+)`: (.+)$/.exec(line) ?? [];
      return prefix && reason ? [{ prefix, reason }] : [];
    });
}

/**
 * Reports and ends the processes of this run that outlived it. All have its mark in their environment.
 *
 * @returns {number} how many there were
 */
function endLeftovers() {
  let found = 0;
  for (const pid of processes()) {
    try {
      if (pid === process.pid || !readFileSync(`/proc/${pid}/environ`, "utf8").includes(`QUORATE_TEST_RUN=${run}`)) continue;
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      if (command === "") continue; // ended, and not yet collected
      console.log(`FAILED: process ${pid} outlived the tests: ${command.slice(0, 200)}`);
      process.kill(pid, "SIGKILL");
      found += 1;
    } catch {
      // It is gone, or another user's.
    }
  }
  return found;
}

function processes() {
  try {
    return readdirSync("/proc").map(Number).filter(Boolean);
  } catch {
    return []; // no /proc on this system
  }
}
