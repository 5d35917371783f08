import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findEtcd, installFromFile, listEtcds, parseVersion, storeFolder } from "../../src/embed/store.mjs";
import type { StoredEtcd } from "../../src/embed/store.mjs";

let root: string;
let env: NodeJS.ProcessEnv;
const logged: string[] = [];
const log = (line: string): void => void logged.push(line);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "quorate-store-"));
  env = { PATH: join(root, "bin"), HOME: join(root, "home"), XDG_CACHE_HOME: join(root, "cache") };
  logged.length = 0;
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

/** Stands in for an etcd of any version: the store only ever asks for it. */
function standIn(folder: string, version: string, name = "etcd"): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), `#!/bin/sh\necho "etcd Version: ${version}"\n`);
  chmodSync(join(folder, name), 0o755);
  return join(folder, name);
}

function sumOf(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

async function store(version: string): Promise<StoredEtcd> {
  const file = standIn(join(root, `release-${version}`), version);
  return installFromFile({ file, sha256: sumOf(file), env });
}

describe("where an etcd is looked for", () => {
  test("the one that is given is used, whatever else there is", async () => {
    await store("3.5.30");
    const given = standIn(join(root, "mine"), "3.5.9");
    expect(await findEtcd({ etcdBin: given, env })).toMatchObject({ binary: given, from: "given", version: { text: "3.5.9" } });
    expect(await findEtcd({ env: { ...env, QUORATE_ETCD_BIN: given } })).toMatchObject({ binary: given, from: "given" });
  });

  test("one that is given and cannot be used is an error, even where another would do", async () => {
    await store("3.5.30");
    const missing = join(root, "none");
    await expect(findEtcd({ etcdBin: missing, env })).rejects.toMatchObject({
      code: "INVALID_ETCD",
      message: `Cannot use ${missing} as etcd: there is no such file`,
    });
    await expect(findEtcd({ etcdBin: root, env })).rejects.toMatchObject({
      message: `Cannot use ${root} as etcd: it is not an executable file`,
    });
    const old = standIn(join(root, "old"), "3.3.25");
    await expect(findEtcd({ etcdBin: old, env })).rejects.toMatchObject({
      message: `Cannot use ${old}: it is etcd 3.3.25, at least 3.4 is needed`,
    });
    const broken = standIn(join(root, "broken"), "3.5.0");
    writeFileSync(broken, "#!/bin/sh\necho no such library >&2\nexit 127\n");
    await expect(findEtcd({ etcdBin: broken, env })).rejects.toThrow("`etcd --version` failed (no such library)");
  });

  test("the newest of the store comes before PATH", async () => {
    standIn(join(root, "bin"), "3.6.1");
    await store("3.5.9");
    await store("3.5.30");
    expect(listEtcds(env).map(({ label }) => label)).toEqual(["3.5.30", "3.5.9"]);
    expect(await findEtcd({ env })).toMatchObject({ from: "store", version: { text: "3.5.30" }, warning: undefined });
  });

  test("a 3.5 of PATH is used before the 3.4 of the store, also behind a 3.4 in PATH", async () => {
    await store("3.4.23");
    standIn(join(root, "bin"), "3.4.30");
    const newer = standIn(join(root, "more"), "3.5.16");
    env["PATH"] = [join(root, "bin"), dirname(newer)].join(delimiter);
    expect(await findEtcd({ env, log })).toMatchObject({ binary: newer, from: "path", warning: undefined });
    expect(logged).toEqual([]);
  });

  test("an etcd 3.4 of PATH is used with a loud warning where nothing newer can be had", async () => {
    const old = standIn(join(root, "bin"), "3.4.30");
    const etcdctl = standIn(join(root, "bin"), "3.4.30", "etcdctl");
    expect(await findEtcd({ env, log })).toMatchObject({ binary: old, etcdctl, from: "path", version: { text: "3.4.30" } });
    expect(logged).toEqual([
      "nothing newer can be had: Cannot fetch etcd: this is no Debian or Ubuntu (there is no apt-get)",
      expect.stringMatching(/^WARNING: etcd 3\.4\.30 is OLD/),
    ]);
  });

  test("without any etcd the error says what was tried and what to do", async () => {
    standIn(join(root, "bin"), "3.3.25");
    const refused = await findEtcd({ env }).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: "NO_ETCD",
      message: `Cannot find an etcd: none in the store ${storeFolder(env)}, none in PATH, and none could be fetched`,
      hint: expect.stringContaining("quorate etcd install --from FILE --sha256 SUM") as string,
      cause: { message: "Cannot fetch etcd: this is no Debian or Ubuntu (there is no apt-get)" },
    });
    await expect(findEtcd({ env, allowDownload: false })).rejects.toThrow(/none in PATH$/);
  });

  test("stray ETCD_ variables do not reach the binary that is asked for its version", async () => {
    const given = standIn(join(root, "mine"), "3.5.9");
    writeFileSync(given, `#!/bin/sh\n[ -z "$ETCD_NAME" ] && echo "etcd Version: 3.5.9"\n`);
    process.env["ETCD_NAME"] = "stray";
    try {
      expect(await findEtcd({ etcdBin: given, env })).toMatchObject({ version: { text: "3.5.9" } });
    } finally {
      delete process.env["ETCD_NAME"];
    }
  });
});

describe("the store", () => {
  test("its folder follows XDG_CACHE_HOME when that is absolute, else HOME", () => {
    expect(storeFolder({ XDG_CACHE_HOME: "/c", HOME: "/h" })).toBe("/c/quorate/etcd");
    expect(storeFolder({ XDG_CACHE_HOME: "c", HOME: "/h" })).toBe("/h/.cache/quorate/etcd");
    expect(storeFolder({ HOME: "/h" })).toBe("/h/.cache/quorate/etcd");
  });

  test("what a crashed install left never looks installed, and the next install removes it", async () => {
    const dead = execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }).trim();
    const left = join(storeFolder(env), `.tmp-${hostname()}-${dead}-00000000`);
    standIn(join(left, "ready"), "3.5.30");
    const running = join(storeFolder(env), `.tmp-${hostname()}-${process.pid}-00000000`);
    mkdirSync(running);
    mkdirSync(join(storeFolder(env), "3.5.29-linux-x64"));
    expect(listEtcds(env)).toEqual([]);
    await store("3.5.9");
    expect(listEtcds(env)).toHaveLength(1);
    expect(existsSync(left)).toBe(false);
    expect(existsSync(running)).toBe(true);
  });

  test("a binary that was cut short is not offered, and installing it again mends it", async () => {
    const { binary } = await store("3.5.9");
    truncateSync(binary, 5);
    expect(listEtcds(env)).toEqual([]);
    expect(await store("3.5.9")).toMatchObject({ binary });
    expect(listEtcds(env)).toHaveLength(1);
  });

  test("installs at the same moment all succeed and leave one copy and nothing else", async () => {
    const file = standIn(join(root, "release"), "3.5.9");
    const all = await Promise.all(Array.from({ length: 6 }, () => installFromFile({ file, sha256: sumOf(file), env })));
    expect(new Set(all.map(({ binary }) => binary)).size).toBe(1);
    expect(readdirSync(storeFolder(env))).toHaveLength(1);
  });

  test("a store that cannot be written says so and what to do", async () => {
    writeFileSync(join(root, "cache"), "a file where the folder should be");
    await expect(store("3.5.9")).rejects.toMatchObject({
      code: "NO_ETCD",
      message: expect.stringContaining(`Cannot write to the etcd store ${storeFolder(env)}: `) as string,
      hint: expect.stringContaining("XDG_CACHE_HOME") as string,
    });
  });

  test("a full disk says so, and nothing is left", async (ctx) => {
    const disk = join(root, "cache");
    mkdirSync(disk);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], { stdio: "pipe" });
    } catch {
      ctx.skip("a small disk needs the right to mount one");
    }
    try {
      const file = standIn(join(root, "release"), "3.5.9");
      writeFileSync(file, `${readFileSync(file, "utf8")}${"#".repeat(200_000)}\n`);
      await expect(installFromFile({ file, sha256: sumOf(file), env })).rejects.toMatchObject({
        code: "NO_ETCD",
        message: `Cannot install etcd into ${storeFolder(env)}: the disk is full`,
      });
      expect(readdirSync(storeFolder(env))).toEqual([]);
    } finally {
      execFileSync("umount", [disk]);
    }
  });
});

describe("installing from a file", () => {
  test("a release archive brings etcdctl along", async () => {
    const folder = join(root, "etcd-v3.5.9-linux-amd64");
    for (const name of ["etcd", "etcdctl"]) standIn(folder, "3.5.9", name);
    const file = join(root, "etcd.tar.gz");
    execFileSync("tar", ["-czf", file, "-C", root, "etcd-v3.5.9-linux-amd64"]);
    env["PATH"] = process.env["PATH"];
    const stored = await installFromFile({ file, sha256: sumOf(file).toUpperCase(), env });
    expect(stored).toMatchObject({ label: "3.5.9", source: file });
    expect(stored.etcdctl).toBe(join(dirname(stored.binary), "etcdctl"));
    expect(listEtcds(env)).toEqual([stored]);
  });

  test("a Debian package keeps the packager's version", async (ctx) => {
    const folder = join(root, "package");
    standIn(join(folder, "usr/bin"), "3.5.9");
    mkdirSync(join(folder, "DEBIAN"));
    writeFileSync(
      join(folder, "DEBIAN/control"),
      "Package: etcd-server\nVersion: 3.5.9-2\nArchitecture: all\nMaintainer: me <me@example.org>\nDescription: x\n",
    );
    const file = join(root, "etcd.deb");
    try {
      execFileSync("dpkg-deb", ["--root-owner-group", "-b", folder, file], { stdio: "pipe" });
    } catch {
      ctx.skip("there is no dpkg-deb");
    }
    env["PATH"] = process.env["PATH"];
    expect(await installFromFile({ file, sha256: sumOf(file), env })).toMatchObject({
      label: "3.5.9-2",
      version: { text: "3.5.9" },
    });
  });

  test("a file with another sum is neither unpacked nor run", async () => {
    const file = standIn(join(root, "release"), "3.5.9");
    const ran = join(root, "ran");
    writeFileSync(file, `#!/bin/sh\ntouch ${ran}\n`);
    const sha256 = "0".repeat(64);
    await expect(installFromFile({ file, sha256, env })).rejects.toMatchObject({
      code: "INVALID_ETCD",
      message: `Cannot install ${file}: its SHA-256 is ${sumOf(file)}, not ${sha256}`,
    });
    expect(existsSync(ran)).toBe(false);
    expect(readdirSync(storeFolder(env))).toEqual([]);
  });

  test("a missing or malformed sum, a missing file and a file of another kind are refused", async () => {
    const file = standIn(join(root, "release"), "3.5.9");
    await expect(installFromFile({ file, sha256: undefined, env })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(installFromFile({ file, sha256: "abc", env })).rejects.toThrow("--sha256 takes 64 hexadecimal digits");
    await expect(installFromFile({ file: join(root, "none"), sha256: sumOf(file), env })).rejects.toThrow(
      "there is no such file",
    );
    writeFileSync(file, "hello");
    await expect(installFromFile({ file, sha256: sumOf(file), env })).rejects.toThrow(
      "neither an etcd binary nor a .tar.gz nor a .deb",
    );
    expect(readdirSync(storeFolder(env))).toEqual([]);
  });
});

test("the version is read from what etcd prints", () => {
  expect(parseVersion("etcd Version: 3.4.23\nGit SHA: Not provided\nGo Version: go1.19\n")).toEqual({
    major: 3,
    minor: 4,
    patch: 23,
    text: "3.4.23",
  });
  expect(parseVersion("3.5.16-10")).toMatchObject({ major: 3, minor: 5, patch: 16 });
  expect(() => parseVersion("git version 2.39.5")).toThrow("Cannot read the version of etcd");
});
