import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { Batch, EtcdClient } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import { FaultyProxy } from "../support/proxy.ts";

test("writes that wait for a long time behind others, which go through, are all written", async () => {
  await using etcd = await startEtcd(1);
  await using proxy = await FaultyProxy.start(etcd.urls[0]!);
  const client = EtcdClient.create({ endpoints: [proxy.url], clock });
  const batch = new Batch(client, { timeoutMs: 1_000, mostOps: 5 });
  onTestFinished(async () => {
    await batch.close();
    await client.close();
  });
  await batch.put("/turn/warm", "1");
  proxy.delay(100);
  const fromMs = clock.nowMs();
  const done = await Promise.all(Array.from({ length: 100 }, (_, i) => batch.put(`/turn/${i}`, "1")));
  expect(clock.nowMs() - fromMs, "what came last has waited long").toBeGreaterThan(2_000);
  expect(done.every(({ succeeded }) => succeeded)).toBe(true);
});
