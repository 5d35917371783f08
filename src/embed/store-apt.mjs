// Fetches etcd from the distribution's own archive: apt with a state of its own, so without root and without touching the
// system's sources, lists or packages (installing the package would start an etcd on the default ports). apt checks the signature.
import { readFileSync } from "node:fs";
import { copyFile, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { compareVersions, inPath, isExecutable, isStoreError, listEtcds, parseVersion, run, storeError } from "./store-files.mjs";
import { diskFull, publish, staging } from "./store-publish.mjs";
import { archives, mirrorsOf, readSources } from "./store-sources.mjs";

/** @import { StoredEtcd, StoreError } from "./store-files.mjs" */
/** @import { Archive, AptSource } from "./store-sources.mjs" */

/** One suite on one mirror, tried in a folder of its own. @typedef {{ archive: Archive, source: AptSource, suite: string }} Try */

/**
 * @typedef {object} AptOptions
 * @property {string | undefined} [suite] undefined: the newest one with an etcd 3.5 or newer that runs here
 * @property {NodeJS.ProcessEnv} env
 * @property {(line: string) => void} log
 * @property {AbortSignal | undefined} [signal]
 * @property {string | undefined} [etc] where apt's configuration is; for tests
 */

/**
 * @param {AptOptions} options
 * @returns {Promise<StoredEtcd>}
 * @throws {StoreError} NO_ETCD
 */
export async function installFromApt(options) {
  const missing = ["apt-get", "apt-cache", "dpkg", "dpkg-deb"].find((tool) => inPath(tool, options.env).length === 0);
  if (missing) throw storeError("NO_ETCD", `Cannot fetch etcd: this is no Debian or Ubuntu (there is no ${missing})`);
  const tries = whatToTry(options);
  const named = options.suite !== undefined;
  return staging(options.env, async (folder) => {
    /** @type {StoreError[]} */
    const refusals = [];
    const silent = new Set();
    for (const next of tries) {
      // A mirror that cannot be reached for one suite cannot be for the next, and waiting takes long.
      if (silent.has(next.source.uri)) continue;
      try {
        return await fetchSuite(next, join(folder, String(refusals.length)), named, options);
      } catch (error) {
        if (!isStoreError(error)) throw error;
        refusals.push(error);
        if (error.message.endsWith(unreachable)) silent.add(next.source.uri);
      }
    }
    // The newest suite's, unless another says what to do.
    throw (
      refusals.find(({ hint }) => hint !== undefined) ??
      refusals[0] ??
      storeError("NO_ETCD", "Cannot fetch etcd: no suite to look in")
    );
  });
}

/**
 * @param {AptOptions} options
 * @returns {Try[]}
 */
function whatToTry({ suite, etc }) {
  const sources = readSources(etc);
  const tries = archives.flatMap((archive) =>
    mirrorsOf(archive, sources).flatMap((source) =>
      (suite === undefined ? archive.suites : [suite]).map((name) => ({ archive, source, suite: name })),
    ),
  );
  if (tries.length > 0) return tries;
  throw storeError("NO_ETCD", "Cannot fetch etcd: the apt sources of this machine name no mirror of Debian or Ubuntu", {
    hint: "add the distribution's archive to /etc/apt/sources.list.d, or install a downloaded release with `quorate etcd install --from FILE --sha256 SUM`",
  });
}

/**
 * @param {Try} tried
 * @param {string} folder an own one, not there yet
 * @param {boolean} named whether the user asked for this suite; then any version will do
 * @param {AptOptions} options
 * @returns {Promise<StoredEtcd>}
 */
async function fetchSuite(tried, folder, named, { env, log, signal }) {
  const { archive, suite, source } = tried;
  const apt = await privateApt(tried, folder, env);
  const ask = (/** @type {string} */ tool, /** @type {string[]} */ ...args) =>
    run(tool, ["-c", apt.config, ...args], { cwd: folder, env: { ...env, LC_ALL: "C", APT_CONFIG: "" }, signal });

  log(`looking for etcd in ${archive.name} ${suite}`);
  const updated = await ask("apt-get", "-qq", "update");
  if (!updated.ok) throw refusal(updated.stderr, tried);

  const shown = await ask("apt-cache", "show", "--no-all-versions", "etcd-server");
  const version = /^Version: (?:[0-9]+:)?(\S+)$/m.exec(shown.stdout)?.[1];
  if (!version)
    throw storeError("NO_ETCD", `Cannot fetch etcd: ${archive.name} ${suite} has no package etcd-server for this machine`);
  if (!named && compareVersions(parseVersion(version), { major: 3, minor: 5, patch: 0 }) < 0) {
    throw storeError(
      "NO_ETCD",
      `Cannot fetch an etcd 3.5 or newer: ${archive.name} ${suite} has only ${version} (${source.uri})`,
    );
  }
  const there = listEtcds(env).find(({ label }) => label === version);
  if (there) return there;
  await checkLibc(shown.stdout, tried, env);

  log(`fetching etcd ${version} from ${archive.name} ${suite}`);
  const downloaded = await ask("apt-get", "-qq", "download", "etcd-server", "etcd-client");
  if (!downloaded.ok) throw refusal(downloaded.stderr, tried);
  const unpacked = join(folder, "unpacked");
  for (const file of await readdir(folder)) {
    if (!file.endsWith(".deb")) continue;
    const ran = await run("dpkg-deb", ["-x", join(folder, file), unpacked], { env: { ...env, LC_ALL: "C" }, signal });
    if (!ran.ok) throw refusal(ran.stderr, tried);
    await rm(join(folder, file));
  }
  const ready = join(folder, "ready");
  await mkdir(ready);
  for (const name of ["etcd", "etcdctl", "etcdutl"]) {
    const binary = join(unpacked, "usr", "bin", name);
    if (isExecutable(binary)) await copyFile(binary, join(ready, name));
  }
  return publish(ready, { label: version, source: `${archive.name} ${suite}`, env, signal });
}

/**
 * Lays out an apt that knows one suite of one mirror, writes only below `folder`, and keeps the machine's proxy settings.
 *
 * @param {Try} tried
 * @param {string} folder
 * @param {NodeJS.ProcessEnv} env
 */
export async function privateApt({ archive, source, suite }, folder, env) {
  await mkdir(join(folder, "lists", "partial"), { recursive: true });
  await mkdir(join(folder, "cache", "archives", "partial"), { recursive: true });
  await writeFile(join(folder, "status"), "");
  const architecture = (await run("dpkg", ["--print-architecture"], { env })).stdout.trim();
  const keyrings = archive.keyrings.filter(isReadable).slice(0, 1);
  if (source.signedBy?.includes("BEGIN PGP")) {
    await writeFile(join(folder, "key.asc"), `${source.signedBy.trim()}\n`);
    keyrings.push(join(folder, "key.asc"));
  } else if (source.signedBy && source.signedBy !== keyrings[0]) keyrings.push(source.signedBy);
  if (keyrings.length === 0) {
    throw storeError("NO_ETCD", `Cannot fetch etcd: the keyring of ${archive.name} is missing, so nothing could be checked`, {
      hint: `\`apt-get install ${archive.keyringPackage}\``,
    });
  }
  // Only the list of packages: a machine may be set to fetch contents and icons as well.
  const options = `arch=${architecture} signed-by=${keyrings.join(",")} target=Packages`;
  await writeFile(join(folder, "sources.list"), `deb [${options}] ${source.uri} ${suite} ${archive.component}\n`);

  const config = join(folder, "apt.conf");
  const quoted = (/** @type {string} */ path) => `"${path}"`;
  const settings = [
    // Hooks of this machine would touch its own apt state, or fail without root.
    ...["Update::Pre-Invoke", "Update::Post-Invoke", "Update::Post-Invoke-Success"].map((hook) => `#clear APT::${hook};`),
    `Dir::Etc::SourceList ${quoted(join(folder, "sources.list"))};`,
    ...["SourceParts", "Preferences", "PreferencesParts"].map((part) => `Dir::Etc::${part} "/dev/null";`),
    `Dir::State::Lists ${quoted(join(folder, "lists"))};`,
    `Dir::State::status ${quoted(join(folder, "status"))};`,
    `Dir::Cache ${quoted(join(folder, "cache"))};`,
    `Dir::Cache::archives "archives";`,
    // Without root apt cannot become its own user, and as root that user may not write here.
    `APT::Sandbox::User "root";`,
    `APT::Update::Error-Mode "any";`,
    ...["AllowInsecureRepositories", "AllowWeakRepositories", "AllowDowngradeToInsecureRepositories"].map(
      (name) => `Acquire::${name} "false";`,
    ),
    `APT::Get::AllowUnauthenticated "false";`,
    `Acquire::Languages "none";`,
    `Acquire::Retries "1";`,
    ...["http", "https"].map((scheme) => `Acquire::${scheme}::Timeout "20";`),
  ];
  await writeFile(config, `${settings.join("\n")}\n`);
  return { config };
}

/** @param {string} file */
function isReadable(file) {
  try {
    return readFileSync(file).length > 0;
  } catch {
    return false;
  }
}

/**
 * @param {string} shown what apt-cache says about the package
 * @param {Try} tried
 * @param {NodeJS.ProcessEnv} env
 */
async function checkLibc(shown, { archive, suite }, env) {
  const needs = /^Depends:.*\blibc6 \(>= ([0-9.]+)/m.exec(shown)?.[1];
  const has = /[0-9.]+/.exec((await run("getconf", ["GNU_LIBC_VERSION"], { env })).stdout)?.[0];
  if (!needs || !has || compareLibc(has, needs) >= 0) return;
  throw storeError(
    "NO_ETCD",
    `Cannot use the etcd of ${archive.name} ${suite}: it needs glibc ${needs}, this machine has ${has}`,
  );
}

/**
 * @param {string} a
 * @param {string} b
 */
function compareLibc(a, b) {
  const [major = 0, minor = 0] = a.split(".").map(Number);
  const [otherMajor = 0, otherMinor = 0] = b.split(".").map(Number);
  return major - otherMajor || minor - otherMinor;
}

const unreachable = "cannot be reached";

/**
 * What apt's complaint means and what to do about it.
 *
 * @param {string} stderr
 * @param {Try} tried
 * @returns {StoreError}
 */
function refusal(stderr, { archive, source, suite }) {
  const lines = stderr.trim().split("\n");
  const line = (lines.find((text) => text.startsWith("E:")) ?? lines.at(-1) ?? "").replace(/^[EW]: */, "");
  const cause = new Error(line);
  const what = `Cannot fetch etcd from ${archive.name} ${suite}`;
  if (/No space left on device|Disk quota exceeded|not have enough free space/.test(stderr)) return diskFull("the store", cause);
  if (
    /NO_PUBKEY|not signed|BADSIG|EXPKEYSIG|REVKEYSIG|signatures? (?:were|was)|n't be verified|No good signature|signed file isn/i.test(
      stderr,
    )
  ) {
    return storeError("NO_ETCD", `${what}: its signature cannot be verified with the keys of this machine (${source.uri})`, {
      hint: `update the keys (\`apt-get install ${archive.keyringPackage}\`); if they are current, do not trust this mirror`,
      cause,
    });
  }
  // apt puts the status between spaces; without them it may be a part of the mirror's port.
  if (/does not have a Release file|\s404\s/.test(stderr)) {
    return storeError("NO_ETCD", `${what}: ${source.uri} has no such suite`, { cause });
  }
  if (/resolve|connect|timed out|Connection|unreachable|Network/i.test(stderr)) {
    return storeError("NO_ETCD", `${what}: ${source.uri} ${unreachable}`, {
      hint: "check the network and apt's proxy setting",
      cause,
    });
  }
  return storeError("NO_ETCD", `${what}: apt refused`, { cause });
}
