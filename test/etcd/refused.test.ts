import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import { freePorts } from "../support/ports.ts";
import { FaultyProxy } from "../support/proxy.ts";

const timeoutMs = 5_000;

/** How a read fails, and after how long. */
async function read(client: EtcdClient): Promise<{ readonly code: unknown; readonly tookMs: number }> {
  onTestFinished(() => client.close());
  const startMs = performance.now();
  const code = await client.get("/a", { timeoutMs }).then(
    () => "OK",
    (error: unknown) => (error as { code: unknown }).code,
  );
  return { code, tookMs: performance.now() - startMs };
}

async function closed(n: number): Promise<string[]> {
  return (await freePorts(n)).map((port) => `http://127.0.0.1:${port}`);
}

describe("a client that was told not to wait for what refuses it", () => {
  test("fails as unreachable soon after all endpoints have refused the connection", async () => {
    const { code, tookMs } = await read(EtcdClient.create({ endpoints: await closed(3), clock, refusedMs: 300 }));
    expect(code).toBe("UNREACHABLE");
    expect(tookMs).toBeGreaterThanOrEqual(300);
    expect(tookMs).toBeLessThan(2_000);
  });

  test("waits all its time where one endpoint does not say that nobody is there", async () => {
    await using etcd = await startEtcd(1);
    const proxy = await FaultyProxy.start(etcd.urls[0] ?? "");
    onTestFinished(() => proxy[Symbol.asyncDispose]());
    proxy.drop();
    const { tookMs } = await read(EtcdClient.create({ endpoints: [...(await closed(2)), proxy.url], clock, refusedMs: 300 }));
    expect(tookMs).toBeGreaterThan(timeoutMs - 500);
  });

  test("waits for a cluster that has answered before: its servers are started again", async () => {
    await using etcd = await startEtcd(1);
    const client = EtcdClient.create({ endpoints: etcd.urls, clock, refusedMs: 0 });
    expect((await read(client)).code).toBe("OK");
    await etcd.nodes[0]?.kill();
    const [after] = await Promise.all([
      read(client),
      clock.sleep(500, new AbortController().signal).then(() => etcd.nodes[0]?.restart()),
    ]);
    expect(after.code).toBe("OK");
  });
});

test("an agent's client takes all the time there is: the server it asks may be starting", async () => {
  const { code, tookMs } = await read(EtcdClient.create({ endpoints: await closed(1), clock }));
  expect(code).toBe("UNREACHABLE");
  expect(tookMs).toBeGreaterThan(timeoutMs - 500);
});
