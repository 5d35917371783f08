// Installs a downloaded etcd: the binary, a release archive or a Debian package.
import { copyFile, mkdir, open, readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isExecutable, run, storeError } from "./store-files.mjs";
import { publish, sha256Of, staging } from "./store-publish.mjs";

/** @import { StoredEtcd } from "./store-files.mjs" */

/**
 * Installs an etcd from a file into the managed store: an `etcd` binary, a .tar.gz release archive or a .deb. Nothing of it is
 * unpacked or run before its sum is the one given.
 *
 * @param {object} options
 * @param {string} options.file
 * @param {string | undefined} options.sha256 in hex
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {AbortSignal} [options.signal]
 * @returns {Promise<StoredEtcd>}
 * @throws {import("./store-files.mjs").StoreError} INVALID_OPTION, INVALID_ETCD, NO_ETCD
 */
export async function installFromFile({ file, sha256, env = process.env, signal }) {
  const wanted = sha256?.toLowerCase() ?? "";
  if (!/^[0-9a-f]{64}$/.test(wanted)) {
    const state = sha256 === undefined ? "the sum to check it against is missing" : "--sha256 takes 64 hexadecimal digits";
    throw storeError("INVALID_OPTION", `Cannot install ${file}: ${state}`, {
      hint: "take the sum from where you got the file (for releases: SHA256SUMS), and give it with --sha256",
    });
  }
  const found = await stat(file).catch(() => undefined);
  if (!found?.isFile())
    throw storeError("INVALID_OPTION", `Cannot install ${file}: ${found ? "it is not a file" : "there is no such file"}`);
  return staging(env, async (folder) => {
    // What is checked must be what is used, so it is our own copy.
    const copy = join(folder, "file");
    await copyFile(file, copy);
    const sum = await sha256Of(copy);
    if (sum !== wanted) {
      throw storeError("INVALID_ETCD", `Cannot install ${file}: its SHA-256 is ${sum}, not ${wanted}`, {
        hint: "fetch it again; if the sum still differs, do not use it",
      });
    }
    const unpacked = join(folder, "unpacked");
    await mkdir(unpacked);
    const label = await unpack(copy, unpacked, file, env, signal);
    const binary = await findBinary(unpacked);
    if (!binary) throw storeError("INVALID_ETCD", `Cannot install ${file}: there is no etcd in it`);
    const ready = join(folder, "ready");
    await mkdir(ready);
    await copyFile(binary, join(ready, "etcd"));
    for (const name of ["etcdctl", "etcdutl"]) {
      if (isExecutable(join(dirname(binary), name))) await copyFile(join(dirname(binary), name), join(ready, name));
    }
    return publish(ready, { ...(label && { label }), source: resolve(file), env, signal });
  });
}

/**
 * @param {string} copy
 * @param {string} unpacked
 * @param {string} file as the user named it
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<string | undefined>} the packager's version
 */
async function unpack(copy, unpacked, file, env, signal) {
  const magic = await firstBytes(copy, 8);
  const options = { env: { ...env, LC_ALL: "C" }, signal };
  const must = (/** @type {{ ok: boolean, why: string, stdout: string }} */ ran, /** @type {string} */ tool) => {
    if (ran.ok) return ran.stdout.trim();
    if (/No space left/.test(ran.why)) throw Object.assign(new Error(ran.why), { code: "ENOSPC" });
    throw storeError("INVALID_ETCD", `Cannot install ${file}: ${tool} cannot read it`, { cause: new Error(ran.why) });
  };
  if (magic.startsWith("!<arch>")) {
    must(await run("dpkg-deb", ["-x", copy, unpacked], options), "dpkg-deb");
    return must(await run("dpkg-deb", ["-f", copy, "Version"], options), "dpkg-deb").replace(/^[0-9]+:/, "");
  }
  if (magic.startsWith("\x1f\x8b")) must(await run("tar", ["-xzf", copy, "-C", unpacked, "--no-same-owner"], options), "tar");
  else if (magic.startsWith("\x7fELF") || magic.startsWith("#!") || magic.startsWith("\xcf\xfa\xed\xfe"))
    await copyFile(copy, join(unpacked, "etcd"));
  else {
    throw storeError("INVALID_ETCD", `Cannot install ${basename(file)}: it is neither an etcd binary nor a .tar.gz nor a .deb`);
  }
  return undefined;
}

/**
 * @param {string} file
 * @param {number} count
 */
async function firstBytes(file, count) {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(count), 0, count, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** @param {string} folder */
async function findBinary(folder) {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const found = files.find((file) => file.isFile() && file.name === "etcd");
  return found && join(found.parentPath, found.name);
}
