// Where an etcd comes from, in one fixed order. Plain JavaScript without packages, as set-up runs it before anything is installed
// or built.
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { installFromApt } from "./store-apt.mjs";
import {
  compareVersions,
  inPath,
  isExecutable,
  isStoreError,
  listEtcds,
  storeError,
  storeFolder,
  versionOf,
} from "./store-files.mjs";

export { compareVersions, listEtcds, parseVersion, storeFolder, versionOf } from "./store-files.mjs";
export { installFromFile } from "./store-from-file.mjs";

/** @typedef {import("./store-files.mjs").EtcdVersion} EtcdVersion */
/** @typedef {import("./store-files.mjs").StoredEtcd} StoredEtcd */
/** @typedef {import("./store-files.mjs").StoreError} StoreError */
/** @typedef {import("./store-files.mjs").StoreErrorCode} StoreErrorCode */

/**
 * @typedef {object} FoundEtcd
 * @property {string} binary absolute path
 * @property {string | undefined} etcdctl absolute path of the etcdctl beside it
 * @property {EtcdVersion} version
 * @property {"given" | "store" | "path" | "download"} from which step found it
 * @property {string | undefined} warning what the user must know about this etcd
 */

const oldest = { major: 3, minor: 4, patch: 0 };
const wanted = { major: 3, minor: 5, patch: 0 };

/**
 * Finds an etcd, or gets one. In this order: the one given (`etcdBin`, else `QUORATE_ETCD_BIN`: used or an error), the managed
 * store, PATH, a signature-checked download into the store (Debian and Ubuntu). The first that is 3.5 or newer is taken; an
 * etcd 3.4 of the store or of PATH only where nothing newer can be had, and with a warning.
 *
 * @param {object} [options]
 * @param {string | undefined} [options.etcdBin]
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {boolean} [options.allowDownload] true by default
 * @param {(line: string) => void} [options.log] gets a line for each step that takes time, and the warning
 * @param {AbortSignal} [options.signal]
 * @returns {Promise<FoundEtcd>}
 * @throws {StoreError} NO_ETCD, or INVALID_ETCD when the one given cannot be used
 */
export async function findEtcd({ etcdBin, env = process.env, allowDownload = true, log = () => undefined, signal } = {}) {
  const given = etcdBin || env["QUORATE_ETCD_BIN"];
  if (given) return warned(await useGiven(resolve(given), signal), log);

  const [stored] = listEtcds(env);
  if (stored && isNew(stored.version)) return found(stored, "store");

  const path = await searchPath(env, signal);
  const newer = path.find(({ version }) => isNew(version));
  if (newer) return newer;

  /** @type {StoreError | undefined} */
  let refused;
  if (allowDownload) {
    try {
      return found(await installFromApt({ env, log, signal }), "download");
    } catch (error) {
      if (!isStoreError(error)) throw error;
      refused = error;
    }
  }

  const old = stored ? found(stored, "store") : path[0];
  if (old) {
    if (refused) log(`nothing newer can be had: ${refused.message}`);
    return warned(old, log);
  }
  throw storeError(
    "NO_ETCD",
    `Cannot find an etcd: none in the store ${storeFolder(env)}, none in PATH${refused ? ", and none could be fetched" : ""}`,
    {
      hint: [refused?.hint, howToGetOne()].filter(Boolean).join("; "),
      cause: refused,
    },
  );
}

/**
 * Installs the etcd of one Debian or Ubuntu suite into the managed store, or the newest one when none is named.
 *
 * @param {object} [options]
 * @param {string | undefined} [options.suite] such as bookworm
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {(line: string) => void} [options.log]
 * @param {AbortSignal} [options.signal]
 * @returns {Promise<StoredEtcd>}
 * @throws {StoreError} NO_ETCD
 */
export function installEtcd({ suite, env = process.env, log = () => undefined, signal } = {}) {
  return installFromApt({ suite, env, log, signal });
}

/**
 * @param {StoredEtcd} stored
 * @param {"store" | "download"} from
 * @returns {FoundEtcd}
 */
function found({ binary, etcdctl, version }, from) {
  return { binary, etcdctl, version, from, warning: warningFor(version) };
}

/**
 * @param {string} binary
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<FoundEtcd>}
 */
async function useGiven(binary, signal) {
  if (!isExecutable(binary)) {
    const state = existsSync(binary) ? "it is not an executable file" : "there is no such file";
    throw storeError("INVALID_ETCD", `Cannot use ${binary} as etcd: ${state}`, {
      hint: "--etcd-bin and QUORATE_ETCD_BIN take the path of an etcd; without them Quorate finds or fetches one",
    });
  }
  const version = await versionOf(binary, { signal });
  if (compareVersions(version, oldest) < 0) {
    throw storeError("INVALID_ETCD", `Cannot use ${binary}: it is etcd ${version.text}, at least 3.4 is needed`, {
      hint: "without --etcd-bin and QUORATE_ETCD_BIN Quorate finds or fetches a newer one",
    });
  }
  return { binary, etcdctl: beside(binary), version, from: "given", warning: warningFor(version) };
}

/**
 * The etcds in PATH that run and are not too old, in its order.
 *
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<FoundEtcd[]>}
 */
async function searchPath(env, signal) {
  /** @type {FoundEtcd[]} */
  const all = [];
  for (const binary of inPath("etcd", env)) {
    const version = await versionOf(binary, { signal }).catch((/** @type {unknown} */ error) => {
      if (!isStoreError(error)) throw error;
    });
    if (version === undefined || compareVersions(version, oldest) < 0) continue;
    all.push({
      binary,
      etcdctl: beside(binary) ?? inPath("etcdctl", env)[0],
      version,
      from: "path",
      warning: warningFor(version),
    });
  }
  return all;
}

/** @param {string} binary */
function beside(binary) {
  const etcdctl = join(dirname(binary), "etcdctl");
  return isExecutable(etcdctl) ? etcdctl : undefined;
}

/** @param {EtcdVersion} version */
function isNew(version) {
  return compareVersions(version, wanted) >= 0;
}

/** @param {EtcdVersion} version */
function warningFor(version) {
  if (isNew(version)) return undefined;
  return `etcd ${version.text} is OLD: it can serve stale reads after a pause and misses fixes for members that come back. Use 3.5.30 or newer (quorate etcd install)`;
}

/**
 * @param {FoundEtcd} etcd
 * @param {(line: string) => void} log
 */
function warned(etcd, log) {
  if (etcd.warning) log(`WARNING: ${etcd.warning}`);
  return etcd;
}

/** The commands for this platform. */
function howToGetOne() {
  const byHand =
    "download a release from https://github.com/etcd-io/etcd/releases and run `quorate etcd install --from FILE --sha256 SUM` or set QUORATE_ETCD_BIN";
  /** @type {readonly (readonly [string, string])[]} */
  const known = [
    ["/sbin/apk", "apk add etcd etcd-ctl"],
    ["/usr/bin/dnf", "dnf install etcd"],
    ["/usr/bin/zypper", "zypper install etcd etcdctl"],
    ["/usr/bin/pacman", "pacman -S etcd"],
    ["/opt/homebrew/bin/brew", "brew install etcd"],
    ["/usr/local/bin/brew", "brew install etcd"],
    ["/home/linuxbrew/.linuxbrew/bin/brew", "brew install etcd"],
  ];
  const command = known.find(([tool]) => existsSync(tool))?.[1];
  return command ? `\`${command}\`, or ${byHand}` : byHand;
}
