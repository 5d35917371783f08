import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import { archiveDataDir, EtcdServer, inspectDataDir } from "../../src/embed/index.ts";
import { never, serverOptions, startServer, temporaryFolder } from "../support/etcd-server.ts";

/** A data dir with these files, each named below `member`. */
async function dataDirWith(...files: string[]): Promise<string> {
  const dir = join(await temporaryFolder(), "server");
  await mkdir(dir);
  await fill(dir, files);
  return dir;
}

async function fill(dir: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    await mkdir(dirname(join(dir, "member", file)), { recursive: true });
    await writeFile(join(dir, "member", file), "x".repeat(10_000));
  }
}

const db = "snap/db";
const wal = "wal/0000000000000000-0000000000000000.wal";

test("inspectDataDir() tells no folder, no data, data, and a database and log that do not belong together", async () => {
  assert.equal(await inspectDataDir(join(await temporaryFolder(), "none")), "absent");
  assert.equal(await inspectDataDir(await dataDirWith()), "empty");
  assert.equal(await inspectDataDir(await dataDirWith(db, wal)), "has-data");
  assert.equal(await inspectDataDir(await dataDirWith(db)), "damaged");
  assert.equal(await inspectDataDir(await dataDirWith(wal)), "damaged");
  assert.equal(await inspectDataDir(await dataDirWith(db, "wal/0.tmp")), "damaged");
  assert.equal(await inspectDataDir(await dataDirWith("snap/0000000000000002-0000000000000064.snap")), "damaged");
});

test("A server does not start on a data dir that lost its log, and does not touch it", async () => {
  const options = await serverOptions("h1");
  const server = await startServer(options);
  await server.stop();
  await rm(join(options.dataDir, "member", "wal"), { recursive: true });
  assert.equal(await inspectDataDir(options.dataDir), "damaged");
  const started = EtcdServer.start(options, { clock: systemClock }, never);
  await expect(started).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE", data: { dataDir: options.dataDir } });
  assert.deepEqual(await readdir(join(options.dataDir, "member", "snap")), ["db"]);
});

test("What a first start left that was killed before it had a log does not count, and the next start begins anew", async () => {
  const options = await serverOptions("h1");
  await fill(options.dataDir, [db]);
  await writeFile(`${options.dataDir}.first-start`, "");
  assert.equal(await inspectDataDir(options.dataDir), "empty");
  const server = await startServer(options);
  await server.stop();
  assert.equal(await inspectDataDir(options.dataDir), "has-data");
  assert.deepEqual((await readdir(dirname(options.dataDir))).sort(), ["server", "server.lock"]);
});

/** The real clock, but the time people read stands still. */
const frozen: Clock = { ...systemClock, wallTime: () => new Date("2026-11-20T09:30:00.123Z") };

async function archives(dir: string): Promise<string[]> {
  return (await readdir(dirname(dir))).filter((name) => name.includes(".removed-")).sort();
}

test("archiveDataDir() moves the data dir away under the time, in UTC", async () => {
  const dir = await dataDirWith(db, wal);
  const archive = await archiveDataDir(dir, { keep: 3, clock: frozen });
  assert.equal(archive, `${dir}.removed-20261120T093000.123Z`);
  assert.equal(await inspectDataDir(dir), "absent");
  assert.equal(await inspectDataDir(archive), "has-data");
});

test("archiveDataDir() keeps the newest three, also when the clock stands still, and nothing else is touched", async () => {
  const dir = await dataDirWith(db, wal);
  const strangers = ["server.removed-yesterday", "server2.removed-20200101T000000.000Z"];
  for (const name of strangers) await mkdir(join(dirname(dir), name));
  await mkdir(`${dir}.removed-20250101T000000.000Z`);
  const made: string[] = [];
  for (let round = 0; round < 4; round++) {
    await fill(dir, [db, wal]);
    made.push(basename((await archiveDataDir(dir, { keep: 3, clock: frozen })) ?? ""));
  }
  assert.deepEqual(await archives(dir), [...made.slice(1), ...strangers].sort());
});

test("archiveDataDir() has nothing to do where there is no data dir, and keeps nothing when it may keep none", async () => {
  assert.equal(await archiveDataDir(join(await temporaryFolder(), "server"), { keep: 3, clock: systemClock }), undefined);
  const dir = await dataDirWith(db, wal);
  assert.equal(await archiveDataDir(dir, { keep: 0, clock: systemClock }), undefined);
  assert.deepEqual(await archives(dir), []);
  assert.equal(await inspectDataDir(dir), "absent");
});

/** A file system of 1 MB, unmounted when the test is over; undefined where we may not mount. */
async function smallDisk(): Promise<string | undefined> {
  const folder = await temporaryFolder();
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "quorate-test", folder]);
  if (status !== 0) return undefined;
  onTestFinished(() => void spawnSync("umount", [folder]));
  return folder;
}

test("archiveDataDir() keeps archives only while the free disk exceeds twice the size of this one", async ({ skip }) => {
  const disk = (await smallDisk()) ?? skip("Mounting a small disk is not allowed here");
  const dir = join(disk, "server");
  const made: (string | undefined)[] = [];
  const sizes = [200_000, 200_000, 260_000, 500_000];
  const left: number[] = [];
  for (const size of sizes) {
    await fill(dir, [wal]);
    await writeFile(join(dir, "member", "db"), Buffer.alloc(size));
    made.push(await archiveDataDir(dir, { keep: 3, clock: frozen }));
    left.push((await archives(dir)).length);
  }
  // 1: 0.8 MB free. 2: 0.6 MB free. 3: too little for 0.5 MB until the first is gone. 4: never enough, so none stays.
  assert.deepEqual(left, [1, 2, 2, 0]);
  assert.deepEqual(
    made.map((archive) => archive !== undefined),
    [true, true, true, false],
  );
});
