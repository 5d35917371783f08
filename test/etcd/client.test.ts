import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import type { QuorateError } from "../../src/errors.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import type { EtcdClientOptions } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
import { FaultyProxy } from "../support/proxy.ts";

const never = new AbortController().signal;

function clientOf(endpoints: readonly string[], more: Partial<EtcdClientOptions> = {}): EtcdClient {
  const client = EtcdClient.create({ endpoints, clock, ...more });
  onTestFinished(() => client.close());
  return client;
}

async function proxyTo(url: string): Promise<FaultyProxy> {
  const proxy = await FaultyProxy.start(url);
  onTestFinished(() => proxy[Symbol.asyncDispose]());
  return proxy;
}

/** The error, and how long it took. */
async function failureOf(call: Promise<unknown>): Promise<{ readonly error: QuorateError; readonly tookMs: number }> {
  const startMs = performance.now();
  try {
    await call;
  } catch (error) {
    return { error: error as QuorateError, tookMs: performance.now() - startMs };
  }
  throw new Error("The call was expected to fail");
}

describe("one server", () => {
  let etcd: TestCluster;
  let url: string;
  beforeAll(async () => {
    etcd = await startEtcd(1);
    url = etcd.urls[0]!;
  });
  afterAll(() => etcd.stop());

  test("what is written can be read, with the facts etcd keeps of it", async () => {
    const client = clientOf([url]);
    const { revision } = await client.put("/kv/a", "värde");
    const { entry } = await client.get("/kv/a");
    expect(entry).toEqual({
      key: "/kv/a",
      value: "värde",
      createRevision: revision,
      modRevision: revision,
      version: 1,
      lease: "0",
    });
    expect(await client.get("/kv/b")).toEqual({ entry: undefined, revision });
    expect(await client.del("/kv/a")).toEqual({ revision: revision + 1, deleted: 1 });
  });

  test("a range can be limited, counted, read without values and as it was", async () => {
    const client = clientOf([url]);
    for (const name of ["a", "b", "c"]) await client.put(`/range/${name}`, name);
    const range = { start: "/range/", end: "/range0" };
    const all = await client.range(range);
    expect(all.entries.map((entry) => entry.value)).toEqual(["a", "b", "c"]);
    expect(await client.range(range, { limit: 2 })).toMatchObject({
      count: 3,
      more: true,
      entries: [{ value: "a" }, { value: "b" }],
    });
    expect(await client.range(range, { countOnly: true })).toMatchObject({ count: 3, entries: [] });
    expect((await client.range(range, { keysOnly: true })).entries[0]).toMatchObject({ key: "/range/a", value: "" });
    await client.del("/range/a");
    expect((await client.range(range, { revision: all.revision })).count).toBe(3);
  });

  test("a txn runs one branch as a whole, and compares create revision, mod revision, value and lease", async () => {
    const client = clientOf([url]);
    const first = await client.txn({ compare: [{ key: "/txn/a", createRevision: 0 }], then: [{ put: "/txn/a", value: "1" }] });
    expect(first.succeeded).toBe(true);
    const compare = [
      { key: "/txn/a", createRevision: first.revision },
      { key: "/txn/a", modRevision: first.revision },
      { key: "/txn/a", value: "1" },
      { key: "/txn/a", lease: "0" },
    ];
    for (const one of compare) expect(await client.txn({ compare: [one], then: [] })).toMatchObject({ succeeded: true });
    const other = await client.txn({
      compare: [{ key: "/txn/a", value: "2" }],
      then: [{ del: "/txn/a" }],
      else: [{ range: "/txn/", end: "/txn0" }, { put: "/txn/b", value: "2" }, { range: "/txn/none" }],
    });
    expect(other).toMatchObject({ succeeded: false, endpoint: url, ranges: [[{ key: "/txn/a" }], []] });
    expect(other.clusterId).toBe((await client.status(url)).clusterId);
  });

  test("what etcd refuses comes with etcd's own words", async () => {
    const client = clientOf([url]);
    const { error } = await failureOf(client.put("/a", "1", { lease: "42" }));
    expect(error).toMatchObject({ code: "ETCD_REFUSED", retryable: false, data: { reason: "requested lease not found" } });
    expect(error.message).toBe("Cannot write /a: etcd refused it: requested lease not found");
  });

  test("a call that was aborted before, or is aborted now, rejects at once with the signal's reason", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url]);
    await client.get("/a");
    const reason = new Error("enough");
    expect((await failureOf(client.get("/a", { signal: AbortSignal.abort(reason) }))).error).toBe(reason);
    proxy.stall();
    for (const call of [
      (signal: AbortSignal) => client.get("/a", { signal }),
      (signal: AbortSignal) => client.put("/a", "1", { signal }),
      (signal: AbortSignal) => client.readMembership({ signal }),
      (signal: AbortSignal) => client.metrics(proxy.url, { signal }),
    ]) {
      // At once, after some steps of the call, and while it waits for the answer.
      for (const wait of [undefined, 0, 1, 30]) {
        const controller = new AbortController();
        const failed = failureOf(call(controller.signal));
        if (wait !== undefined) await clock.sleep(wait, never);
        const abortedMs = performance.now();
        controller.abort(reason);
        expect((await failed).error).toBe(reason);
        // Without the signal, the call's deadline would end it after 2 s.
        expect(performance.now() - abortedMs).toBeLessThan(1_000);
      }
    }
  });

  test("a deadline says whether the request may have had an effect", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url]);
    await client.get("/a");
    proxy.stall();
    const sent = await failureOf(client.put("/late", "1", { timeoutMs: 300 }));
    expect(sent.error).toMatchObject({ code: "DEADLINE", retryable: true, data: { outcome: "unknown" } });
    expect(sent.tookMs).toBeGreaterThan(290);
    expect(sent.tookMs).toBeLessThan(900);
    // That connection was cut as nothing came back; this one does not come about.
    const unsent = await failureOf(client.put("/late", "2", { timeoutMs: 300 }));
    expect(unsent.error).toMatchObject({ code: "DEADLINE", data: { outcome: "none" } });
  });

  test("nobody listening is unreachable, without effect, and the cause says why", async () => {
    const [port] = await freePorts(1);
    const client = clientOf([`http://127.0.0.1:${port}`]);
    const { error } = await failureOf(client.put("/a", "1", { timeoutMs: 200 }));
    expect(error).toMatchObject({ code: "UNREACHABLE", retryable: true, data: { outcome: "none" } });
    expect(String(error.cause)).toContain("ECONNREFUSED");
    expect((await failureOf(clientOf([]).get("/a", { timeoutMs: 200 }))).error.message).toBe(
      "Cannot read /a: no endpoint is known",
    );
  });

  test("a pinned call is tried once, on that endpoint", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([url]);
    expect((await client.txn({ then: [{ range: "/a" }] }, { endpoint: proxy.url })).endpoint).toBe(proxy.url);
    proxy.refuse();
    proxy.cut();
    const acceptedBefore = proxy.accepted;
    const { error, tookMs } = await failureOf(client.status(proxy.url));
    expect(error.code).toBe("UNREACHABLE");
    // Well before the deadline of 2 s, up to which others are tried.
    expect(tookMs).toBeLessThan(1_000);
    expect(proxy.accepted - acceptedBefore).toBeLessThanOrEqual(1);
  });

  test("a write whose connection breaks is not sent again", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url, url]);
    await client.put("/once", "0");
    proxy.stall("down");
    const failed = failureOf(client.put("/once", "1"));
    await eventually("the write has happened", async () => (await clientOf([url]).get("/once")).entry?.value === "1");
    proxy.cut();
    expect((await failed).error).toMatchObject({ code: "UNREACHABLE", data: { outcome: "unknown" } });
    expect((await clientOf([url]).get("/once")).entry).toMatchObject({ value: "1", version: 2 });
  });

  test("a read whose connection breaks is answered by another endpoint", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url, url]);
    await client.get("/a");
    proxy.stall();
    const read = client.get("/a");
    proxy.cut();
    await expect(read).resolves.toMatchObject({ entry: undefined });
  });

  test("a hedged read is answered by another endpoint while the first is silent; writes are not hedged", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url, url], { preferred: proxy.url });
    await client.put("/hedged", "1");
    expect((await client.get("/hedged", { hedgeMs: 60_000 })).entry?.value).toBe("1");
    proxy.stall();
    // Alone it would ask the silent one for a minute first.
    const { entry } = await client.get("/hedged", { hedgeMs: 30, timeoutMs: 120_000 });
    expect(entry?.value).toBe("1");
    proxy.refuse();
    proxy.cut();
    expect((await client.get("/hedged", { hedgeMs: 30 })).entry?.value).toBe("1");
    const nowhere = clientOf([proxy.url, "http://127.0.0.1:1"]);
    const { error } = await failureOf(nowhere.get("/hedged", { hedgeMs: 30, timeoutMs: 300 }));
    expect(error).toMatchObject({ code: "UNREACHABLE", retryable: true });
    const reason = new Error("enough");
    const aborted = new AbortController();
    const failing = failureOf(nowhere.get("/hedged", { hedgeMs: 30, timeoutMs: 5_000, signal: aborted.signal }));
    aborted.abort(reason);
    expect((await failing).error).toBe(reason);
  });

  test("values of many megabytes pass", async () => {
    const client = clientOf([url]);
    const value = "x".repeat(1_000_000);
    for (let i = 0; i < 8; i++) await client.put(`/big/${i}`, value);
    expect((await client.range({ start: "/big/", end: "/big0" })).entries).toHaveLength(8);
  });

  test("etcd's metrics are fetched, within the deadline or not at all", async () => {
    const client = clientOf([url]);
    expect(await client.metrics(url)).toContain("etcd_server_has_leader 1");
    const proxy = await proxyTo(url);
    proxy.stall();
    expect((await failureOf(client.metrics(proxy.url, { timeoutMs: 200 }))).error.code).toBe("DEADLINE");
    proxy.refuse();
    proxy.cut();
    expect((await failureOf(client.metrics(proxy.url, { timeoutMs: 200 }))).error.code).toBe("UNREACHABLE");
  });

  test("a closed client refuses everything with CLOSED, also what was under way, and keeps no connection", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url]);
    await client.get("/a");
    proxy.stall();
    const failed = failureOf(client.get("/a"));
    const closingMs = performance.now();
    await client.close();
    await client.close();
    // Nobody waits for the deadline of 2 s.
    expect(performance.now() - closingMs).toBeLessThan(1_000);
    expect((await failed).error.code).toBe("CLOSED");
    expect((await failureOf(client.get("/a"))).error.code).toBe("CLOSED");
    proxy.heal();
    await eventually("the connection is gone", () => proxy.open === 0);
  });
});

describe("a server that goes and comes", () => {
  test("it is used at once when it is back", async () => {
    await using etcd = await startEtcd(1);
    const client = clientOf(etcd.urls);
    await client.put("/a", "1");
    await etcd.nodes[0]!.kill();
    const reading = client.get("/a", { timeoutMs: 20_000 }).then((read) => ({ read, atMs: performance.now() }));
    await etcd.nodes[0]!.restart();
    const servesMs = await eventually("etcd has a raft leader", async () => {
      const answer = await fetch(`${etcd.urls[0]!}/health`).catch(() => undefined);
      return (await answer?.text())?.includes('"true"') && performance.now();
    });
    const { read, atMs } = await reading;
    expect(read.entry?.value).toBe("1");
    // 250 ms between two rounds at most.
    expect(atMs - servesMs).toBeLessThan(1_500);
  });
});

describe("three servers", () => {
  let etcd: TestCluster;
  beforeAll(async () => {
    etcd = await startEtcd(3);
  });
  afterAll(() => etcd.stop());

  test("the preferred endpoint is used, then the one that worked last", async () => {
    const [a, b, c] = etcd.urls as [string, string, string];
    const client = clientOf([a, b, c], { preferred: c });
    const used = async (): Promise<string> => (await client.txn({ then: [{ range: "/a" }] })).endpoint;
    expect(await used()).toBe(c);
    client.endpoints.set([a, b, c], b);
    expect(await used()).toBe(b);
    client.endpoints.set([a, b, c]);
    expect(await used()).toBe(b);
    client.endpoints.set([a, c]);
    expect(await used()).toBe(a);
  });

  test("a server that is stuck is passed by within the deadline, and then left alone for a while", async () => {
    const stuck = etcd.nodes[1]!;
    const client = clientOf(etcd.urls, { preferred: stuck.clientUrl });
    await client.get("/a");
    stuck.pause();
    onTestFinished(() => stuck.resume());
    await eventually("the others have a raft leader", () =>
      clientOf([etcd.urls[0]!, etcd.urls[2]!])
        .put("/a", "1")
        .then(
          () => true,
          () => false,
        ),
    );
    const startMs = performance.now();
    await client.get("/a");
    const passedMs = performance.now() - startMs;
    expect(passedMs).toBeLessThan(2_000);
    const againMs = performance.now();
    await client.put("/a", "2");
    expect(performance.now() - againMs).toBeLessThan(passedMs);
  });

  test("endpoints can be exchanged while calls are under way, and those let go are closed", async () => {
    const proxies = await Promise.all(etcd.urls.map(proxyTo));
    const client = clientOf([proxies[0]!.url]);
    let running = true;
    let done = 0;
    const callers = Array.from({ length: 8 }, async (_, i) => {
      for (; running; done++) await client.put(`/swap/${i}`, "x");
    });
    for (let round = 1; round <= 30; round++) {
      const before = done;
      client.endpoints.set([proxies[round % 3]!.url]);
      await eventually("calls go on", () => done > before + 8);
      await eventually("the others are closed", () => proxies.every((proxy, i) => i === round % 3 || proxy.open === 0));
    }
    running = false;
    await Promise.all(callers);
  });

  test("without quorum nothing linearizable is answered, and the error says so", async () => {
    await using pair = await startEtcd(2);
    const client = clientOf([pair.urls[0]!]);
    await client.put("/a", "1");
    await pair.nodes[1]!.kill();
    const { error } = await failureOf(client.get("/a", { timeoutMs: 4_000 }));
    expect(error).toMatchObject({ code: "NO_QUORUM", retryable: true });
    expect((await client.status(pair.urls[0]!)).raftLeader).toBe("0");
  });
});
