// Servers for the tests, an sshd and a dnsmasq: this machine's, else Debian's or Ubuntu's, unpacked with their libraries and not installed (which
// would start them). QUORATE_TEST_SSHD and QUORATE_TEST_DNSMASQ name others, or are `none`.
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { privateApt } from "../src/embed/store-apt.mjs";
import { inPath, run, storeFolder } from "../src/embed/store-files.mjs";
import { archives, mirrorsOf, readSources } from "../src/embed/store-sources.mjs";

/** By the name of the program: its package, what it is made of there (sshd of more in newer versions), and what tests do without it. */
const programs = {
  sshd: {
    package: "openssh-server",
    parts: ["usr/sbin/sshd", "usr/lib/openssh/sshd-session", "usr/lib/openssh/sshd-auth"],
    without: "the tests use the one of the ssh2 package",
  },
  dnsmasq: { package: "dnsmasq-base", parts: ["usr/sbin/dnsmasq"], without: "what needs one is skipped" },
};
/** @typedef {keyof typeof programs} Program */

/** What was in vain is not tried again for so long, in milliseconds: a machine without a network waits for nothing each time. */
const againMs = 3_600_000;

/** Its libraries lie beside it. Undefined where there is none. @param {Program} name @returns {string | undefined} */
export function findProgram(name) {
  const given = givenFor(name);
  if (given) return given === "none" ? undefined : given;
  return [`/usr/sbin/${name}`, join(folderOf(name), name)].find((path) => existsSync(path));
}

/** @param {Program} name */
function givenFor(name) {
  return process.env[`QUORATE_TEST_${name.toUpperCase()}`];
}

/**
 * Fetches one where there is none. Never throws.
 *
 * @param {Program} name
 * @param {(line: string) => void} say
 */
export async function ensureProgram(name, say) {
  if (findProgram(name) !== undefined || givenFor(name) === "none") return;
  const folder = folderOf(name);
  const vain = `${folder}.vain`;
  if (existsSync(vain) && Date.now() - statSync(vain).mtimeMs < againMs) return;
  try {
    mkdirSync(dirname(folder), { recursive: true });
    const found = await mkdtemp(`${folder}-new-`);
    try {
      say(`fetching ${name} for the tests`);
      await fetchInto(name, found);
      if (!existsSync(folder)) renameSync(join(found, "ready"), folder);
    } finally {
      await rm(found, { recursive: true, force: true });
    }
  } catch (error) {
    say(`no ${name} can be had (${error instanceof Error ? error.message : String(error)}): ${programs[name].without}`);
    writeFileSync(vain, "");
  }
}

/** @param {Program} name */
function folderOf(name) {
  return join(dirname(storeFolder()), name);
}

/**
 * @param {Program} name
 * @param {string} place
 */
async function fetchInto(name, place) {
  const { package: own, parts } = programs[name];
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
  for (let wanted = [own]; wanted.length > 0;) {
    await ask("apt-get", "-c", apt.config, "-qq", "download", ...wanted);
    for (const one of wanted) fetched.add(one);
    for (const file of readdirSync(place).filter((name) => name.endsWith(".deb"))) {
      await ask("dpkg-deb", "-x", join(place, file), unpacked);
      rmSync(join(place, file));
    }
    for (const part of parts.map((path) => join(unpacked, path)).filter((path) => existsSync(path)))
      await copyFile(part, join(ready, part.replace(/^.*\//, "")));
    for (const library of libraries(unpacked)) await copyFile(library, join(ready, library.replace(/^.*\//, "")));
    const env = { ...process.env, LD_LIBRARY_PATH: ready };
    const needs = await run("ldd", [join(ready, name)], { env });
    if (!needs.stdout.includes("not found")) return;
    const shown = await Promise.all(wanted.map((one) => ask("apt-cache", "-c", apt.config, "show", "--no-all-versions", one)));
    const depends = shown.flatMap((text) => /^Depends: (.*)$/m.exec(text)?.[1]?.split(", ") ?? []);
    wanted = [...new Set(depends.map((text) => text.replace(/[ |:].*$/, "")))].filter(
      (one) => one.startsWith("lib") && !/^libc6$|^libgcc|^libpam-/.test(one) && !fetched.has(one),
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
  for (const name of /** @type {Program[]} */ (Object.keys(programs))) {
    await ensureProgram(name, (line) => console.error(`setup: ${line}`));
    console.log(findProgram(name) ?? "none");
  }
}
