import assert from "node:assert/strict";
import { readFile, readdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { pino } from "pino";
import { filter, firstValueFrom, lastValueFrom, toArray } from "rxjs";
import { afterEach, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EtcdServer, type EtcdServerOptions, inspectDataDir } from "../../src/embed/index.ts";
import { etcdAtLeast } from "../support/etcd.ts";
import { ask, isAlive, never, runProgram, serverOptions, startServer, untilGone } from "../support/etcd-server.ts";

function withoutBoot(options: EtcdServerOptions): EtcdServerOptions {
  return Object.fromEntries(Object.entries(options).filter(([name]) => name !== "boot")) as unknown as EtcdServerOptions;
}

const deps = { clock: systemClock };
const put = { key: Buffer.from("k").toString("base64"), value: Buffer.from("v").toString("base64") };

test("start() settles when the server serves: the next request succeeds", async () => {
  const options = await serverOptions("h1");
  const server = await startServer(options);
  const { header } = await ask<{ header: { member_id: string; cluster_id: string } }>(
    options.listenClientUrls[0]!,
    "kv/put",
    put,
  );
  assert.equal(server.memberId, BigInt(header.member_id).toString(16));
  assert.equal(server.clusterId, BigInt(header.cluster_id).toString(16));
});

test("stop() ends the server by SIGTERM, is idempotent, and leaves its data", async () => {
  const options = await serverOptions("h1");
  const server = await startServer(options);
  const exits = await Promise.all([server.stop(), server.stop(), server.exited]);
  for (const exit of exits) {
    expect(exit).toMatchObject({ code: null, signal: "SIGTERM", asked: true, removed: false });
  }
  assert.equal(isAlive(server.pid), false);
  assert.equal(await inspectDataDir(options.dataDir), "has-data");
});

test("A server that hangs is killed when stop() has waited stopTimeoutMs", async () => {
  const options = await serverOptions("h1", { stopTimeoutMs: 200 });
  const server = await startServer(options);
  process.kill(server.pid, "SIGSTOP");
  expect(await server.stop()).toMatchObject({ code: null, signal: "SIGKILL", asked: true });
  assert.equal(isAlive(server.pid), false);
});

test("A second stop() with less time hurries the first", async () => {
  const server = await startServer(await serverOptions("h1"));
  process.kill(server.pid, "SIGSTOP");
  const first = server.stop();
  expect(await server.stop(0)).toMatchObject({ signal: "SIGKILL" });
  assert.equal(await first, await server.exited);
});

test("exited tells of a death that nobody asked for, with the last 50 lines of the log", async () => {
  const options = await serverOptions("h1");
  const server = await startServer(options);
  // A clean end writes some more lines, so that there are more than 50 in all versions.
  for (let i = 0; i < 5; i++) await ask(options.listenClientUrls[0]!, "maintenance/defragment", {});
  process.kill(server.pid, "SIGKILL");
  const exit = await server.exited;
  expect(exit).toMatchObject({ code: null, signal: "SIGKILL", asked: false, removed: false });
  assert.equal(exit.lastLines.length, 50);
  assert.ok(exit.lastLines.slice(-5).some((line) => line.includes("defragment")));
  await using again = await EtcdServer.start(withoutBoot(options), deps, never);
  assert.equal(again.memberId, server.memberId);
});

test("Leaving an `await using` scope ends the server", async () => {
  let pid: number;
  {
    await using server = await EtcdServer.start(await serverOptions("h1"), deps, never);
    pid = server.pid;
    assert.equal(isAlive(pid), true);
  }
  assert.equal(isAlive(pid), false);
});

test("The server restarts in the same process on the same ports ten times, and keeps its data and ids", async () => {
  const options = await serverOptions("h1");
  const ids = new Set<string>();
  for (let round = 0; round < 10; round++) {
    await using server = await EtcdServer.start(options, deps, never);
    ids.add(`${server.memberId} ${server.clusterId}`);
    await ask(options.listenClientUrls[0]!, "kv/put", put);
  }
  assert.equal(ids.size, 1);
  await startServer(options);
  const { kvs } = await ask<{ kvs: { version: string }[] }>(options.listenClientUrls[0]!, "kv/range", { key: put.key });
  assert.equal(kvs[0]!.version, "10");
});

test("A flag that etcd refuses is told by etcd's own words and its last lines", async () => {
  const options = await serverOptions("h1", { grpcKeepaliveMinTime: "soon" });
  const error = await EtcdServer.start(options, deps, never).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "SERVER_EXITED", retryable: false, data: { code: 2, removed: false } });
  expect(error).toHaveProperty(
    "message",
    expect.stringMatching(/^Cannot start the etcd server h1: it ended with status \d \(invalid value "soon"/),
  );
  const { lastLines } = (error as { data: { lastLines: string[] } }).data;
  assert.ok(lastLines.length > 1 && lastLines.length <= 50, `${lastLines.length} lines`);
});

test("A binary that is missing or no program is INVALID_ETCD, and nothing is left in the data dir", async () => {
  for (const binary of ["/nowhere/etcd", dirname(import.meta.filename)]) {
    const options = await serverOptions("h1", { binary });
    await expect(EtcdServer.start(options, deps, never)).rejects.toMatchObject({ code: "INVALID_ETCD", data: { binary } });
    assert.equal(await inspectDataDir(options.dataDir), "empty");
  }
});

test("Without `boot` there must be data to continue from", async () => {
  const options = await serverOptions("h1");
  const started = EtcdServer.start(withoutBoot(options), deps, never);
  await expect(started).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE" });
});

test("An abort during the start rejects with its reason and leaves no process", async () => {
  const options = await serverOptions("h1");
  const abort = new AbortController();
  const why = new Error("Not wanted any more");
  const log = pino({ level: "info" }, { write: (text: string) => text.includes("starting etcd server") && abort.abort(why) });
  await expect(EtcdServer.start({ ...options, log }, deps, abort.signal)).rejects.toBe(why);
  assert.deepEqual(await etcdsOn(options.dataDir), []);
});

test("The data dir is created for its owner only", async () => {
  const options = await serverOptions("h1");
  await startServer(options);
  assert.equal((await stat(options.dataDir)).mode & 0o777, 0o700);
});

test("The log comes line by line: to lines$, and to the logger at etcd's levels", async () => {
  const logged: { level: number; msg: string; etcd?: Record<string, unknown> }[] = [];
  const log = pino({ level: "trace" }, { write: (text: string) => logged.push(JSON.parse(text) as (typeof logged)[number]) });
  const server = await startServer({ ...(await serverOptions("h1")), log });
  const lines = lastValueFrom(server.lines$.pipe(toArray()));
  const first = await firstValueFrom(server.lines$);
  // Before that, a SIGTERM ends it without a word.
  if (etcdAtLeast(3, 5)) await firstValueFrom(server.lines$.pipe(filter(({ msg }) => msg.endsWith("notified init daemon"))));
  await server.stop();
  assert.ok((await lines).length >= 20, "a late subscriber gets what was logged before");
  assert.ok(["info", "warn"].includes(first.level));
  expect((await lines).at(-1)).toMatchObject({ level: "info", msg: "closed etcd server", fields: { name: "h1" } });
  expect(logged.find(({ msg }) => msg === "simple token is not cryptographically signed")).toMatchObject({ level: 40 });
  expect(logged.find(({ msg }) => msg === "starting local member")).toMatchObject({
    level: 30,
    etcd: { "local-member-id": server.memberId, "cluster-id": server.clusterId },
  });
});

const foreign = {
  ETCD_NAME: "evil",
  ETCD_LISTEN_CLIENT_URLS: "http://127.0.0.1:1",
  NOTIFY_SOCKET: "/nowhere",
  WATCHDOG_USEC: "1",
};
afterEach(() => {
  for (const name of Object.keys(foreign)) Reflect.deleteProperty(process.env, name);
});

test("Nothing of our environment reaches etcd, only what `env` names", async () => {
  Object.assign(process.env, foreign);
  const server = await startServer(await serverOptions("h1", { env: { GOGC: "50" } }));
  const environ = (await readFile(`/proc/${server.pid}/environ`, "utf8")).split("\0").filter((entry) => entry !== "");
  assert.deepEqual(
    environ
      .map((entry) => entry.split("=")[0])
      .filter((name) => name !== "PWD" && name !== "_")
      .sort(),
    ["GOGC", "PATH"],
  );
});

test("A ^C at our terminal does not reach etcd: it has a session of its own", async () => {
  const server = await startServer(await serverOptions("h1"));
  const stat = await readFile(`/proc/${server.pid}/stat`, "utf8");
  const [, , processGroup, session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  assert.deepEqual([processGroup, session], [String(server.pid), String(server.pid)]);
});

test("The server dies with a parent that is killed by SIGKILL, and its data dir is free then", async () => {
  const options = await serverOptions("h1");
  const program = runProgram(new URL("programs/hold-server.ts", import.meta.url), [JSON.stringify(options)]);
  const pid = Number(await program.line());
  assert.equal(isAlive(pid), true);
  program.child.kill("SIGKILL");
  await untilGone(pid);
  const server = await startServer(options);
  assert.notEqual(server.pid, pid);
});

async function etcdsOn(dataDir: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return lines.filter((line) => line.includes(dataDir));
}
