import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWorld, WorldError } from "../../src/world/index.ts";
import type { Fence, Leadership, Lock, World } from "../../src/world/index.ts";
import {
  clock,
  deleteRaw,
  etcdOfWorlds,
  eventually,
  freshNamespace,
  keysOf,
  never,
  putRaw,
  revisionsOf,
  worldOf,
} from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { FaultyProxy } from "../support/proxy.ts";
import { testUsualFailures } from "./usual.ts";

let etcd: WorldEtcd;
/** One that keeps its own way to etcd when the first one's breaks. */
let other: FaultyProxy;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
  other = await FaultyProxy.start(etcd.url);
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
});

/** Worlds in one namespace; the first one's connection is the one that tests break. */
async function hosts(n: number, sessionTtl = 2): Promise<World[]> {
  const namespace = freshNamespace();
  return await Promise.all(
    Array.from({ length: n }, (_, i) =>
      worldOf({ proxy: i === 0 ? etcd.proxy : other }, { replica: false, namespace, hostname: `h${i + 1}`, sessionTtl }),
    ),
  );
}

const exists = async (key: string): Promise<boolean> => (await etcd.client.get(key)).entry !== undefined;

const firesOf = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
  });

testUsualFailures(
  () => etcd,
  [
    { name: "session", writes: true, call: (world, options) => world.session({ ...options, ttl: 60 }) },
    {
      name: "lock",
      writes: true,
      call: async (world, options) => {
        const lock = await world.lock("usual", options);
        await lock.release();
      },
    },
    {
      name: "elect",
      writes: true,
      call: async (world, options) => {
        const leadership = await world.elect("usual", options);
        await leadership.resign();
      },
    },
  ],
);

describe("a session", () => {
  test("is shared by all that hangs on it, and opened anew with the first use after it was lost", async () => {
    const [world] = (await hosts(1)) as [World];
    const [first, same] = await Promise.all([world.session(), world.session()]);
    expect(same).toBe(first);
    expect(first.leaseId).toMatch(/^[0-9a-f]+$/);
    expect(first.ttlMs).toBeGreaterThanOrEqual(2_000);
    first.check();
    await world.strmap.set("up", "1", { lease: "session" });
    const key = keysOf(world).strings.entry("up", "h1");
    expect((await etcd.client.get(key)).entry?.lease).toBe(BigInt(`0x${first.leaseId}`).toString());
    etcd.proxy.drop();
    expect(await firesOf(first.signal)).toMatchObject({ code: "SESSION_LOST" });
    expect(await exists(key), "the signal fires before the key vanishes").toBe(true);
    expect(() => first.check()).toThrow(expect.objectContaining({ code: "SESSION_LOST" }) as Error);
    await eventually("the key vanishes", async () => !(await exists(key)), 20_000);
    etcd.proxy.cut();
    etcd.proxy.heal();
    await world.strmap.set("up", "2", { lease: "session", timeoutMs: 20_000 });
    const second = await world.session();
    expect(second.leaseId).not.toBe(first.leaseId);
    expect((await etcd.client.get(key)).entry?.lease).toBe(BigInt(`0x${second.leaseId}`).toString());
  });

  test("of one's own has its own TTL, ends with close(), which is idempotent, or with its scope, and takes along what hangs on it", async () => {
    const [world] = (await hosts(1)) as [World];
    const key = keysOf(world).strings.str("a");
    const own = await world.session({ ttl: 7 });
    expect(own.ttlMs).toBe(7_000);
    expect(own).not.toBe(await world.session());
    await world.str.set("a", "1", { lease: own });
    await Promise.all([own.close(), own.close()]);
    await own.close();
    expect(await exists(key)).toBe(false);
    expect(own.signal.reason).toMatchObject({ code: "CLOSED" });
    expect(() => own.check()).toThrow(expect.objectContaining({ code: "CLOSED" }) as Error);
    await expect(world.str.set("a", "2", { lease: own })).rejects.toMatchObject({ code: "CLOSED", outcome: "none" });
    {
      await using scoped = await world.session({ ttl: 5 });
      await world.str.set("a", "3", { lease: scoped });
    }
    expect(await exists(key)).toBe(false);
    for (const ttl of [0, -1, Number.NaN, "x" as unknown as number]) {
      await expect(world.session({ ttl })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    }
  });

  test("goes with its World, at once", async () => {
    const [world] = (await hosts(1, 60)) as [World];
    const session = await world.session();
    await world.str.set("a", "1", { lease: "session" });
    await world.close();
    expect(session.signal.reason).toMatchObject({ code: "CLOSED" });
    expect(await exists(keysOf(world).strings.str("a"))).toBe(false);
  });
});

describe("a lock", () => {
  test("has one holder at a time among three Worlds that contend, each with a higher fence than the one before", async () => {
    const worlds = await hosts(3);
    const fences: number[] = [];
    let holding = 0;
    let most = 0;
    const work = async (world: World): Promise<void> => {
      for (let i = 0; i < 5; i++) {
        await using lock = await world.lock("work");
        holding++;
        most = Math.max(most, holding);
        fences.push(lock.revision);
        const { value = "0" } = await world.str.get("n");
        await world.str.set("n", String(Number(value) + 1), { fence: lock });
        holding--;
      }
    };
    await Promise.all(worlds.flatMap((world) => [work(world), work(world)]));
    expect(most).toBe(1);
    expect((await worlds[0]!.str.get("n", { read: "direct" })).value).toBe("30");
    expect(fences).toEqual([...new Set(fences)].sort((a, b) => a - b));
    expect(fences).toHaveLength(30);
  });

  test("that is not to be had in time fails with DEADLINE, and leaves nobody waiting behind", async () => {
    const [h1, h2] = (await hosts(2)) as [World, World];
    const held = await h1.lock("busy");
    const fromMs = clock.nowMs();
    await expect(h2.lock("busy", { timeoutMs: 300 })).rejects.toMatchObject({
      ...{
        code: "DEADLINE",
        retryable: true,
        outcome: "none",
        message: 'Cannot get the lock "busy": there was no answer within 300 ms',
      },
    });
    expect(clock.nowMs() - fromMs).toBeLessThan(2_000);
    const stop = new AbortController();
    const waiting = h2.lock("busy", { signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    const below = keysOf(h1).locks.key("busy");
    await eventually("only the holder is there", async () => {
      return (await etcd.client.range({ start: `${below}/`, end: `${below}0` })).entries.length === 1;
    });
    await held.release();
  });

  test("that is released goes to the next at once, once, however often it is released", async () => {
    const [h1, h2] = (await hosts(2, 60)) as [World, World];
    const first = await h1.lock("baton", { ttl: 60 });
    const waiting = h2.lock("baton", { ttl: 60 });
    await Promise.all([first.release(), first.release()]);
    const second = await waiting;
    expect(second.revision).toBeGreaterThan(first.revision);
    await first.release();
    await first[Symbol.asyncDispose]();
    expect(first.signal.reason).toMatchObject({ code: "CLOSED" });
    expect(() => first.check()).toThrow(WorldError);
    second.check();
    expect(second.signal.aborted).toBe(false);
    await second.release();
  });

  test("whose connection stalls fires its signal before anybody else holds it, and what it writes with its fence is refused", async () => {
    const [h1, h2] = (await hosts(2)) as [World, World];
    const first = await h1.lock("stalls", { ttl: 2 });
    await h1.str.set("n", "h1", { fence: first });
    const waiting = h2.lock("stalls", { ttl: 2 });
    etcd.proxy.drop();
    const order: string[] = [];
    const fired = firesOf(first.signal).then((reason) => {
      order.push("fired");
      return reason;
    });
    const second = await waiting;
    order.push("passed on");
    expect(((await fired) as WorldError).code).toMatch(/^(LOCK|SESSION)_LOST$/);
    expect(order).toEqual(["fired", "passed on"]);
    expect(() => first.check()).toThrow(expect.objectContaining({ code: expect.stringMatching(/_LOST$/) as string }) as Error);
    expect(second.revision).toBeGreaterThan(first.revision);
    await h2.str.set("n", "h2", { fence: second });
    etcd.proxy.cut();
    etcd.proxy.heal();
    await expect(h1.str.set("n", "late", { fence: first, timeoutMs: 10_000 })).rejects.toMatchObject({ outcome: "none" });
    const blind: Fence = { key: first.key, revision: first.revision, check: () => undefined };
    await expect(h1.str.set("n", "late", { fence: blind, timeoutMs: 10_000 })).rejects.toMatchObject({ code: "FENCED" });
    expect((await h2.str.get("n")).value).toBe("h2");
    await second.release();
  });

  test("that is waited for while etcd goes and comes back is got in the end", async () => {
    const [h1, h2] = (await hosts(2, 60)) as [World, World];
    const held = await h2.lock("patient", { ttl: 60 });
    const waiting = h1.lock("patient", { ttl: 60 });
    await eventually("it waits", async () => {
      const below = keysOf(h1).locks.key("patient");
      return (await etcd.client.range({ start: `${below}/`, end: `${below}0` })).entries.length === 2;
    });
    etcd.gone();
    await held.release();
    etcd.back();
    const lock = await waiting;
    expect(lock.revision).toBeGreaterThan(held.revision);
    await lock.release();
  });

  test("excludes and is excluded by what stands under its key otherwise; unreadable neighbours do no harm", async () => {
    const [world] = (await hosts(1)) as [World];
    const key = keysOf(world).locks.key("a");
    await putRaw(etcd, `${key}b/unrelated`, "x");
    await putRaw(etcd, `${world.namespace}/sessions/locks/%zz`, "x");
    const before = await putRaw(etcd, `${key}/of-another-tool`, "");
    await expect(world.lock("a", { timeoutMs: 300 })).rejects.toMatchObject({ code: "DEADLINE" });
    await deleteRaw(etcd, `${key}/of-another-tool`);
    await using lock = await world.lock("a");
    expect(lock.revision).toBeGreaterThan(before);
  });

  test.each(["", "\ud800", "x".repeat(2_000)])("of a name that cannot be one is refused", async (name) => {
    const [world] = (await hosts(1)) as [World];
    for (const call of [world.lock(name), world.elect(name), world.leaderOnly(name, async () => undefined)]) {
      await expect(call).rejects.toMatchObject({ code: expect.stringMatching(/^(INVALID_NAME|NAME_TOO_LONG)$/) as string });
    }
  });
});

describe("an election", () => {
  test("is waited for until it is won, and given up by its signal or its deadline", async () => {
    const [h1, h2] = (await hosts(2)) as [World, World];
    const leading = await h1.elect("e");
    const stop = new AbortController();
    const waiting = h2.elect("e", { signal: stop.signal });
    await expect(h2.elect("e", { timeoutMs: 300 })).rejects.toMatchObject({ code: "DEADLINE", retryable: true });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    const patient = h2.elect("e");
    await Promise.all([leading.resign(), leading.resign()]);
    const next = await patient;
    expect(next.revision).toBeGreaterThan(leading.revision);
    expect(() => leading.check()).toThrow(WorldError);
    next.check();
    await next[Symbol.asyncDispose]();
    const prefix = `${keysOf(h1).elections.key("e")}/`;
    await eventually("nobody stands", async () => {
      return (await etcd.client.range({ start: prefix, end: `${prefix.slice(0, -1)}0` })).entries.length === 0;
    });
  });

  test("passes on when the leader's connection stalls; its signal has fired before, and its fence is worth nothing after", async () => {
    const [h1, h2] = (await hosts(2)) as [World, World];
    const first: Leadership = await h1.elect("e", { ttl: 2 });
    const waiting = h2.elect("e", { ttl: 2 });
    etcd.proxy.drop();
    let fired = false;
    void firesOf(first.signal).then(() => (fired = true));
    const second = await waiting;
    expect(fired).toBe(true);
    expect((first.signal.reason as WorldError).code).toMatch(/^(LEADERSHIP|SESSION)_LOST$/);
    etcd.proxy.cut();
    etcd.proxy.heal();
    const blind: Fence = { key: first.key, revision: first.revision, check: () => undefined };
    await expect(h1.str.set("n", "late", { fence: blind, timeoutMs: 10_000 })).rejects.toMatchObject({ code: "FENCED" });
    await h2.str.set("n", "h2", { fence: second });
    await second.resign();
  });

  test("is stood for again after the session was lost while waiting", async () => {
    const [h1, h2] = (await hosts(2)) as [World, World];
    const leading = await h2.elect("e", { ttl: 60 });
    const waiting = h1.elect("e", { ttl: 2 });
    const prefix = `${keysOf(h1).elections.key("e")}/`;
    const standing = async (): Promise<number> =>
      (await etcd.client.range({ start: prefix, end: `${prefix.slice(0, -1)}0` })).entries.length;
    await eventually("both stand", async () => (await standing()) === 2);
    etcd.gone();
    await eventually("its candidacy has expired", async () => (await standing()) === 1, 20_000);
    etcd.back();
    await eventually("it stands again", async () => (await standing()) === 2, 20_000);
    await leading.resign();
    await (await waiting).resign();
  });
});

describe("leaderOnly", () => {
  test("runs one job at a time across three Worlds, and each call returns what its job returned", async () => {
    const worlds = await hosts(3);
    let running = 0;
    let most = 0;
    const revisions: number[] = [];
    const results = worlds.map((world, i) =>
      world.leaderOnly("job", async (signal, fence) => {
        most = Math.max(most, ++running);
        revisions.push(fence.revision);
        await world.str.set("last", String(i), { fence, signal });
        running--;
        return i;
      }),
    );
    expect(await Promise.all(results)).toEqual([0, 1, 2]);
    expect(most).toBe(1);
    expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
  });

  test("another takes over when the leader's World is closed, and when its connection stalls; the first's signal has fired before", async () => {
    for (const end of ["closed", "stalled"] as const) {
      const [h1, h2] = (await hosts(2)) as [World, World];
      let first: AbortSignal | undefined;
      const stop = new AbortController();
      const ending = h1
        .leaderOnly("job", (signal) => ((first = signal), firesOf(signal)), { ttl: 2, signal: stop.signal })
        .catch((error: unknown) => error);
      await eventually("it leads", () => first);
      const firedBefore = h2.leaderOnly("job", async () => first!.aborted, { ttl: 2 });
      if (end === "closed") await h1.close();
      else etcd.proxy.drop();
      expect(await firedBefore, end).toBe(true);
      stop.abort();
      etcd.proxy.cut();
      etcd.proxy.heal();
      expect(await ending, end).toMatchObject({ code: end === "closed" ? "CLOSED" : "ABORTED" });
    }
  });

  test("the job is run again each time its World comes to lead, until it has returned", async () => {
    const [h1] = (await hosts(1)) as [World];
    const runs: number[] = [];
    const done = h1.leaderOnly(
      "job",
      async (signal, fence) => {
        runs.push(fence.revision);
        if (runs.length === 1) {
          await deleteRaw(etcd, fence.key);
          await firesOf(signal);
          throw new Error("counts for nothing: it did not lead any more");
        }
        return "done";
      },
      { ttl: 2 },
    );
    expect(await done).toBe("done");
    expect(runs).toHaveLength(2);
    expect(runs[1]).toBeGreaterThan(runs[0]!);
  });

  test("rejects with the job's own error when it throws while it leads, and lets the next one lead at once", async () => {
    const [h1, h2] = (await hosts(2, 60)) as [World, World];
    const own = new TypeError("of the job");
    await expect(h1.leaderOnly("job", () => Promise.reject(own), { ttl: 60 })).rejects.toBe(own);
    expect(await h2.leaderOnly("job", async () => "next", { ttl: 60 })).toBe("next");
  });

  test("its own signal ends it once the job has ended, also before it leads", async () => {
    const [h1, h2] = (await hosts(2)) as [World, World];
    const stop = new AbortController();
    let ended = false;
    let leads = false;
    const running = h1.leaderOnly(
      "job",
      async (signal) => {
        leads = true;
        await firesOf(signal);
        await h1.str.set("ended", "yes");
        ended = true;
      },
      { signal: stop.signal },
    );
    await eventually("it leads", () => leads);
    const never1 = h2.leaderOnly("job", async () => "never", { signal: stop.signal });
    const both = Promise.allSettled([running, never1]);
    stop.abort(new Error("enough"));
    const [first, second] = await both;
    expect(ended).toBe(true);
    expect(first).toMatchObject({ status: "rejected", reason: { code: "ABORTED" } });
    if (second.status === "rejected") expect(second.reason).toMatchObject({ code: "ABORTED" });
  });

  test("a job that ignores its signal delays neither the others nor the end of its World", async () => {
    const [h1, h2] = (await hosts(2)) as [World, World];
    let leads = false;
    let finish = (): void => undefined;
    const stubborn = h1.leaderOnly(
      "job",
      async () => {
        leads = true;
        await new Promise<void>((resolve) => (finish = resolve));
      },
      { ttl: 2 },
    );
    const over = stubborn.catch((error: unknown) => error);
    await eventually("it leads", () => leads);
    const fromMs = clock.nowMs();
    const taken = h2.leaderOnly("job", async () => "taken over", { ttl: 2 });
    await h1.close();
    expect(await taken).toBe("taken over");
    expect(clock.nowMs() - fromMs).toBeLessThan(4_000);
    finish();
    expect(await over).toMatchObject({ code: "CLOSED" });
  });
});

test("locks, leaderships and sessions all end when their World is closed, and calls that wait end with CLOSED", async () => {
  const [h1, h2] = (await hosts(2, 60)) as [World, World];
  const lock: Lock = await h1.lock("a", { ttl: 60 });
  const leading = await h1.elect("a", { ttl: 60 });
  const busy = await h2.lock("b", { ttl: 60 });
  const led = await h2.elect("b", { ttl: 60 });
  const waiting = [h1.lock("b"), h1.elect("b"), h1.leaderOnly("b", async () => undefined)].map((call) =>
    call.then(
      () => "got it",
      (error: unknown) => (error as WorldError).code,
    ),
  );
  await clock.sleep(50, never);
  await h1.close();
  expect(await Promise.all(waiting)).toEqual(["CLOSED", "CLOSED", "CLOSED"]);
  for (const { signal } of [lock, leading]) expect(signal.reason).toMatchObject({ code: "CLOSED" });
  await Promise.all([h2.lock("a", { timeoutMs: 3_000 }), h2.elect("a", { timeoutMs: 3_000 })]);
  await busy.release();
  await led.resign();
});

test("a session that is there already makes no further revision when it is asked for", async () => {
  const [world] = (await hosts(1, 60)) as [World];
  await world.session();
  expect(await revisionsOf(etcd, () => world.session())).toBe(0);
  await using beside = await openWorld({ seeds: [etcd.url], namespace: world.namespace, replica: false });
  expect((await beside.session()).leaseId).not.toBe((await world.session()).leaseId);
});
