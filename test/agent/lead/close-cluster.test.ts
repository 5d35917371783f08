import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import { carryOut, type Outcome } from "../../../src/agent/lead/carry-out.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { leading, never, see, silent, unaware, type Leading, type Seen } from "./leader.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

async function close(leader: Leading, seen: Seen): Promise<Outcome> {
  const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
  const deps = { ...leader, clock, log: silent, events, passOverMs: 60_000 };
  return carryOut(deps, { kind: "close", agent: "h1", member: "aa", formerSize: 5 }, "because of the test", seen, never);
}

async function closed({ client, keys }: Leading): Promise<unknown> {
  const { entry } = await client.get(keys.closed);
  return entry && JSON.parse(entry.value);
}

test("the cluster is closed with the host that ends last, its former size, and an event", async () => {
  const leader = await leading(etcd.urls);
  await leader.client.put(leader.keys.idealClusterSize, "0");
  expect(await close(leader, await see(leader))).toEqual({ done: true });
  expect(await closed(leader)).toEqual({ schema: 1, host: "h1", formerSize: 5 });
  const { entries } = await leader.client.range(leader.keys.events);
  expect(JSON.parse(entries[0]?.value ?? "")).toMatchObject({
    step: "close",
    what: "closed the cluster: every agent ends, h1 last",
  });
});

test("a size that was written after the look holds it back: the shutdown was taken back in the last moment", async () => {
  const leader = await leading(etcd.urls);
  await leader.client.put(leader.keys.idealClusterSize, "0");
  const seen = await see(leader);
  await leader.client.put(leader.keys.idealClusterSize, "3");
  expect(await close(leader, seen)).toEqual({ held: "what the plan rests on has changed meanwhile" });
  expect(await closed(leader)).toBeUndefined();
});

test("a recorded member call holds it back", async () => {
  const leader = await leading(etcd.urls);
  await leader.client.put(leader.keys.idealClusterSize, "0");
  const seen = await see(leader);
  await leader.client.put(leader.keys.step, "{}");
  expect(await close(leader, seen)).toEqual({ held: "what the plan rests on has changed meanwhile" });
  expect(await closed(leader)).toBeUndefined();
});

test("once another agent leads it closes nothing", async () => {
  const leader = await leading(etcd.urls);
  await leader.client.put(leader.keys.idealClusterSize, "0");
  const seen = await see(leader);
  const late = { ...leader, leadership: unaware(leader.leadership) };
  await leader.leadership.resign();
  expect(await close(late, seen)).toHaveProperty("held");
  expect(await closed(leader)).toBeUndefined();
});
