// Puts an etcd into the managed store: in a folder of its own first, then in one step.
import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { codeOf, platform, readStored, storeError, storeFolder, versionOf } from "./store-files.mjs";

/** @import { StoredEtcd } from "./store-files.mjs" */

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
