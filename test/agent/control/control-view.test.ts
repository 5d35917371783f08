import { expect, onTestFinished, test } from "vitest";
import { Doorbell, systemClock as clock } from "../../../src/clock.ts";
import { ControlView } from "../../../src/agent/control/control-view.ts";
import { writeRecord } from "../../../src/agent/control/records.ts";
import { EtcdClient, grantLease } from "../../../src/etcd/index.ts";
import { keysUnder } from "../../../src/keys.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import { FaultyProxy } from "../../support/proxy.ts";
import { agentRecord, never, silent } from "../lead/leader.ts";
import { uuid } from "../lead/rows.ts";

const keys = keysUnder("/_mgmt");

async function following(url: string): Promise<{ view: ControlView; client: EtcdClient }> {
  const client = EtcdClient.create({ endpoints: [url], clock });
  const view = new ControlView(keys);
  const over = new AbortController();
  const done = view.follow(client, { clock, log: silent }, over.signal).catch(() => undefined);
  onTestFinished(async () => {
    over.abort(new Error("the test is over"));
    await done;
    await client.close();
  });
  return { view, client };
}

/** Writes the key of a candidate, and gives it. */
async function stands(client: EtcdClient, host: string): Promise<string> {
  const lease = await grantLease(client, { ttlMs: 60_000, clock }, never);
  const key = keys.leader.key(BigInt(lease).toString(16));
  await client.put(key, host, { lease });
  return key;
}

test("it shows who is there, who has a seat, who leads and where they serve, and passes over what is junk", async () => {
  await using etcd = await startEtcd(1);
  const { view, client } = await following(etcd.urls[0] ?? "");
  await eventually("both ranges were read", () => view.complete);
  const seat = writeRecord("seat", { schema: 1, instance: uuid(1), role: "voter", standby: false });
  const { revision } = await client.txn({
    then: [
      { put: keys.agents.key("h2"), value: agentRecord(2) },
      { put: keys.agents.key("h1"), value: agentRecord(1) },
      { put: keys.agents.key("h3"), value: "junk" },
      { put: keys.seats.key("h1"), value: seat },
      { put: keys.seats.key("h3"), value: "{}" },
      { put: keys.endpoints.key("h1"), value: "http://h1:2379,http://h1b:2379" },
      { put: keys.endpoints.key("h3"), value: "http://user:secret@h3:2379" },
      { put: keys.plan, value: "junk" },
      { put: keys.volunteer.key("h1"), value: "http://h1:2380" },
    ],
  });
  await client.put(keys.leader.key("banana"), "nobody");
  const first = await stands(client, "h1");
  await stands(client, "h2");
  await eventually("it has come that far", () => view.leader() && view.endpointsByHost().size > 0 && view.agents().size === 2);
  expect([...view.agents().keys()]).toEqual(["h1", "h2"]);
  expect([...view.seats().keys()]).toEqual(["h1"]);
  expect([...view.endpointsByHost().values()].flat()).toEqual(["http://h1:2379", "http://h1b:2379"]);
  expect(view.plan()).toBeUndefined();
  expect(view.leader()).toBe("h1");
  expect(view.get(keys.volunteer.key("h1"))).toBeUndefined();
  expect(view.hasSeen(keys.seats.key("h1"), revision)).toBe(true);
  await client.del(first);
  await eventually("the next one leads", () => view.leader() === "h2");
});

test("what one watch has seen says nothing of the other: a key that is not there yet was not deleted", async () => {
  await using etcd = await startEtcd(1);
  const { view, client } = await following(etcd.urls[0] ?? "");
  await eventually("both ranges were read", () => view.complete);
  const before = await client.put(keys.leader.key("a"), "h1");
  await eventually("the control range has come that far", () => view.hasSeen(keys.leader.key("a"), before.revision));
  expect(view.hasSeen(keys.endpoints.key("h1"), before.revision)).toBe(false);
  const after = await client.put(keys.endpoints.key("h1"), "http://h1:2379");
  await eventually("so have the endpoints", () => view.hasSeen(keys.endpoints.key("h1"), after.revision));
  expect(view.hasSeen(keys.leader.key("a"), after.revision)).toBe(false);
  expect(view.hasSeen(keys.volunteer.key("h1"), 0)).toBe(false);
});

test("it rings on every change, until the subscriber has enough of it", async () => {
  await using etcd = await startEtcd(1);
  const { view, client } = await following(etcd.urls[0] ?? "");
  await eventually("both ranges were read", () => view.complete);
  const bell = new Doorbell();
  const enough = new AbortController();
  view.subscribe(bell, enough.signal);
  for (const key of [keys.step, keys.endpoints.key("h1"), keys.preflight.key("h1")]) {
    await client.put(key, "x");
    await bell.wait(never);
  }
  enough.abort();
  const { revision } = await client.put(keys.step, "y");
  await eventually("the view has it", () => view.hasSeen(keys.step, revision));
  await expect(bell.wait(AbortSignal.timeout(100))).rejects.toMatchObject({ name: "TimeoutError" });
});

test("whoever wants to hear of some keys hears of those alone, and of a ring that is for all", async () => {
  await using etcd = await startEtcd(1);
  const { view, client } = await following(etcd.urls[0] ?? "");
  await eventually("both ranges were read", () => view.complete);
  const [own, all] = [new Doorbell(), new Doorbell()];
  const seat = keys.seats.key("h1");
  view.subscribe(own, never, (key) => key === seat);
  view.subscribe(all, never);
  const others = [keys.step, keys.seats.key("h2")];
  let written = 0;
  const isLeftAlone = async (): Promise<boolean> => {
    const value = String(++written);
    for (const key of others) await client.put(key, value);
    await eventually("they are seen", () => others.every((key) => view.get(key)?.value === value));
    await all.wait(never);
    return own.wait(AbortSignal.timeout(10)).then(
      () => false,
      () => true,
    );
  };
  // Nor does it hear that a watch is live, which may come after what that listed.
  expect(await isLeftAlone()).toBe(true);
  await client.put(seat, "x");
  await own.wait(never);
  await client.del(seat);
  await own.wait(never);
  view.ring();
  await own.wait(never);
});

test("a connection that is cut leaves what was seen in place, and what was missed comes after it", async () => {
  await using etcd = await startEtcd(1);
  await using proxy = await FaultyProxy.start(etcd.urls[0] ?? "");
  const { view } = await following(proxy.url);
  await using direct = EtcdClient.create({ endpoints: etcd.urls, clock });
  const first = await stands(direct, "h1");
  await eventually("it has a leader", () => view.leader() === "h1");
  proxy.refuse();
  proxy.cut();
  await direct.del(first);
  await stands(direct, "h2");
  expect(view.leader()).toBe("h1");
  proxy.heal();
  await eventually("it has the next leader", () => view.leader() === "h2");
});
