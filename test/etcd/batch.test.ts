import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { QuorateError } from "../../src/errors.ts";
import { Batch, Session } from "../../src/etcd/index.ts";
import type { BatchOptions, EtcdClient, Written } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { full } from "../support/full.ts";
import { Random } from "../support/random.ts";
import { clientOf, Follower, proxyTo } from "./follower.ts";

const never = new AbortController().signal;

let etcd: TestCluster;
let url: string;
beforeAll(async () => {
  etcd = await startEtcd(1);
  url = etcd.urls[0]!;
});
afterAll(() => etcd.stop());

function batchOf(client: EtcdClient, options: BatchOptions = {}): Batch {
  const batch = new Batch(client, options);
  onTestFinished(() => batch.close());
  return batch;
}

async function revisionOf(client: EtcdClient): Promise<number> {
  return (await client.get("/nothing")).revision;
}

describe("many writes at once", () => {
  test("writes of one moment are one transaction, each with its own result", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    await client.put("/one/b", "old");
    await batch.put("/one/first", "1");
    const before = await revisionOf(client);
    const [a, b, c, d, e] = await Promise.all([
      batch.put("/one/a", "1"),
      batch.put("/one/b", "2", { when: { createRevision: 0 } }),
      batch.put("/one/c", "3", { when: { createRevision: 0 } }),
      batch.del("/one/first", { when: { value: "1" } }),
      batch.put("/one/d", "4", { when: { value: "none" } }),
    ]);
    const revision = before + 1;
    expect(a).toEqual({ succeeded: true, revision });
    expect(b).toMatchObject({ succeeded: false, revision, entry: { value: "old" } });
    expect(c).toEqual({ succeeded: true, revision });
    expect(d).toEqual({ succeeded: true, revision });
    expect(e).toEqual({ succeeded: false, revision });
    const { entries } = await client.range({ start: "/one/", end: "/one0" });
    expect(entries.map(({ key, value }) => `${key}=${value}`)).toEqual(["/one/a=1", "/one/b=old", "/one/c=3"]);
  });

  test("1,000 writes fit a server that takes 128 operations at once, and one that takes 512", async () => {
    await using generous = await startEtcd(1, { flags: ["--max-txn-ops=512"] });
    for (const [address, most] of [
      [url, 12],
      [generous.urls[0]!, 5],
    ] as const) {
      const client = clientOf([address]);
      const batch = batchOf(client);
      await batch.put("/thousand/", "0");
      const before = await revisionOf(client);
      await Promise.all(Array.from({ length: 1_000 }, (_, i) => batch.put(`/thousand/${i}`, `${i}`)));
      expect((await revisionOf(client)) - before).toBeLessThanOrEqual(most);
      const { count } = await client.range({ start: "/thousand/", end: "/thousand0" }, { countOnly: true });
      expect(count).toBe(1_001);
    }
  });

  test("large values are spread over several requests; one that is too large fails alone", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    const results = await Promise.allSettled(
      Array.from({ length: 12 }, (_, i) => batch.put(`/big/${i}`, "x".repeat(i === 5 ? 2_000_000 : 300_000))),
    );
    expect(results.map((result) => result.status).filter((status) => status === "fulfilled")).toHaveLength(11);
    expect(results[5]).toMatchObject({ reason: { code: "ETCD_REFUSED", data: { outcome: "none" } } });
  });

  test("one that etcd refuses fails alone", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    const results = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) => batch.put(`/refused/${i}`, "1", i === 42 ? { lease: "12345" } : {})),
    );
    for (const [i, result] of results.entries()) {
      if (i === 42)
        expect(result).toMatchObject({ reason: { code: "ETCD_REFUSED", data: { reason: "requested lease not found" } } });
      else expect(result.status).toBe("fulfilled");
    }
  });

  test("of writes of one key the last that waits is written, in the order of the calls, and all are told", async () => {
    const client = clientOf([url]);
    const follower = new Follower(client, "/same/");
    await eventually("live", () => follower.live);
    const batch = batchOf(client);
    const results = await Promise.all([
      batch.put("/same/a", "1"),
      batch.put("/same/a", "2"),
      batch.put("/same/a", "3", { when: { value: "2" } }),
      batch.put("/same/a", "4"),
      batch.del("/same/a"),
      batch.put("/same/a", "5", { when: { createRevision: 0 } }),
    ]);
    expect(results.map(({ succeeded, superseded }) => [succeeded, superseded ?? false])).toEqual([
      [true, true],
      [true, false],
      [true, false],
      [true, true],
      [true, false],
      [true, false],
    ]);
    await eventually("all are seen", () => follower.changes.length === 4);
    expect(follower.changes.map((change) => (change.type === "put" ? change.entry.value : "-"))).toEqual(["2", "3", "-", "5"]);
  });

  test("an atomic write is one revision or nothing, and is refused rather than split", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    const put = (i: number): { put: string; value: string } => ({ put: `/atomic/${i}`, value: "1" });
    const [first, second, beside] = await Promise.all([
      batch.atomic({ then: Array.from({ length: 100 }, (_, i) => put(i)) }),
      batch.atomic({ compare: [{ key: "/atomic/0", createRevision: 0 }], then: [put(200), { del: "/atomic/1" }] }),
      batch.put("/atomic/beside", "1"),
    ]);
    expect(first.succeeded).toBe(true);
    // Its condition is on a key that was written before it.
    expect(second.succeeded).toBe(false);
    expect(beside.succeeded).toBe(true);
    const { entries } = await client.range({ start: "/atomic/", end: "/atomic0" });
    expect(entries.filter((entry) => entry.modRevision === first.revision).length).toBeGreaterThanOrEqual(100);
    await expect(batch.atomic({ then: Array.from({ length: 600 }, (_, i) => put(1_000 + i)) })).rejects.toMatchObject({
      code: "ETCD_REFUSED",
      data: { outcome: "none" },
    });
    expect((await client.get("/atomic/1000")).entry).toBeUndefined();
    await batch.put("/atomic/after", "1");
  });

  test("a write that waits can be withdrawn, one that was sent is unknown, and both say so at once", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url]);
    const batch = batchOf(client);
    await batch.put("/abort/a", "0");
    proxy.stall("up");
    const sent = new AbortController();
    const waiting = new AbortController();
    const results = [batch.put("/abort/a", "sent", { signal: sent.signal })];
    await eventually("it is on its way", () => proxy.held > 0);
    results.push(batch.put("/abort/a", "kept"), batch.put("/abort/a", "withdrawn", { signal: waiting.signal }));
    const settled = Promise.allSettled(results);
    const reason = new Error("enough");
    sent.abort(reason);
    waiting.abort(reason);
    await expect(results[0]).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN", cause: reason, data: { outcome: "unknown" } });
    await expect(results[2]).rejects.toBe(reason);
    proxy.heal();
    expect((await settled)[1]).toMatchObject({ status: "fulfilled" });
    expect((await client.get("/abort/a")).entry?.value).toBe("kept");
    await expect(batch.put("/abort/b", "1", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test("what relies on a session that is over is not written, and what waits beside it is", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    const session = await Session.open(client, { ttlMs: 5_000, clock }, never);
    expect(await batch.put("/session/a", "1", { session, lease: session.lease })).toMatchObject({ succeeded: true });
    await session.close();
    const [put, del, atomic, other] = await Promise.allSettled([
      batch.put("/session/b", "1", { session }),
      batch.del("/session/b", { session, when: { createRevision: 0 } }),
      batch.atomic({ then: [{ put: "/session/c", value: "1" }] }, { session }),
      batch.put("/session/d", "1"),
    ]);
    for (const refused of [put, del, atomic]) expect(refused).toMatchObject({ status: "rejected", reason: { code: "CLOSED" } });
    expect(other).toMatchObject({ status: "fulfilled" });
    const { entries } = await client.range({ start: "/session/", end: "/session0" });
    expect(entries.map(({ key }) => key)).toEqual(["/session/d"]);
  });

  test("no more than a bounded number waits; whoever waits for room gets it", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client, { mostWaiting: { writes: 100, bytes: 1e9 } });
    const writes = Array.from({ length: 150 }, (_, i) => batch.put(`/bounded/${i}`, "1"));
    const settled = Promise.allSettled(writes);
    let got = false;
    const room = batch.room().then(() => (got = true));
    expect((await settled).filter((result) => result.status === "rejected")).toHaveLength(50);
    await expect(writes[149]).rejects.toMatchObject({ code: "BUSY", retryable: true, data: { outcome: "none" } });
    await room;
    expect(got).toBe(true);
    await batch.put("/bounded/200", "1");
  });

  test("without a way to etcd a write fails in bounded time, with nothing written", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url]);
    const batch = batchOf(client, { timeoutMs: 300 });
    await batch.put("/offline/a", "0");
    proxy.refuse();
    proxy.cut();
    await expect(client.get("/offline/a", { timeoutMs: 100 })).rejects.toMatchObject({ code: "UNREACHABLE" });
    const startMs = performance.now();
    const results = await Promise.allSettled(Array.from({ length: 500 }, (_, i) => batch.put(`/offline/${i}`, "1")));
    expect(performance.now() - startMs).toBeLessThan(3_000);
    for (const result of results) expect(result).toMatchObject({ reason: { retryable: true, data: { outcome: "none" } } });
    proxy.heal();
    await eventually("writes go again", () => batch.put("/offline/a", "2").catch(() => undefined));
  });

  test("closing waits for what there is, takes no more, and leaves no marker behind", async () => {
    await using alone = await startEtcd(1);
    const client = clientOf(alone.urls);
    const batch = new Batch(client);
    const writes = Promise.all(Array.from({ length: 300 }, (_, i) => batch.put(`/closing/${i}`, "1")));
    await Promise.all([batch.close(), batch.close()]);
    expect((await writes).every((written) => written.succeeded)).toBe(true);
    await expect(batch.put("/closing/late", "1")).rejects.toMatchObject({ code: "CLOSED" });
    const others = clientOf(alone.urls);
    await eventually("its markers are gone", async () => {
      const { entries } = await others.range({ start: "\u0000quorate/batch/", end: "\u0000quorate/batch0" });
      return entries.length === 0;
    });
  });
});

describe("a lost answer", () => {
  test("put, conditional put, delete and atomic write are applied once, and the caller is told the truth", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const batch = batchOf(clientOf([proxy.url]));
    const follower = new Follower(direct, "/lost/");
    await eventually("live", () => follower.live);
    await direct.put("/lost/there", "old");
    for (let round = 0; round < 10; round++) {
      await direct.put("/lost/gone", "1");
      await batch.put("/lost/warm", `${round}`);
      const from = await revisionOf(direct);
      proxy.stall("down");
      const writing = Promise.all([
        batch.put("/lost/plain", `${round}`),
        batch.put(`/lost/new/${round}`, "mine", { when: { createRevision: 0 } }),
        batch.put("/lost/there", "new", { when: { createRevision: 0 } }),
        batch.del("/lost/gone", { when: { value: "1" } }),
        batch.atomic({ compare: [{ key: "/lost/gone", value: "1" }], then: [{ put: "/lost/atomic", value: `${round}` }] }),
      ]);
      await eventually("it was applied", async () => (await direct.get(`/lost/new/${round}`)).entry);
      // Others write the same keys before the batch learns what became of its own.
      await direct.put("/lost/plain", "others");
      await direct.put(`/lost/new/${round}`, "others");
      proxy.cut();
      proxy.heal();
      const [plain, created, there, gone, atomic] = await writing;
      const revision = from + 1;
      expect(plain).toEqual({ succeeded: true, revision });
      expect(created).toEqual({ succeeded: true, revision });
      expect(there).toMatchObject({ succeeded: false, revision, entry: { value: "old" } });
      expect(gone).toEqual({ succeeded: true, revision });
      expect(atomic.succeeded).toBe(false);
      expect((await direct.get("/lost/plain")).entry?.value).toBe("others");
      expect((await direct.get(`/lost/new/${round}`)).entry).toMatchObject({ value: "others", version: 2 });
    }
  });

  test("a request that arrives late, after it was sent again, is not applied a second time", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const batch = batchOf(clientOf([proxy.url, url], { preferred: proxy.url }), { timeoutMs: 1_500 });
    const txns = async (): Promise<number> => {
      const metrics = await direct.metrics(url);
      return Number(/grpc_server_handled_total\{grpc_code="OK",grpc_method="Txn",[^}]*\} (\d+)/.exec(metrics)?.[1]);
    };
    await batch.put("/late/warm", "1");
    proxy.late();
    const [a, b] = await Promise.all([batch.put("/late/a", "1", { when: { createRevision: 0 } }), batch.put("/late/b", "1")]);
    expect([a.succeeded, b.succeeded]).toEqual([true, true]);
    const before = await txns();
    proxy.heal();
    await eventually("the first one has arrived", async () => (await txns()) > before);
    expect((await direct.get("/late/a")).entry).toMatchObject({ version: 1, modRevision: a.revision });
    expect((await direct.get("/late/b")).entry).toMatchObject({ version: 1, modRevision: b.revision });
    expect(await batch.put("/late/b", "2")).toMatchObject({ succeeded: true });
  });

  test("is not asked for by sending it again once the session is over: whether it had arrived is read", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const batch = batchOf(clientOf([proxy.url]));
    for (const arrives of [true, false]) {
      const session = await Session.open(direct, { ttlMs: 5_000, clock }, never);
      const key = `/once/${String(arrives)}`;
      await batch.put("/once/warm", "1");
      proxy.stall(arrives ? "down" : "up");
      const writing = batch.put(key, "1", { session });
      writing.catch(() => undefined);
      if (arrives) await eventually("it was applied", async () => (await direct.get(key)).entry);
      else await eventually("it is on its way", () => proxy.held > 0);
      await session.close();
      proxy.drop();
      proxy.cut();
      proxy.heal();
      if (arrives) expect(await writing).toMatchObject({ succeeded: true });
      else await expect(writing).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
      expect((await direct.get(key)).entry?.version).toBe(arrives ? 1 : undefined);
    }
  });

  test("what cannot be found out in time is unknown, and said to be", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const batch = batchOf(clientOf([proxy.url]), { timeoutMs: 300 });
    await batch.put("/unknown/a", "0");
    proxy.stall("down");
    const writing = batch.put("/unknown/a", "1");
    await eventually("it was applied", async () => (await direct.get("/unknown/a")).entry?.value === "1");
    await expect(writing).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN", data: { outcome: "unknown" } });
    proxy.heal();
    proxy.cut();
    expect(await batch.put("/unknown/a", "2", { when: { value: "1" } })).toMatchObject({ succeeded: true });
  });

  test(
    "40 callers, and a connection that is cut again and again: what was told is what happened",
    { timeout: 120_000 },
    async () => {
      const seed = 7_411;
      const random = new Random(seed);
      const proxy = await proxyTo(url);
      const direct = clientOf([url]);
      const follower = new Follower(direct, "/storm/");
      await eventually("live", () => follower.live);
      const batch = batchOf(clientOf([proxy.url]), { timeoutMs: 5_000 });
      const told = new Map<string, Written | QuorateError>();
      let running = true;
      const callers = Array.from({ length: 40 }, async (_, caller) => {
        for (let i = 0; running; i++) {
          const key = `/storm/${(caller * 7 + i) % 25}`;
          const value = `${caller}:${i}`;
          const entry = follower.entries.get(key);
          const when = i % 2 === 0 ? { modRevision: entry?.modRevision ?? 0 } : undefined;
          const written = batch.put(key, value, when === undefined ? {} : { when });
          told.set(value, await written.catch((error: unknown) => error as QuorateError));
        }
      });
      const rounds = full ? 300 : 40;
      for (let round = 0; round < rounds; round++) {
        const before = told.size;
        if (round % 4 === 1) proxy.stall("down");
        await clock.sleep(random.next() * 30, never);
        if (round % 4 === 2) proxy.cutAfter(random.between(0, 3_000));
        else proxy.cut();
        proxy.heal();
        await eventually(`writes go on after cut ${round} (seed ${seed})`, () => told.size > before + 40);
      }
      running = false;
      await Promise.all(callers);
      const { revision } = await direct.put("/storm/end", "end");
      await eventually("everything was seen", () => follower.revision >= revision);
      const seen = new Map<string, number[]>();
      for (const change of follower.changes) {
        if (change.type !== "put") continue;
        const revisions = seen.get(change.entry.value) ?? [];
        seen.set(change.entry.value, [...revisions, change.entry.modRevision]);
      }
      const wrong: string[] = [];
      let unknown = 0;
      for (const [value, result] of told) {
        const revisions = seen.get(value) ?? [];
        if (revisions.length > 1) wrong.push(`${value} was applied ${revisions.length} times`);
        if (result instanceof QuorateError) {
          if (result.code === "OUTCOME_UNKNOWN") unknown++;
          else if (revisions.length > 0) wrong.push(`${value} was applied in spite of ${result.message}`);
        } else if (result.superseded) {
          if (revisions.length > 0) wrong.push(`${value} was superseded and written`);
        } else if (result.succeeded !== (revisions.length === 1)) {
          wrong.push(`${value}: told ${result.succeeded}, applied ${revisions.length} times`);
        } else if (result.succeeded && revisions[0] !== result.revision) {
          wrong.push(`${value}: told ${result.revision}, was ${revisions[0]}`);
        }
      }
      expect(wrong, `seed ${seed}`).toEqual([]);
      // The way to etcd is there most of the time: the truth can be found out.
      expect(unknown, `seed ${seed}, of ${told.size}`).toBe(0);
      expect(told.size).toBeGreaterThan(1_000);
    },
  );
});
