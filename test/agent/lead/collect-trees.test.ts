import pino from "pino";
import { expect, onTestFinished, test } from "vitest";
import { collectTrees } from "../../../src/agent/lead/collect-trees.ts";
import { systemClock } from "../../../src/clock.ts";
import type { Clock } from "../../../src/clock.ts";
import { EtcdClient, Session, campaign } from "../../../src/etcd/index.ts";
import type { Leadership } from "../../../src/etcd/index.ts";
import { keysUnder } from "../../../src/keys.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { never } from "../../support/etcd-server.ts";
import { eventually } from "../../support/eventually.ts";

const keys = keysUnder("/_mgmt");
const orphan = `${"a".repeat(64)}-5`;

test("the leader deletes what no tree of files needs, and one that is the leader no more deletes nothing", async () => {
  await using etcd = await startEtcd();
  const client = EtcdClient.create({ endpoints: etcd.urls, clock: systemClock });
  onTestFinished(() => client.close());
  const session = await Session.open(client, { ttlMs: 10_000, clock: systemClock }, never);
  onTestFinished(() => session.close());
  const leading = await campaign({ client, session, prefix: keys.leader.prefix, value: "h1", clock: systemClock }, never);
  const warned: string[] = [];
  const stream = { write: (line: string) => void warned.push((JSON.parse(line) as { readonly msg: string }).msg) };
  const log = pino({ level: "info" }, stream);
  const run = async (leadership: Leadership): Promise<void> => {
    const over = new AbortController();
    // The first hour is over at once, and the second never.
    let hours = 0;
    const clock: Clock = {
      ...systemClock,
      sleep: (ms, signal) => systemClock.sleep(ms >= 600_000 && hours++ === 0 ? 0 : ms, signal),
    };
    const before = warned.length;
    const running = collectTrees({ client, keys, clock, log, hostname: "h1", sessionTtlMs: 10_000 }, leadership, over.signal);
    await eventually("it is told how that went", () => warned.length > before);
    over.abort(new Error("over"));
    await expect(running).rejects.toThrow("over");
  };
  await client.put(keys.fs.objects.key(orphan), "hello");
  // Somebody else has its place since.
  await run({ ...leading, revision: leading.revision - 1 });
  expect((await client.get(keys.fs.objects.key(orphan))).entry).toBeDefined();
  await run(leading);
  expect((await client.get(keys.fs.objects.key(orphan))).entry).toBeUndefined();
  expect(warned).toEqual([
    "what no tree of files needs could not be collected; trying again later",
    "collected what no tree of files needs",
  ]);
});
