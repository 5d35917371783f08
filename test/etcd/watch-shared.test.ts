import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { openWatch, watchRange } from "../../src/etcd/index.ts";
import type { EtcdClient, Op, WatchNews } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { etcdAtLeast } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";
import { caughtUp, clientOf, compact, Follower, proxyTo } from "./follower.ts";

const never = new AbortController().signal;
const progressIsInOrder = etcdAtLeast(3, 5, 8) || (etcdAtLeast(3, 4, 25) && !etcdAtLeast(3, 5));

let etcd: TestCluster;
let url: string;
beforeAll(async () => {
  etcd = await startEtcd(1);
  url = etcd.urls[0]!;
});
afterAll(() => etcd.stop());

/** Streams and watches of the server now. */
async function watching(client: EtcdClient): Promise<{ readonly streams: number; readonly watches: number }> {
  const metrics = await client.metrics(url);
  const value = (name: string): number => Number(new RegExp(`^etcd_debugging_mvcc_${name} (\\S+)$`, "m").exec(metrics)?.[1]);
  return { streams: value("watch_stream_total"), watches: value("watcher_total") };
}

describe("all watches of a client share one stream", () => {
  test("20 watches cost one stream, each is told its own, and nothing is left when they have ended", async () => {
    const observer = clientOf([url]);
    await eventually("no watch is left of others", async () => (await watching(observer)).streams === 0);
    const client = clientOf([url]);
    const followers = Array.from({ length: 20 }, (_, i) => new Follower(client, `/shared/${i}/`));
    await eventually("live", () => followers.every((follower) => follower.live));
    expect(await watching(observer)).toEqual({ streams: 1, watches: 20 });
    const then = (round: number): Op[] => followers.map((_, i) => ({ put: `/shared/${i}/a`, value: `${round}` }));
    for (let round = 0; round < 10; round++) await observer.txn({ then: then(round) });
    for (let i = 0; i < 10; i++) await followers[i]!.stop();
    for (let round = 10; round < 20; round++) await observer.txn({ then: then(round) });
    await eventually("half of them are gone", async () => (await watching(observer)).watches === 10);
    await Promise.all(followers.slice(10).map((follower, i) => caughtUp(follower, client, `/shared/${i + 10}/`)));
    for (const follower of followers.slice(10)) expect(follower.changes).toHaveLength(21);
    for (const follower of followers) await follower.stop();
    await eventually("the stream is closed", async () => (await watching(observer)).streams === 0);
  });

  test("a watch etcd refuses ends alone, with etcd's words, whatever is opened beside it", async () => {
    const client = clientOf([url]);
    const good = new Follower(client, "/good/");
    await eventually("live", () => good.live);
    // The end lies before the start: that can be listed, but not watched.
    const refused = Array.from({ length: 5 }, () =>
      watchRange(client, { start: "/z", end: "/a" }, () => undefined, { clock }, never).catch((error: unknown) => error),
    );
    const beside = Array.from({ length: 5 }, (_, i) => new Follower(client, `/good/${i}/`));
    for (const refusal of await Promise.all(refused)) {
      expect(refusal).toMatchObject({ code: "ETCD_REFUSED", message: expect.stringContaining("Cannot watch /z") as unknown });
    }
    await eventually("the others are live", () => beside.every((follower) => follower.live));
    for (const [i, follower] of beside.entries()) await caughtUp(follower, client, `/good/${i}/`);
    await caughtUp(good, client, "/good/");
    expect([good, ...beside].map((follower) => follower.interruptions)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test("a handler that throws ends its own watch alone", async () => {
    const client = clientOf([url]);
    const good = new Follower(client, "/thrower/");
    await eventually("live", () => good.live);
    const mine = new Error("mine");
    let live = false;
    const bad = watchRange(
      client,
      { start: "/thrower/", end: "/thrower0" },
      (news) => {
        if (news.kind === "state") live = news.live;
        if (news.kind === "changes") throw mine;
      },
      { clock },
      never,
    ).catch((error: unknown) => error);
    await eventually("live", () => live);
    await client.put("/thrower/a", "1");
    expect(await bad).toBe(mine);
    await caughtUp(good, client, "/thrower/");
    expect(good.interruptions).toBe(0);
  });

  test("a slow consumer is told the latest of each key, and that it is; the others are told everything", async () => {
    const client = clientOf([url]);
    await client.put("/slow/old", "1");
    const fast = new Follower(client, "/slow/");
    const news: WatchNews[] = [];
    let live = false;
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    const stop = new AbortController();
    const slow = openWatch(
      client,
      { start: "/slow/", end: "/slow0" },
      async (told) => {
        if (told.kind === "state") live = told.live;
        else news.push(told);
        if (told.kind === "changes") await released;
      },
      { clock },
      stop.signal,
    );
    await eventually("live", () => live && fast.live);
    const rounds = 150;
    for (let round = 0; round < rounds; round++) {
      await client.txn({ then: Array.from({ length: 100 }, (_, i) => ({ put: `/slow/${i}`, value: `${round}` })) });
      if (round === 3) await client.put("/slow/between", "1");
      if (round === 5) await client.txn({ then: [{ del: "/slow/between" }, { del: "/slow/old" }] });
    }
    const { revision } = await client.get("/slow/");
    await eventually("the others have everything", () => fast.changes.length === rounds * 100 + 3);
    expect(news).toHaveLength(2);
    const taken = slow.requestProgress(revision, never);
    release();
    await taken;
    const later = news.slice(2).flatMap((told) => (told.kind === "changes" ? [told] : []));
    expect(later.some((told) => told.coalesced)).toBe(true);
    expect(news[1]).toMatchObject({ coalesced: false });
    expect(later.reduce((sum, told) => sum + told.changes.length, 0)).toBeLessThan(10_000);
    const entries = new Map<string, string>();
    let at = 0;
    for (const told of news) {
      if (told.kind === "state") continue;
      expect(told.revision).toBeGreaterThanOrEqual(at);
      at = told.revision;
      if (told.kind === "snapshot") for (const entry of told.entries) entries.set(entry.key, entry.value);
      else
        for (const change of told.changes) {
          const key = change.type === "put" ? change.entry.key : change.key;
          expect(change.previous?.value).toBe(entries.get(key));
          if (change.type === "put") entries.set(key, change.entry.value);
          else expect(entries.delete(key)).toBe(true);
        }
    }
    const listed = await client.range({ start: "/slow/", end: "/slow0" });
    expect(at).toBe(revision);
    expect(entries).toEqual(new Map(listed.entries.map((entry) => [entry.key, entry.value])));
    stop.abort(new Error("enough"));
    await expect(slow.over).rejects.toThrow("enough");
  });

  test.skipIf(!progressIsInOrder)(
    "a quiet watch learns how far it has come, and resumes from there after a compaction",
    async () => {
      const proxy = await proxyTo(url);
      const direct = clientOf([url]);
      const client = clientOf([proxy.url]);
      const busy = new Follower(client, "/busy/");
      let live = false;
      const told: WatchNews[] = [];
      const stop = new AbortController();
      const quiet = openWatch(
        client,
        { start: "/quiet/", end: "/quiet0" },
        (news) => {
          if (news.kind === "state") live = news.live;
          else told.push(news);
        },
        { clock },
        stop.signal,
      );
      await eventually("live", () => live && busy.live);
      for (let i = 0; i < 50; i++) await direct.put("/busy/a", `${i}`);
      const { revision } = await direct.put("/elsewhere", "1");
      await quiet.requestProgress(revision, never);
      expect(told).toHaveLength(1);
      proxy.refuse();
      proxy.cut();
      await eventually("the cut was felt", () => !live);
      await direct.put("/quiet/a", "1");
      await compact(direct, revision);
      proxy.heal();
      await eventually("the change", () => told.length === 2);
      expect(told[1]).toMatchObject({ kind: "changes", resynced: false, changes: [{ type: "put", entry: { key: "/quiet/a" } }] });
      await caughtUp(busy, direct, "/busy/");
      const future = quiet.requestProgress(1e9, AbortSignal.timeout(100));
      await expect(future).rejects.toMatchObject({ name: "TimeoutError" });
      const pending = quiet.requestProgress(1e9, never);
      stop.abort(new Error("enough"));
      await expect(pending).rejects.toThrow("enough");
    },
  );

  test.skipIf(!progressIsInOrder)("a reply that was on its way before a watch began says nothing of that watch", async () => {
    const client = clientOf([url]);
    const nothing = {
      onCreated: () => undefined,
      onEvents: () => undefined,
      onProgress: () => undefined,
      onEnd: () => undefined,
    };
    const base = client.watches.watch(url, { start: "/base", end: "/base0", startRevision: 0 }, nothing);
    for (let round = 0; round < 10; round++) {
      const { revision } = await client.put("/begun", `${round}`);
      const told: string[] = [];
      // More than the server has told when it comes to the watch.
      await Promise.all(Array.from({ length: 50 }, () => base.requestProgress()));
      const late = client.watches.watch(
        url,
        { start: "/begun", end: "/begun0", startRevision: revision },
        {
          ...nothing,
          onEvents: () => told.push("its event"),
          onProgress: (at) => at >= revision && told.push("that there is no more"),
        },
      );
      await eventually("both are told", async () => {
        await base.requestProgress();
        return told.includes("its event") && told.includes("that there is no more");
      });
      expect(told[0]).toBe("its event");
      late.close();
    }
    // Also where nothing happens any more, and nothing is to be told.
    const { revision } = await client.put("/elsewhere", "1");
    let quiet = 0;
    client.watches.watch(
      url,
      { start: "/quiet", end: "/quiet0", startRevision: revision },
      { ...nothing, onProgress: (at) => (quiet = at) },
    );
    await eventually("it is told how far it has come", async () => {
      await base.requestProgress();
      return quiet >= revision;
    });
    base.close();
  });

  test.skipIf(progressIsInOrder)("an etcd whose progress replies cannot be believed is not asked", async () => {
    const client = clientOf([url]);
    const stop = new AbortController();
    let live = false;
    const range = { start: "/old/", end: "/old0" };
    const watch = openWatch(client, range, (news) => void (live ||= news.kind === "state" && news.live), { clock }, stop.signal);
    await eventually("live", () => live);
    const { revision } = await client.put("/elsewhere", "1");
    await expect(watch.requestProgress(revision, never)).rejects.toMatchObject({ code: "ETCD_REFUSED" });
    stop.abort(new Error("enough"));
  });
});

describe("catching up through a connection that breaks", () => {
  test("behind 'created', after the first batches, and in mid-frame: 5,000 of 5,000 events, in order, once", async () => {
    const prefix = "/behind/";
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const client = clientOf([proxy.url]);
    const follower = new Follower(client, prefix);
    await eventually("live", () => follower.live);
    proxy.refuse();
    proxy.cut();
    await eventually("the cut was felt", () => !follower.live);
    const from = (await direct.get(prefix)).revision;
    for (let i = 0; i < 5_000; i += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, j) => direct.put(`${prefix}${(i + j) % 100}`, "x".repeat(100))));
    }
    // Catching up takes 5 responses of about 150 kB each.
    const cuts = [0, 0, 0, 2_000, 20_000, 100_000, 180_000, 10_000, 180_000, 70_000, 180_000, 30_000];
    follower.onLive = () => {
      const bytes = cuts.shift();
      if (bytes === 0) proxy.cut();
      else if (bytes !== undefined) proxy.cutAfter(bytes);
    };
    proxy.heal();
    await eventually("every cut was felt", () => cuts.length === 0 && follower.interruptions >= 13, 30_000);
    await caughtUp(follower, direct, prefix);
    expect(follower.resyncs).toBe(0);
    expect(follower.changes.slice(0, 5_000).map((change) => (change.type === "put" ? change.entry.modRevision : -1))).toEqual(
      Array.from({ length: 5_000 }, (_, i) => from + 1 + i),
    );
  });

  test("six events of 1 MB in one response arrive", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const follower = new Follower(clientOf([proxy.url]), "/large/");
    await eventually("live", () => follower.live);
    proxy.refuse();
    proxy.cut();
    for (let i = 0; i < 6; i++) await direct.put(`/large/${i}`, `${i}`.repeat(1_000_000));
    proxy.heal();
    await eventually("the events", () => follower.changes.length === 6);
    await caughtUp(follower, direct, "/large/");
    expect(follower.resyncs).toBe(0);
  });

  test("where they do not fit in one message, the range is listed again in smaller parts, and the difference is exact", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const client = clientOf([proxy.url], { mostReceived: 2_500_000 });
    const follower = new Follower(client, "/oversize/");
    const other = new Follower(client, "/beside/");
    await eventually("live", () => follower.live && other.live);
    proxy.refuse();
    proxy.cut();
    for (let i = 0; i < 6; i++) await direct.put(`/oversize/${i}`, `${i}`.repeat(1_000_000));
    await direct.put("/beside/a", "1");
    proxy.heal();
    await eventually("the difference", () => follower.resyncs === 1 && follower.live && other.live);
    expect(follower.changes).toHaveLength(6);
    await caughtUp(follower, direct, "/oversize/");
    await caughtUp(other, direct, "/beside/");
    expect(other.changes).toHaveLength(2);
  });
});
