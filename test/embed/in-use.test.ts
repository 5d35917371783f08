import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { archiveDataDir, assertPortsFree, EtcdServer, portHolder } from "../../src/embed/index.ts";
import { lockDataDir } from "../../src/embed/lock.ts";
import { isAlive, never, runProgram, serverOptions, startServer, temporaryFolder, untilGone } from "../support/etcd-server.ts";
import { freePorts } from "../support/ports.ts";

const deps = { clock: systemClock };
const holdServer = new URL("programs/hold-server.ts", import.meta.url);
const nameHolder = new URL("programs/name-holder.ts", import.meta.url);
const me = (await readFile("/proc/self/comm", "utf8")).trim();

test("A second start on one data dir in one process fails at once and names this process; the first is unharmed", async () => {
  const options = await serverOptions("h1");
  const server = await startServer(options);
  const second = { ...(await serverOptions("h1")), dataDir: options.dataDir };
  await expect(EtcdServer.start(second, deps, never)).rejects.toMatchObject({
    code: "DATA_DIR_IN_USE",
    message: `Cannot start a server on ${options.dataDir}: ${me} (pid ${process.pid}) runs one there`,
    data: { pid: process.pid },
  });
  assert.equal(isAlive(server.pid), true);
});

test("Of ten starts on one data dir at the same moment one wins", async () => {
  const dataDir = join(await temporaryFolder(), "server");
  const starts = Array.from({ length: 10 }, async () => startServer({ ...(await serverOptions("h1")), dataDir }));
  const results = await Promise.allSettled(starts);
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
  for (const result of results) {
    if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "DATA_DIR_IN_USE" });
  }
});

test("A data dir that another process uses is refused at once by that process's pid, and free once it is killed", async () => {
  const options = await serverOptions("h1");
  const other = runProgram(holdServer, [JSON.stringify(options)]);
  await other.line();
  await expect(EtcdServer.start(options, deps, never)).rejects.toMatchObject({
    code: "DATA_DIR_IN_USE",
    data: { pid: other.child.pid },
  });
  await expect(archiveDataDir(options.dataDir, { keep: 3, ...deps })).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
  other.child.kill("SIGKILL");
  await untilGone(other.child.pid!);
  await startServer(options);
});

test("The lock of a data dir can be taken again after release, any number of times", async () => {
  const dataDir = join(await temporaryFolder(), "server");
  for (let round = 0; round < 20; round++) {
    const lock = await lockDataDir(dataDir, systemClock, never);
    await expect(lockDataDir(dataDir, systemClock, never)).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
    await lock.release();
  }
});

test("A folder that cannot hold a data dir is DATA_DIR_UNUSABLE", async () => {
  const options = await serverOptions("h1", { dataDir: join(import.meta.filename, "server") });
  await expect(EtcdServer.start(options, deps, never)).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE" });
  const folder = await temporaryFolder();
  await mkdir(join(folder, "server.lock"));
  const locked = await serverOptions("h1", { dataDir: join(folder, "server") });
  await expect(EtcdServer.start(locked, deps, never)).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE" });
});

test("A port that another etcd holds is told with its pid, and that it is an etcd", async () => {
  const first = await serverOptions("h1");
  const server = await startServer(first);
  const url = first.listenClientUrls[0]!;
  const second = await serverOptions("h2", { listenClientUrls: [url] });
  await expect(EtcdServer.start(second, deps, never)).rejects.toMatchObject({
    code: "PORT_IN_USE",
    message: expect.stringMatching(`^Cannot listen on ${url}: etcd \\(pid ${server.pid}, user .+\\) holds the port$`) as string,
    data: { url, pid: server.pid, process: "etcd", isEtcd: true },
  });
  assert.equal(isAlive(server.pid), true);
  await expect(assertPortsFree([...second.listenPeerUrls, url])).rejects.toMatchObject({ code: "PORT_IN_USE", data: { url } });
});

test("A peer port that a program holds which never answers is told quickly, and that it is no etcd", async () => {
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void silent.close());
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const from = systemClock.nowMs();
  const options = await serverOptions("h1", { listenPeerUrls: [url] });
  await expect(EtcdServer.start(options, deps, never)).rejects.toMatchObject({
    code: "PORT_IN_USE",
    data: { url, pid: process.pid, process: me, isEtcd: false },
  });
  assert.ok(systemClock.nowMs() - from < 5_000);
});

test("portHolder() sees holders on wildcard addresses and on IPv6, and outgoing connections", async () => {
  const [port] = await freePorts(1);
  for (const host of ["0.0.0.0", "::", "::1", "127.0.0.1"]) {
    const holder = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => holder.listen(port, host, resolve));
    const url = host === "::1" ? `http://[::1]:${port}` : `http://localhost:${port}`;
    const seen = await portHolder(url).finally(() => holder.close());
    expect(seen, host).toMatchObject({ pid: process.pid, isEtcd: false });
  }
  assert.equal(await portHolder(`http://127.0.0.1:${port}`), undefined);
});

test("portHolder() has nothing to say on free ports, on addresses of others and on what is no URL", async () => {
  const [port] = await freePorts(1);
  for (const url of [`http://127.0.0.1:${port}`, `http://192.0.2.1:${port}`, "unix://h1:0", "h1"]) {
    assert.equal(await portHolder(url), undefined, url);
  }
});

test.skipIf(process.getuid?.() !== 0)("Where the process cannot be seen, portHolder() names the user", async () => {
  const holder = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void holder.close());
  const nobody = 65_534;
  const url = `http://127.0.0.1:${(holder.address() as AddressInfo).port}`;
  const program = runProgram(nameHolder, [url, String(nobody)]);
  assert.deepEqual(JSON.parse(await program.line()), { user: "root", isEtcd: false });
});
