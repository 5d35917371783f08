// The managed store: one folder per version of etcd, in the user's cache. Plain JavaScript without packages, as set-up runs it
// before anything is installed or built.
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { accessSync, constants, existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir, hostname } from "node:os";
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
function readStored(folder) {
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

const platform = `${process.platform}-${process.arch}`;

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
 * Gives `fill` an empty folder on the store's own disk, and removes it whatever happens. Names start with a dot, so that nothing
 * in there ever looks installed; what killed installs of this machine left is removed first.
 *
 * @template T
 * @param {NodeJS.ProcessEnv} env
 * @param {(folder: string) => Promise<T>} fill
 * @returns {Promise<T>}
 */
export async function staging(env, fill) {
  const store = storeFolder(env);
  const mine = `.tmp-${hostname()}-`;
  const folder = join(store, `${mine}${process.pid}-${randomBytes(4).toString("hex")}`);
  try {
    await mkdir(store, { recursive: true, mode: 0o700 });
    for (const name of await readdir(store)) {
      if (!name.startsWith(mine)) continue;
      const pid = Number(name.slice(mine.length).split("-")[0]);
      if (!isAlive(pid)) await rm(join(store, name), { recursive: true, force: true });
    }
    await mkdir(folder, { mode: 0o700 });
  } catch (cause) {
    throw storageError(cause, store);
  }
  try {
    return await fill(folder);
  } catch (error) {
    throw storageError(error, store);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * @param {unknown} error
 * @returns {string} the system's code, such as ENOSPC
 */
function codeOf(error) {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "";
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/**
 * Says which of the disk's refusals it was; anything else stays as it is.
 *
 * @param {unknown} error
 * @param {string} store
 * @returns {unknown}
 */
function storageError(error, store) {
  const code = codeOf(error);
  if (["ENOSPC", "EDQUOT"].includes(code)) return diskFull(store, error);
  if (["EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST", "ENOENT"].includes(code))
    return storeError("NO_ETCD", `Cannot write to the etcd store ${store}: ${/** @type {Error} */ (error).message}`, {
      hint: "set XDG_CACHE_HOME to a folder you can write to, or name an etcd with --etcd-bin or QUORATE_ETCD_BIN",
    });
  return error;
}

/**
 * @param {string} store
 * @param {unknown} [cause]
 */
export function diskFull(store, cause) {
  return storeError("NO_ETCD", `Cannot install etcd into ${store}: the disk is full`, {
    hint: "free about 300 MB there, or set XDG_CACHE_HOME to a folder on another disk",
    cause,
  });
}

/**
 * Moves the `etcd` of a staging folder, and the `etcdctl` and `etcdutl` beside it, into the store in one step. Of two processes
 * that do so at once both succeed, and the store holds one copy.
 *
 * @param {string} folder a folder in a staging folder
 * @param {{ label?: string, source: string, env: NodeJS.ProcessEnv, signal?: AbortSignal | undefined }} options
 * @returns {Promise<StoredEtcd>}
 */
export async function publish(folder, { label, source, env, signal }) {
  const binary = join(folder, "etcd");
  for (const name of await readdir(folder)) await chmod(join(folder, name), 0o755);
  const version = await versionOf(binary, { signal });
  const record = {
    label: label ?? version.text,
    version: version.text,
    platform,
    source,
    sha256: await sha256Of(binary),
    size: (await stat(binary)).size,
  };
  await writeFile(join(folder, "source.json"), `${JSON.stringify(record, undefined, 2)}\n`);
  // What the rename makes visible must be on the disk, also after a power cut.
  for (const name of await readdir(folder)) await sync(join(folder, name));
  await sync(folder);
  const store = storeFolder(env);
  const target = join(store, `${record.label}-${platform}`);
  for (;;) {
    const there = readStored(target);
    if (there?.sha256 === record.sha256) return there;
    const renamed = await rename(folder, target).then(
      () => true,
      (/** @type {unknown} */ error) => {
        if (["ENOTEMPTY", "EEXIST"].includes(codeOf(error))) return false;
        throw error;
      },
    );
    if (renamed) break;
    // Another build of this version, or a damaged one: make way. If somebody else was quicker, look again.
    await rename(target, join(folder, "..", `old-${randomBytes(4).toString("hex")}`)).catch((/** @type {unknown} */ error) => {
      if (codeOf(error) !== "ENOENT") throw error;
    });
  }
  await sync(store);
  const stored = readStored(target);
  if (stored === undefined) throw storeError("NO_ETCD", `Cannot install etcd: ${target} vanished while it was written`);
  return stored;
}

/**
 * @param {string} file
 * @returns {Promise<string>} in hex
 */
export async function sha256Of(file) {
  const hash = createHash("sha256");
  const handle = await open(file);
  try {
    /** @type {AsyncIterable<Buffer>} */
    const chunks = handle.createReadStream({ autoClose: false });
    for await (const chunk of chunks) hash.update(chunk);
  } finally {
    await handle.close();
  }
  return hash.digest("hex");
}

/** @param {string} path */
async function sync(path) {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
