import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { keepSnapshot } from "../../src/agent/server/keep-snapshot.ts";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient, receiveSnapshot } from "../../src/etcd/index.ts";
import { etcdctlBinary } from "../support/etcd.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";

const never = new AbortController().signal;
let etcd: TestCluster;
let client: EtcdClient;
let url = "";
beforeAll(async () => {
  etcd = await startEtcd(1);
  [url = ""] = etcd.urls;
  client = EtcdClient.create({ endpoints: etcd.urls, clock });
  const value = "x".repeat(100_000);
  for (let i = 0; i < 20; i++) await client.put(`/kept/${i}`, `${i} ${value}`);
});
afterAll(async () => {
  await client.close();
  await etcd.stop();
});

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "quorate-snapshot-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

test("a snapshot comes whole, with its sum at the end", async () => {
  const pieces: Buffer[] = [];
  await receiveSnapshot(client, url, (piece) => pieces.push(Buffer.from(piece)), never);
  const all = Buffer.concat(pieces);
  expect(pieces.length).toBeGreaterThan(2);
  expect(all.length).toBeGreaterThan(2_000_000);
  const sum = createHash("sha256").update(all.subarray(0, -32)).digest();
  expect(all.subarray(-32)).toEqual(sum);
});

test("what is kept is what etcdctl restores, with every key", async () => {
  const to = await folder();
  const file = await keepSnapshot(client, url, { folder: join(to, "snapshots"), keep: 3, clock }, never);
  const env = { ...process.env, ETCDCTL_API: "3" };
  const run = promisify(execFile);
  const { stdout } = await run(etcdctlBinary(), ["snapshot", "status", file, "-w", "json"], { env });
  expect((JSON.parse(stdout) as { totalKey: number }).totalKey).toBeGreaterThanOrEqual(20);
  await run(etcdctlBinary(), ["snapshot", "restore", file, "--data-dir", join(to, "restored")], { env });
  expect(existsSync(join(to, "restored", "member", "snap", "db"))).toBe(true);
});

test("the newest stay, what was cut short goes, and nothing else in the folder is touched", async () => {
  const to = await folder();
  for (const name of ["20200101T000000.000Z.db", "20200102T000000.000Z.db", "20200103T000000.000Z.db.part", "mine.db"]) {
    await writeFile(join(to, name), "old");
  }
  const first = await keepSnapshot(client, url, { folder: to, keep: 2, clock }, never);
  const names = (await readdir(to)).sort();
  expect(names).toEqual(["20200102T000000.000Z.db", first.slice(to.length + 1), "mine.db"].sort());
  expect(await readFile(join(to, "mine.db"), "utf8")).toBe("old");
});

test("an endpoint that does not answer is told of, and leaves no file", async () => {
  const to = await folder();
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port } = closed.address() as { port: number };
  await new Promise((resolve) => closed.close(resolve));
  await using other = EtcdClient.create({ endpoints: [`http://127.0.0.1:${port}`], clock });
  await expect(keepSnapshot(other, `http://127.0.0.1:${port}`, { folder: to, keep: 2, clock }, never)).rejects.toMatchObject({
    code: expect.stringMatching(/UNREACHABLE|DEADLINE/) as string,
  });
  expect(await readdir(to)).toEqual([]);
});

test("a caller that gives up, or cannot take a piece, ends it with its own reason", async () => {
  const ended = new AbortController();
  const reason = new Error("enough");
  await expect(
    receiveSnapshot(
      client,
      url,
      () => {
        ended.abort(reason);
      },
      ended.signal,
    ),
  ).rejects.toBe(reason);
  const full = new Error("the disk is full");
  await expect(
    receiveSnapshot(
      client,
      url,
      () => {
        throw full;
      },
      never,
    ),
  ).rejects.toBe(full);
});
