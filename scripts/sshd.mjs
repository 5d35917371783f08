// An sshd for the tests: this machine's, else Debian's or Ubuntu's, unpacked with its libraries and not installed (which would start
// one on port 22). Where none can be had the tests use the server of the ssh2 package. QUORATE_TEST_SSHD names another, or is `none`.
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { privateApt } from "../src/embed/store-apt.mjs";
import { inPath, run, storeFolder } from "../src/embed/store-files.mjs";
import { archives, mirrorsOf, readSources } from "../src/embed/store-sources.mjs";

const system = "/usr/sbin/sshd";
/** What was in vain is not tried again for so long, in milliseconds: a machine without a network waits for nothing each time. */
const againMs = 3_600_000;
/** Programs that newer versions of sshd are made of. */
const parts = ["usr/sbin/sshd", "usr/lib/openssh/sshd-session", "usr/lib/openssh/sshd-auth"];

/** Its libraries lie beside it. Undefined where there is none. @returns {string | undefined} */
export function findSshd() {
  const given = process.env["QUORATE_TEST_SSHD"];
  if (given) return given === "none" ? undefined : given;
  return [system, join(folder(), "sshd")].find((path) => existsSync(path));
}

/**
 * Fetches one where there is none. Never throws.
 *
 * @param {(line: string) => void} say
 */
export async function ensureSshd(say) {
  if (findSshd() !== undefined || process.env["QUORATE_TEST_SSHD"] === "none") return;
  const vain = `${folder()}.vain`;
  if (existsSync(vain) && Date.now() - statSync(vain).mtimeMs < againMs) return;
  try {
    mkdirSync(dirname(folder()), { recursive: true });
    const found = await mkdtemp(`${folder()}-new-`);
    try {
      say("fetching an sshd for the tests");
      await fetchInto(found);
      if (!existsSync(folder())) renameSync(join(found, "ready"), folder());
    } finally {
      await rm(found, { recursive: true, force: true });
    }
  } catch (error) {
    say(
      `no sshd can be had (${error instanceof Error ? error.message : String(error)}): the tests use the one of the ssh2 package`,
    );
    writeFileSync(vain, "");
  }
}

function folder() {
  return join(dirname(storeFolder()), "sshd");
}

/** @param {string} place */
async function fetchInto(place) {
  if (["apt-get", "apt-cache", "dpkg", "dpkg-deb", "ldd"].some((tool) => inPath(tool, process.env).length === 0)) {
    throw new Error("this is no Debian or Ubuntu");
  }
  const release = readFileSync("/etc/os-release", "utf8");
  const named = (/** @type {string} */ field) => new RegExp(`^${field}="?([^"\n]*)`, "m").exec(release)?.[1] ?? "";
  const known = archives.find(({ name }) => name === named("ID"));
  const archive = known && { ...known, component: "main" };
  const source = archive && mirrorsOf(archive, readSources())[0];
  if (archive === undefined || source === undefined) throw new Error("its apt sources name no mirror");
  const apt = await privateApt({ archive, source, suite: named("VERSION_CODENAME") }, place, process.env);
  const ask = async (/** @type {string} */ tool, /** @type {string[]} */ ...args) => {
    const done = await run(tool, args, { cwd: place, env: { ...process.env, LC_ALL: "C", APT_CONFIG: "" } });
    if (!done.ok) throw new Error(`${tool}: ${done.why}`);
    return done.stdout;
  };
  const unpacked = join(place, "unpacked");
  const ready = join(place, "ready");
  mkdirSync(ready);
  await ask("apt-get", "-c", apt.config, "-qq", "update");
  /** @type {Set<string>} */
  const fetched = new Set();
  for (let wanted = ["openssh-server"]; wanted.length > 0;) {
    await ask("apt-get", "-c", apt.config, "-qq", "download", ...wanted);
    for (const name of wanted) fetched.add(name);
    for (const file of readdirSync(place).filter((name) => name.endsWith(".deb"))) {
      await ask("dpkg-deb", "-x", join(place, file), unpacked);
      rmSync(join(place, file));
    }
    for (const part of parts.map((name) => join(unpacked, name)).filter((path) => existsSync(path)))
      await copyFile(part, join(ready, part.replace(/^.*\//, "")));
    for (const library of libraries(unpacked)) await copyFile(library, join(ready, library.replace(/^.*\//, "")));
    const env = { ...process.env, LD_LIBRARY_PATH: ready };
    const needs = await run("ldd", [join(ready, "sshd")], { env });
    if (!needs.stdout.includes("not found")) return;
    const shown = await Promise.all(wanted.map((name) => ask("apt-cache", "-c", apt.config, "show", "--no-all-versions", name)));
    const depends = shown.flatMap((text) => /^Depends: (.*)$/m.exec(text)?.[1]?.split(", ") ?? []);
    wanted = [...new Set(depends.map((text) => text.replace(/[ |:].*$/, "")))].filter(
      (name) => name.startsWith("lib") && !/^libc6$|^libgcc|^libpam-/.test(name) && !fetched.has(name),
    );
  }
  throw new Error("some of its libraries cannot be found");
}

/** @param {string} unpacked @returns {string[]} */
function libraries(unpacked) {
  return readdirSync(unpacked, { recursive: true, encoding: "utf8" })
    .filter((name) => /(?:^|\/)lib\/[^/]+\/[^/]+\.so(\.\d+)+$|(?:^|\/)lib\/[^/]+\.so(\.\d+)+$/.test(name))
    .map((name) => join(unpacked, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await ensureSshd((line) => console.error(`setup: ${line}`));
  console.log(findSshd() ?? "none");
}
