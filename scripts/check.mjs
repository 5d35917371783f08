// Everything a machine can say about the sources without running them: types, lint, format, tidy. All of it, or those named.
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { ensurePackages } from "./setup.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

const lint = ["node_modules/eslint/bin/eslint.js", "--max-warnings", "0"];

/** Of what lint reads: as long as the rest takes. */
const firstHalf = ["src", "bench", "test/smoke"];

/** What each is made of: the halves of the longest one run side by side. */
const checks = {
  lint: [
    [...lint, ...firstHalf],
    [...lint, ".", ...firstHalf.flatMap((folder) => ["--ignore-pattern", `${folder}/**`])],
  ],
  types: [
    ["node_modules/typescript/bin/tsc", "-p", "tsconfig.json", "--incremental", "--tsBuildInfoFile", "node_modules/.cache/types"],
  ],
  // What was checked is known by its content, and by prettier's own version and options.
  format: [
    [
      "node_modules/prettier/bin/prettier.cjs",
      ...["--check", "--cache", "--cache-strategy", "content", "--log-level", "warn", "."],
    ],
  ],
  tidy: [["scripts/tidy.mjs"]],
};

/**
 * Runs the checks, as many at once as there are processors, and prints a line for each and what it found.
 *
 * @param {readonly string[]} [names] all of them by default
 * @returns {Promise<boolean>} whether nothing was found
 */
export async function check(names = Object.keys(checks)) {
  const named = Object.entries(checks).filter(([name]) => names.includes(name));
  const waiting = named.flatMap(([name, parts]) => parts.map((args) => /** @type {const} */ ([name, args])));
  let good = true;
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [name, args] = next;
      const from = performance.now();
      const { code, output } = await runNode(args);
      const seconds = ((performance.now() - from) / 1000).toFixed(1);
      console.error(`check ${name.padEnd(6)} ${code === 0 ? "ok" : "FAILED"}  ${seconds} s`);
      if (code === 0) continue;
      good = false;
      console.error(output.trimEnd());
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, work));
  return good;
}

/**
 * @param {readonly string[]} args
 * @returns {Promise<{ code: number, output: string }>}
 */
function runNode(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (/** @type {string} */ text) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (/** @type {string} */ text) => (output += text));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.slice(2);
  const unknown = names.find((name) => !Object.hasOwn(checks, name));
  if (unknown !== undefined) {
    console.error(`error: there is no check ${unknown}; there are ${Object.keys(checks).join(", ")}`);
    process.exitCode = 2;
  } else {
    await ensurePackages();
    process.exitCode = (await check(names.length > 0 ? names : undefined)) ? 0 : 1;
  }
}
