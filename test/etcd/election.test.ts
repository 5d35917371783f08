import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { campaign, EtcdClient, Session } from "../../src/etcd/index.ts";
import type { Leadership } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { FaultyProxy } from "../support/proxy.ts";

const never = new AbortController().signal;
let etcd: TestCluster;
let url: string;
beforeAll(async () => {
  etcd = await startEtcd(1);
  url = etcd.urls[0]!;
});
afterAll(() => etcd.stop());

interface Candidate {
  readonly client: EtcdClient;
  readonly session: Session;
  stand(signal?: AbortSignal): Promise<Leadership>;
  /** The key it campaigns with is written. */
  stands(): Promise<boolean>;
}

async function candidate(prefix: string, value: string, endpoint = url): Promise<Candidate> {
  const client = EtcdClient.create({ endpoints: [endpoint], clock });
  const session = await Session.open(client, { ttlMs: 2_000, clock }, never);
  onTestFinished(async () => {
    await session.close();
    await client.close();
  });
  return {
    client,
    session,
    stand: (signal = never) => campaign({ client, session, prefix, value, clock }, signal),
    stands: async () => (await client.get(prefix + session.leaseHex, { endpoint: url })).entry !== undefined,
  };
}

async function settled(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => true), clock.sleep(300, never).then(() => false)]);
}

test("of two candidates one leads, with etcd's own key layout; the other follows when the first resigns", async () => {
  const a = await candidate("/resign/", "a");
  const b = await candidate("/resign/", "b");
  const first = await a.stand();
  expect(first.key).toBe(`/resign/${a.session.leaseHex}`);
  expect((await a.client.get(first.key)).entry).toMatchObject({
    value: "a",
    lease: a.session.lease,
    createRevision: first.revision,
  });
  const waiting = b.stand();
  await eventually("b stands", () => b.stands());
  expect(await settled(waiting)).toBe(false);
  await Promise.all([first.resign(), first.resign()]);
  const second = await waiting;
  expect(second.revision).toBeGreaterThan(first.revision);
  expect(first.signal.reason).toMatchObject({ code: "LEADERSHIP_LOST" });
  expect(() => first.fence()).toThrow("resigned");
  await second.resign();
});

test("a leader that is cut off is over before the next one leads, and its fence refuses what it still writes", async () => {
  const proxy = await FaultyProxy.start(url);
  onTestFinished(() => proxy[Symbol.asyncDispose]());
  const a = await candidate("/cut/", "a", proxy.url);
  const b = await candidate("/cut/", "b");
  const first = await a.stand();
  const fence = first.fence();
  expect((await a.client.txn({ compare: [fence], then: [{ put: "/work", value: "a" }] })).succeeded).toBe(true);
  const waiting = b.stand();
  await eventually("b stands", () => b.stands());
  let overMs: number | undefined;
  first.signal.addEventListener("abort", () => (overMs = performance.now()));
  proxy.stall();
  const second = await waiting;
  expect(overMs).toBeLessThan(performance.now());
  expect(first.signal.reason).toMatchObject({ code: "SESSION_LOST" });
  expect(() => first.fence()).toThrow("Cannot hold the session");
  // What a leader that does not know yet would still send.
  proxy.heal();
  const late = await a.client.txn(
    { compare: [fence], then: [{ put: "/work", value: "late" }] },
    { timeoutMs: 5_000, repeatable: true },
  );
  expect(late.succeeded).toBe(false);
  expect((await b.client.txn({ compare: [second.fence()], then: [{ put: "/work", value: "b" }] })).succeeded).toBe(true);
  expect((await b.client.get("/work")).entry?.value).toBe("b");
});

test("everyone waits for the one before only: when the second of three gives up, the third still waits", async () => {
  const [a, b, c] = [await candidate("/line/", "a"), await candidate("/line/", "b"), await candidate("/line/", "c")];
  const first = await a.stand();
  const giveUp = new AbortController();
  const second = b.stand(giveUp.signal).catch((error: unknown) => error);
  await eventually("b stands", () => b.stands());
  const third = c.stand();
  await eventually("c stands", () => c.stands());
  const reason = new Error("enough");
  giveUp.abort(reason);
  expect(await second).toBe(reason);
  expect(await b.stands()).toBe(false);
  expect(await settled(third)).toBe(false);
  await first.resign();
  expect((await third).revision).toBeGreaterThan(first.revision);
});

test("a leader whose key was deleted by someone is over, and may stand again", async () => {
  const a = await candidate("/deleted/", "a");
  const first = await a.stand();
  await a.client.del(first.key);
  await eventually("it is over", () => first.signal.aborted, 2_000);
  expect(first.signal.reason).toMatchObject({ code: "LEADERSHIP_LOST", retryable: true });
  const second = await a.stand();
  expect(second.revision).toBeGreaterThan(first.revision);
});

test("a candidate whose key was deleted while waiting says so", async () => {
  const a = await candidate("/while/", "a");
  const b = await candidate("/while/", "b");
  const first = await a.stand();
  const waiting = b.stand().catch((error: unknown) => error);
  await eventually("b stands", () => b.stands());
  await a.client.del(`/while/${b.session.leaseHex}`);
  await first.resign();
  expect(await waiting).toMatchObject({ code: "LEADERSHIP_LOST", retryable: true });
});

test("a candidate whose session ends stops waiting with the session's reason", async () => {
  const a = await candidate("/ends/", "a");
  const b = await candidate("/ends/", "b");
  await a.stand();
  const waiting = b.stand().catch((error: unknown) => error);
  await eventually("b stands", () => b.stands());
  await b.session.close();
  expect(await waiting).toMatchObject({ code: "CLOSED" });
});

test("a caller that follows the prefix anyway lends its eyes: no watch is opened", async () => {
  const a = await candidate("/lent/", "a");
  const b = await candidate("/lent/", "b");
  const asked: string[] = [];
  const untilDeleted = async (key: string, revision: number, signal: AbortSignal): Promise<void> => {
    asked.push(key);
    while ((await a.client.get(key, { signal })).entry?.createRevision === revision) await clock.sleep(20, signal);
  };
  const first = await campaign(
    { client: a.client, session: a.session, prefix: "/lent/", value: "a", clock, untilDeleted },
    never,
  );
  const waiting = campaign({ client: b.client, session: b.session, prefix: "/lent/", value: "b", clock, untilDeleted }, never);
  await eventually("both watch a's key", () => asked.length === 2);
  await first.resign();
  const second = await waiting;
  expect(new Set(asked)).toEqual(new Set([first.key, second.key]));
  await a.client.del(second.key);
  await eventually("the second is over", () => second.signal.aborted);
});

describe("keys that are no candidate's", () => {
  const clearing = async ({ client, session }: Candidate, prefix: string, value: string): Promise<Leadership> =>
    campaign({ client, session, prefix, value, clock, clears: true }, never);

  test("are deleted where the prefix is the election's alone: nobody waits for them for ever", async () => {
    const a = await candidate("/cleared/", "a");
    for (const name of ["banana", "0", "abc", a.session.leaseHex.slice(1)]) await a.client.put(`/cleared/${name}`, "x");
    const first = await clearing(a, "/cleared/", "a");
    const { entries } = await a.client.range({ start: "/cleared/", end: "/cleared0" });
    expect(entries.map(({ key }) => key)).toEqual([first.key]);
  });

  test("are waited for elsewhere, as etcd does: nothing of somebody else's is deleted", async () => {
    const a = await candidate("/kept/", "a");
    await a.client.put("/kept/mine", "x");
    expect(await settled(a.stand())).toBe(false);
    expect((await a.client.get("/kept/mine")).entry?.value).toBe("x");
    await a.client.del("/kept/mine");
  });

  test("may be a leader's own that was written over: it leads no more, and the next one does", async () => {
    const a = await candidate("/over/", "a");
    const b = await candidate("/over/", "b");
    const first = await clearing(a, "/over/", "a");
    const second = clearing(b, "/over/", "b");
    await eventually("b stands", () => b.stands());
    await a.client.put(first.key, "banana");
    const next = await second;
    expect(next.revision).toBeGreaterThan(first.revision);
    await eventually("a knows", () => first.signal.aborted);
    const late = { key: first.key, createRevision: first.revision };
    expect((await a.client.txn({ compare: [late], then: [{ put: "/late", value: "a" }] })).succeeded).toBe(false);
  });
});
