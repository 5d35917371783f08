import assert from "node:assert/strict";
import { readFile, readdir, stat } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { firstValueFrom, lastValueFrom, toArray } from "rxjs";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { ConfigError, startEtcd } from "../../../src/embed/index.ts";
import { etcdAtLeast, etcdBinary } from "../../support/etcd.ts";
import { ask, isAlive, temporaryFolder } from "../../support/etcd-server.ts";
import { freePorts } from "../../support/ports.ts";
import { aloneConfig, started } from "../../support/start-etcd.ts";

const key = Buffer.from("k").toString("base64");
const value = Buffer.from("v").toString("base64");

test("A configuration becomes an etcd that serves, on the ports it got where 0 was asked for", async () => {
  const config = await aloneConfig();
  const etcd = await started(config);
  await etcd.server.ready;
  const [client] = etcd.clients;
  await ask(client!, "kv/put", { key, value });
  const { kvs } = await ask<{ kvs: { value: string }[] }>(client!, "kv/range", { key });
  assert.equal(kvs[0]?.value, value);
  const { members } = await ask<{ members: object[] }>(client!, "cluster/member/list", {});
  expect(members).toMatchObject([{ name: "default", clientURLs: etcd.clients, peerURLs: etcd.peers }]);
  assert.deepEqual(etcd.config().lcUrls, etcd.clients);
  assert.deepEqual(config.lcUrls, ["http://127.0.0.1:0"]);
  await etcd.close();
  assert.equal(isAlive(etcd.server.pid), false);
});

test("What it is told is kept where it is stopped and started again, also with a log in a folder of its own", async () => {
  const config = await aloneConfig({ walDir: join(await temporaryFolder(), "wal") });
  const first = await started(config);
  await first.server.ready;
  await ask(first.clients[0]!, "kv/put", { key, value });
  await first.close();
  assert.ok((await readdir(config.walDir)).some((name) => name.endsWith(".wal")));
  const second = await started(first.config());
  await second.server.ready;
  const { kvs } = await ask<{ kvs: { value: string }[] }>(second.clients[0]!, "kv/range", { key });
  assert.equal(kvs[0]?.value, value);
});

test("Started is not joined: ready waits for the quorum, and rejects where the server is stopped before", async () => {
  const [peer] = (await freePorts(1)).map((port) => `http://127.0.0.1:${port}`) as [string];
  const [other] = (await freePorts(1)).map((port) => `http://127.0.0.1:${port}`) as [string];
  const two = { initialCluster: `a=${peer},b=${other}`, lpUrls: [peer], apUrls: [peer], name: "a" };
  const a = await started(await aloneConfig(two));
  let isReady = false;
  const ready = a.server.ready.then(() => (isReady = true));
  const b = await started(await aloneConfig({ ...two, name: "b", lpUrls: [other], apUrls: [other] }));
  await Promise.all([ready, b.server.ready]);
  assert.equal(isReady, true);
  await b.close();
  await a.close();

  const alone = await started(await aloneConfig(two));
  await alone.server.stop();
  await assert.rejects(alone.server.ready, { code: "SERVER_EXITED" });
});

test("err$ tells once what ended it, also who asks later; a stop that was asked for is no error", async () => {
  const killed = await started(await aloneConfig());
  await killed.server.ready;
  const told = firstValueFrom(killed.err$);
  process.kill(killed.server.pid, "SIGKILL");
  expect(await told).toMatchObject({ code: "SERVER_EXITED", data: { signal: "SIGKILL", asked: false } });
  assert.equal((await lastValueFrom(killed.err$.pipe(toArray()))).length, 1);

  const stopped = await started(await aloneConfig());
  await stopped.server.ready;
  await stopped.server.stop();
  assert.deepEqual(await lastValueFrom(stopped.err$.pipe(toArray())), []);
});

test("It is known to serve whatever it logs, and where", async () => {
  const file = join(await temporaryFolder(), "etcd.log");
  const etcd = await started(await aloneConfig({ logLevel: "error", logOutputs: [file] }));
  await etcd.server.ready;
  await etcd.close();
  assert.equal(await readFile(file, "utf8"), "");
});

test.skipIf(etcdAtLeast(3, 5))("etcd 3.4 logs as it did before, where it is asked to", async () => {
  const config = await aloneConfig({ logger: "capnslog" });
  config.logOutputs = undefined;
  const said: string[] = [];
  const log = pino({ level: "trace" }, { write: (line) => void said.push(line) });
  await (
    await started(config, { log })
  ).server.ready;
  expect(said.join()).toMatch(/etcdserver: starting member/);
});

test("What this etcd lacks is an error before anything is there", async () => {
  const config = await aloneConfig({ maxLearners: 3 });
  await assert.rejects(started(config), (error: unknown) => {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.error, "UnsupportedByEtcd");
    return true;
  });
  await assert.rejects(stat(config.dir), { code: "ENOENT" });
});

test("A port in use names its holder; a data folder in use as well", async () => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void holder.close());
  const url = `http://127.0.0.1:${(holder.address() as AddressInfo).port}`;
  await assert.rejects(started(await aloneConfig({ lcUrls: [url], acUrls: [url] })), {
    code: "PORT_IN_USE",
    message: new RegExp(`pid ${process.pid}`),
  });
  const config = await aloneConfig();
  await started(config);
  await assert.rejects(started(config), { code: "DATA_DIR_IN_USE" });
});

test("What etcd itself refuses is told with its own words, and no process is left", async () => {
  const config = await aloneConfig({ name: "not-there" });
  await assert.rejects(started(config), {
    code: "SERVER_EXITED",
    message: /couldn't find local name "not-there" in the initial cluster configuration/,
  });
});

test("A start that waits for others is ended by its signal", async () => {
  // A discovery service that takes every question and answers none.
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void silent.close());
  const asked = new Promise<void>((resolve) => silent.once("connection", () => resolve()));
  const durl = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/v2/keys/token`;
  const stop = new AbortController();
  const start = startEtcd(await aloneConfig({ durl, initialCluster: "" }), { etcdBin: etcdBinary(), signal: stop.signal });
  start.catch(() => undefined);
  await asked;
  stop.abort(new Error("enough"));
  await assert.rejects(start, /enough/);
});

test("etcd's own certificates: it makes them, or takes those that were made before it starts", async () => {
  const secure = { clientAutoTLS: true, peerAutoTLS: true };
  const urls = ["https://127.0.0.1:0"];
  const config = await aloneConfig({
    ...secure,
    lcUrls: urls,
    acUrls: urls,
    lpUrls: urls,
    apUrls: urls,
    initialCluster: `default=${urls[0]}`,
  });
  const etcd = await started(config);
  await etcd.server.ready;
  await etcd.close();

  const again = etcd.config();
  await again.clientSelfCert();
  await again.peerSelfCert();
  assert.equal(again.clientTLSInfo.certFile, join(again.dir, "fixtures", "client", "cert.pem"));
  assert.equal(again.peerTLSInfo.keyFile, join(again.dir, "fixtures", "peer", "key.pem"));
  await (
    await started(again)
  ).server.ready;
});
