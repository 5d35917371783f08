import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { NS, connect } from "../../src/mgmt/index.ts";
import type { ConnectOptions, MgmtWorld } from "../../src/mgmt/index.ts";
import { copyHas, deleteRaw, etcdOfWorlds, eventually, putRaw, ways, worldOf } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";
import { mgmtOf, taken } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

/** Every call, and every watch, in any order. */
function callsOf(mgmt: MgmtWorld): readonly (() => Promise<unknown>)[] {
  const first = (watch: AsyncIterable<unknown>): Promise<unknown> => watch[Symbol.asyncIterator]().next();
  return [
    () => mgmt.strGet("a"),
    () => mgmt.strSet("a", "b"),
    () => mgmt.strDel("a"),
    () => mgmt.strMapGet("a"),
    () => mgmt.strMapSet("a", "b"),
    () => mgmt.strMapDel("a"),
    () => mgmt.resCollect([{}]),
    () => mgmt.resExport([]),
    () => mgmt.resDelete([]),
    () => mgmt.addDeploy(1, "", "", "p"),
    () => mgmt.getDeploy(0),
    () => mgmt.getDeploys(),
    () => mgmt.getMaxDeployId(),
    () => mgmt.idealClusterSizeGet(),
    () => mgmt.scheduler("backup"),
    () => first(mgmt.scheduled("backup")),
    () => mgmt.idealClusterSizeSet(3),
    () => first(mgmt.strWatch("a")),
    () => first(mgmt.strMapWatch("a")),
    () => first(mgmt.resWatch()),
    () => first(mgmt.watchDeploy()),
    () => first(mgmt.watchMembers()),
    () => first(mgmt.idealClusterSizeWatch()),
  ];
}

describe("connect()", () => {
  test("opens a World of mgmt's own namespace, and what a Go program wrote there is read", async () => {
    const mgmt = await connect({ seeds: [etcd.proxy.url], hostname: "h1", replica: false });
    onTestFinished(() => mgmt.cleanup());
    expect(mgmt.hostname).toBe("h1");
    expect(mgmt.namespace).toBe(NS);
    await putRaw(etcd, "/_mgmt/strings/of-go", "written in Go");
    onTestFinished(async () => {
      await deleteRaw(etcd, "/_mgmt/strings/of-go");
    });
    expect(await mgmt.strGet("of-go")).toBe("written in Go");
  });

  test("takes another namespace, and none that ends in a slash, as mgmt's takes none", async () => {
    const mgmt = await mgmtOf(etcd, { namespace: "/other" });
    await mgmt.strSet("motd", "hello");
    expect((await etcd.client.get("/other/strings/motd")).entry).toBeDefined();
    const failure = { code: "INVALID_OPTION", data: { option: "namespace" } };
    await expect(mgmtOf(etcd, { namespace: "/other/" })).rejects.toMatchObject(failure);
  });

  test("fails as openWorld does", async () => {
    await expect(connect({})).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option: "seeds" } });
    const failure = { code: "INVALID_OPTION", data: { option: "hostname" } };
    await expect(mgmtOf(etcd, { hostname: "*" })).rejects.toMatchObject(failure);
  });

  test("uses a World that is open, like an agent's, and leaves it open", async () => {
    const world = await worldOf(etcd, { replica: false, hostname: "h7" });
    const mgmt = await connect({ world });
    expect([mgmt.world, mgmt.hostname, mgmt.namespace]).toEqual([world, "h7", world.namespace]);
    await mgmt.strMapSet("address", "192.0.2.7");
    const watched = taken(mgmt.strWatch("motd"));
    await watched.count(1);
    await mgmt.cleanup();
    await eventually("the watch is over", () => watched.isOver);
    expect(watched.failure).toBeUndefined();
    await expect(mgmt.strMapGet("address")).rejects.toMatchObject({ code: "CLOSED" });
    expect((await world.strmap.get("address")).value).toEqual(new Map([["h7", "192.0.2.7"]]));
  });

  test.each<[string, ConnectOptions]>([
    ["seeds", { seeds: ["http://127.0.0.1:2379"] }],
    ["hostname", { hostname: "h2" }],
    ["namespace", { namespace: "/other" }],
  ])("refuses %s of a World that is open: nobody would heed it", async (option, more) => {
    const world = await worldOf(etcd, { replica: false });
    await expect(connect({ world, ...more })).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option } });
  });
});

describe("cleanup()", () => {
  test("completes every watch, refuses every call and every watch that comes later, and may be called again", async () => {
    const mgmt = await mgmtOf(etcd);
    await mgmt.idealClusterSizeSet(3);
    const watches = [
      mgmt.strWatch("a"),
      mgmt.strMapWatch("a"),
      mgmt.resWatch(),
      mgmt.watchDeploy(),
      mgmt.scheduled("backup"),
      mgmt.watchMembers(),
      mgmt.idealClusterSizeWatch(),
    ].map((watch) => taken<unknown>(watch));
    for (const watched of watches) await watched.count(1);
    await Promise.all([mgmt.cleanup(), mgmt.cleanup()]);
    await eventually("all are over", () => watches.every(({ isOver }) => isOver));
    expect(watches.map(({ failure, all }) => ({ failure, told: all.length }))).toEqual(
      watches.map(() => ({ failure: undefined, told: 1 })),
    );
    for (const call of callsOf(mgmt)) {
      await expect(call(), call.toString()).rejects.toMatchObject({ code: "CLOSED", outcome: "none" });
    }
    expect(mgmt.world.status.state).toBe("closed");
    await mgmt.cleanup();
  });

  test("is what the end of an `await using` scope is", async () => {
    let world;
    {
      await using mgmt = await mgmtOf(etcd);
      await mgmt.strSet("motd", "hello");
      world = mgmt.world;
    }
    expect(world.status.state).toBe("closed");
  });
});

describe.each(ways)("$way, reads", ({ replica }) => {
  test("see what was acknowledged to somebody else before, as mgmt's do, unless a call says otherwise", async () => {
    const world = await worldOf(etcd, { replica });
    const mgmt = await connect({ world });
    for (let n = 0; n < 50; n++) {
      await putRaw(etcd, `${world.namespace}/strings/n`, String(n));
      expect(await mgmt.strGet("n")).toBe(String(n));
    }
    expect(await mgmt.strGet("n", { read: "session" })).toBe("49");
  });
});

test("reads of connect({ read: 'session' }) go on while the cluster is away", async () => {
  const world = await worldOf(etcd, { replica: true });
  const [mgmt, patient] = [await connect({ world }), await connect({ world, read: "session" })];
  await mgmt.strSet("motd", "hello");
  expect(await patient.strGet("motd")).toBe("hello");
  // Until the copy has it, such a read asks the cluster.
  await copyHas(world, (await world.str.get("motd", { read: "direct" })).revision);
  etcd.gone();
  expect(await patient.strGet("motd")).toBe("hello");
  await expect(patient.strGet("other")).rejects.toMatchObject({ code: "NOT_EXIST" });
  const failure = await mgmt.strGet("motd", { timeoutMs: 500 }).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: expect.stringMatching(/^(DEADLINE|UNAVAILABLE|STALE)$/) as unknown });
  expect(mgmt.strIsNotExist(failure)).toBe(false);
  etcd.back();
});
