// The managed store: one folder per version of etcd, in the user's cache. Plain JavaScript without packages, as set-up runs it
// before anything is installed or built.
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, isAbsolute, join } from "node:path";

/**
 * @typedef {object} EtcdVersion
 * @property {number} major
 * @property {number} minor
 * @property {number} patch
 * @property {string} text as etcd prints it, such as 3.5.30
 */

/**
 * One etcd of the managed store.
 *
 * @typedef {object} StoredEtcd
 * @property {string} binary absolute path
 * @property {string | undefined} etcdctl absolute path of the etcdctl that came with it
 * @property {EtcdVersion} version
 * @property {string} label the version with the packager's part, such as 3.5.30-2
 * @property {string} source where it came from, for people
 * @property {string} sha256 of the binary
 */

/** @typedef {"NO_ETCD" | "INVALID_ETCD" | "INVALID_OPTION"} StoreErrorCode */

/** @typedef {Error & { readonly code: StoreErrorCode, readonly hint: string | undefined }} StoreError */

/**
 * What the store throws: `code` as in src/errors.ts, which cannot be imported here.
 *
 * @param {StoreErrorCode} code
 * @param {string} message
 * @param {{ hint?: string, cause?: unknown }} [details]
 * @returns {StoreError}
 */
export function storeError(code, message, { hint, cause } = {}) {
  const error = cause === undefined ? new Error(message) : new Error(message, { cause });
  return Object.assign(error, { code, hint });
}

/**
 * @param {unknown} error
 * @returns {error is StoreError}
 */
export function isStoreError(error) {
  return error instanceof Error && "hint" in error && "code" in error;
}

/**
 * @param {{ readonly major: number, readonly minor: number, readonly patch: number }} a
 * @param {{ readonly major: number, readonly minor: number, readonly patch: number }} b
 * @returns {number} below, at or above zero as `a` is older than, as old as or newer than `b`
 */
export function compareVersions(a, b) {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch;
}

/**
 * Reads what `etcd --version` prints, or a bare version.
 *
 * @param {string} output
 * @returns {EtcdVersion}
 * @throws {StoreError} INVALID_ETCD
 */
export function parseVersion(output) {
  const match = /(?:etcd Version:\s*|^)(([0-9]+)\.([0-9]+)\.([0-9]+)\S*)/.exec(output);
  if (!match) throw storeError("INVALID_ETCD", `Cannot read the version of etcd: it says ${JSON.stringify(output.slice(0, 80))}`);
  const [, text = "", major, minor, patch] = match;
  return { major: Number(major), minor: Number(minor), patch: Number(patch), text };
}

/**
 * Asks a binary for its version, so it also shows that it runs here.
 *
 * @param {string} binary
 * @param {{ signal?: AbortSignal | undefined }} [options]
 * @returns {Promise<EtcdVersion>}
 * @throws {StoreError} INVALID_ETCD
 */
export async function versionOf(binary, { signal } = {}) {
  // Every flag of etcd is also a variable: a stray one makes even --version fail.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD_") || name === "ETCD_UNSUPPORTED_ARCH"),
  );
  const ask = () => run(binary, ["--version"], { env, signal, timeoutMs: 10_000 });
  let ran = await ask();
  // A process that another thread is starting at this moment may still hold open for writing what was just copied.
  for (let tries = 0; tries < 100 && ran.code === "ETXTBSY"; tries += 1) ran = await ask();
  if (ran.ok) return parseVersion(ran.stdout);
  throw storeError("INVALID_ETCD", `Cannot use ${binary} as etcd: \`etcd --version\` failed (${ran.why})`, {
    hint: "name another with --etcd-bin or QUORATE_ETCD_BIN",
  });
}

/**
 * Runs a command to its end. `why` is the last line it complained with.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, signal?: AbortSignal | undefined, timeoutMs?: number }} [options]
 * @returns {Promise<{ ok: boolean, code: string, stdout: string, stderr: string, why: string }>} `code`: why it could not be run
 */
export function run(command, args, { cwd, env = process.env, signal, timeoutMs = 600_000 } = {}) {
  return new Promise((resolve, reject) => {
    execFile(
      command,
      [...args],
      { cwd, env, signal, timeout: timeoutMs, maxBuffer: 64 << 20, encoding: "utf8" },
      (error, stdout, stderr) => {
        if (signal?.aborted) return reject(/** @type {Error} */ (signal.reason));
        const lastLine = stderr.trim().split("\n").at(-1) ?? "";
        const why =
          error === null ? "" : error.killed ? `no end within ${timeoutMs / 1000} s` : lastLine || firstLine(error.message);
        resolve({ ok: error === null, code: codeOf(error), stdout, stderr, why });
      },
    );
  });
}

/** @param {string} text */
function firstLine(text) {
  return text.split("\n", 1)[0] ?? "";
}

/**
 * The folder of the managed store.
 *
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string}
 */
export function storeFolder(env = process.env) {
  const cache = env["XDG_CACHE_HOME"];
  const home = env["HOME"];
  // As the XDG specification has it: a relative path is as good as none.
  if (cache && isAbsolute(cache)) return join(cache, "quorate", "etcd");
  return join(home && isAbsolute(home) ? home : homedir(), ".cache", "quorate", "etcd");
}

/**
 * The etcds of the managed store that fit this machine, newest first. What a crashed or still running install left is not among
 * them, nor is one that was cut short or changed in size since.
 *
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {StoredEtcd[]}
 */
export function listEtcds(env = process.env) {
  const folder = storeFolder(env);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => !name.startsWith("."))
    .flatMap((name) => readStored(join(folder, name)) ?? [])
    .sort((a, b) => compareVersions(b.version, a.version) || b.label.localeCompare(a.label, "en", { numeric: true }));
}

/**
 * @param {string} folder
 * @returns {StoredEtcd | undefined}
 */
export function readStored(folder) {
  try {
    const record = /** @type {Record<string, unknown>} */ (JSON.parse(readFileSync(join(folder, "source.json"), "utf8")));
    const binary = join(folder, "etcd");
    const found = statSync(binary);
    const uid = process.getuid?.();
    // Root must not run what another user may change.
    const ours = uid === undefined || found.uid === uid || found.uid === 0;
    if (!ours || found.size !== record["size"] || record["platform"] !== platform) return undefined;
    const etcdctl = join(folder, "etcdctl");
    return {
      binary,
      etcdctl: existsSync(etcdctl) ? etcdctl : undefined,
      version: parseVersion(String(record["version"])),
      label: String(record["label"]),
      source: String(record["source"]),
      sha256: String(record["sha256"]),
    };
  } catch {
    return undefined;
  }
}

/** The machine a binary is for. */
export const platform = `${process.platform}-${process.arch}`;

/**
 * Every executable of this name in PATH, in its order.
 *
 * @param {string} name
 * @param {NodeJS.ProcessEnv} env
 * @returns {string[]}
 */
export function inPath(name, env) {
  const folders = (env["PATH"] ?? "").split(delimiter).filter((folder) => isAbsolute(folder));
  return [...new Set(folders.map((folder) => join(folder, name)))].filter(isExecutable);
}

/** @param {string} path */
export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * @param {unknown} error
 * @returns {string} the system's code, such as ENOSPC
 */
export function codeOf(error) {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "";
}
