import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { World, WorldStatus } from "../../src/world/index.ts";
import {
  copyHas,
  etcdOfWorlds,
  eventually,
  freshNamespace,
  keysOf,
  notText,
  putRaw,
  temporaryFolder,
  ways,
  worldOf,
} from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { openWorld } from "../../src/world/index.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

/** What status$ tells, from now on. */
function told(world: World): { readonly all: WorldStatus[]; isOver: boolean } {
  const heard = { all: [] as WorldStatus[], isOver: false };
  world.status$.subscribe({ next: (status) => heard.all.push(status), complete: () => (heard.isOver = true) });
  return heard;
}

test("status tells of the replica: where it is, of which cluster, how far; and a World without one reads directly, and why", async () => {
  const world = await worldOf(etcd, { replica: true });
  const { revision } = await world.str.set("a", "1");
  await copyHas(world, revision);
  const { status } = world;
  expect(status).toMatchObject({
    ...{ state: "live", because: [], endpoints: [etcd.proxy.url], ageMs: 0, lost: undefined, foreign: undefined },
    ...{ malformed: { count: 0, examples: [] }, folder: expect.any(String) as string },
  });
  expect(status.clusterId).toMatch(/^[1-9a-f][0-9a-f]*$/);
  expect(status.revision).toBeGreaterThanOrEqual(revision);

  const direct = await worldOf(etcd, { replica: false });
  expect(direct.status).toMatchObject({ state: "direct", because: ["no replica is wanted"], folder: undefined });
});

test("status$ tells the newest first, then that etcd is gone and why, that it is back, and the end; never a revision alone", async () => {
  const world = await worldOf(etcd, { replica: true });
  const heard = told(world);
  expect(heard.all).toMatchObject([{ state: "live" }]);
  for (let i = 0; i < 5; i++) await copyHas(world, (await world.str.set("a", String(i))).revision);
  expect(heard.all).toHaveLength(1);
  etcd.gone();
  const stale = await eventually("it is stale", () => heard.all.find(({ state }) => state === "stale"), 20_000);
  const why = await eventually("and it is told why", () => heard.all.find(({ lost }) => lost !== undefined), 30_000);
  expect([stale.state, why.state]).toEqual(["stale", "stale"]);
  await eventually("it ages", () => world.status.ageMs > 0);
  etcd.back();
  await eventually("it is live again", () => heard.all.at(-1)?.state === "live" && heard.all.at(-1)?.lost === undefined, 30_000);
  await world.close();
  expect(heard.isOver).toBe(true);
  expect(heard.all.at(-1)).toMatchObject({ state: "closed" });
  const late = told(world);
  expect(late).toMatchObject({ all: [{ state: "closed" }], isOver: true });
  const texts = heard.all.map(({ revision: _, ageMs: __, ...rest }) => JSON.stringify(rest));
  for (const [i, text] of texts.entries()) expect(text).not.toBe(texts[i - 1]);
});

test("ready() is over when local reads have something to read, and ends by its signal and its deadline", async () => {
  const folder = `${await temporaryFolder()}/world`;
  const options = { seeds: [etcd.proxy.url], namespace: freshNamespace(), folder };
  onTestFinished(() => etcd.back());
  etcd.proxy.stall();
  await using world = await openWorld(options);
  expect(world.status.state).toBe("starting");
  await expect(world.ready({ timeoutMs: 300 })).rejects.toMatchObject({ code: "STALE", retryable: true });
  await expect(world.ready({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  const ready = world.ready({ timeoutMs: 30_000 });
  etcd.proxy.cut();
  etcd.proxy.heal();
  await ready;
  expect(await world.str.get("a", { read: "local" })).toMatchObject({ value: undefined });
  expect(world.str.getSync("a")).toMatchObject({ value: undefined });
  await using direct = await openWorld({ ...options, replica: false });
  await direct.ready();
});

describe.each(ways)("$way, malformed", ({ replica }) => {
  test("keys are counted once each, the first 20 shown and why, and status$ tells of each; all else is read", async () => {
    const world = await worldOf(etcd, { replica });
    const heard = told(world);
    const keys = keysOf(world);
    for (let i = 0; i < 25; i++) await putRaw(etcd, `${keys.exported.start}short/${i}`, "v");
    await putRaw(etcd, keys.strings.str("bad"), notText);
    await putRaw(etcd, keys.strings.entry("map", "h2"), notText);
    await putRaw(etcd, keys.strings.entry("map", "h3"), "fine");
    for (let i = 0; i < 3; i++) {
      expect([...(await world.strmap.get("map", { read: "linearizable" })).value]).toEqual([["h3", "fine"]]);
      await world.resource.collect(undefined, { read: "linearizable" });
      await world.resource.export([], { mode: "replace" });
    }
    const watching = world.resource.watch().subscribe();
    await eventually("all are counted", () => world.status.malformed.count === 26);
    watching.unsubscribe();
    const { examples } = world.status.malformed;
    expect(examples).toHaveLength(20);
    expect(examples[0]).toEqual({ key: keys.strings.entry("map", "h2"), why: expect.stringContaining("UTF-8") as string });
    expect(examples[1]!.key).toContain("/exported/short/");
    await eventually("it is told", () => heard.all.at(-1)?.malformed.count === 26);
    await expect(world.str.get("bad", { read: "linearizable" })).rejects.toMatchObject({ code: "INVALID_VALUE" });
    expect(world.status.malformed.count).toBe(27);
  });
});
