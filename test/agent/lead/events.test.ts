import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { factsOf } from "../../../src/chooser/index.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { EventLog, eventsKept } from "../../../src/agent/lead/events.ts";
import { isRefused, readRecord, type EventRecord } from "../../../src/agent/control/records.ts";
import { cluster } from "../../support/cluster.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { leading, never, silent, unaware, type Leading } from "./leader.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

function logOf(leader: Leading): EventLog {
  return new EventLog({ ...leader, clock, log: silent, leader: "h1" });
}

const told = (what: string) => ({ step: "promote", agent: "h3", what, because: "of the test" }) as const;

async function stored({ client, keys }: Leading): Promise<EventRecord[]> {
  return (await client.range(keys.events)).entries.map(({ value }) => {
    const record = readRecord("event", value);
    if (isRefused(record)) throw new Error(record.refused);
    return record;
  });
}

/** `n` events as they were written long ago, in a few txns. */
async function fill({ client, keys }: Leading, n: number): Promise<void> {
  const ids = Array.from({ length: n }, (_, i) => `${String(i).padStart(16, "0")}-000`);
  for (let at = 0; at < n; at += 100) {
    await client.txn({ then: ids.slice(at, at + 100).map((id) => ({ put: keys.events.key(id), value: "{}" })) });
  }
}

test("an event says what was done, why, by whom, when, and on which facts", async () => {
  const leader = await leading(etcd.urls);
  const facts = factsOf(cluster("ideal 3 | voters h1 h2 | learners h3"), { kind: "promote", agent: "h3", member: "id-h3" });
  await leader.client.txn({ then: [logOf(leader).put(7, { ...told("promoted h3 to voter"), member: "a3", facts })] });
  const [event] = await stored(leader);
  expect(event).toMatchObject({
    step: "promote",
    agent: "h3",
    member: "a3",
    what: "promoted h3 to voter",
    because: "of the test",
    leader: "h1",
    leaderRevision: leader.leadership.revision,
    facts: { ideal: 3, toleranceBefore: 0, toleranceAfter: 1, members: [{ name: "h1" }, { name: "h2" }, { name: "h3" }] },
  });
  expect(event?.at).toMatch(/^20[0-9]{2}-.*Z$/);
});

test("events are in the order in which they were told, also several of one look, and next to a leave seen earlier", async () => {
  const leader = await leading(etcd.urls);
  const log = logOf(leader);
  const late = log.putOnce(9, "leave-h9", told("a leave at 9"));
  const ops = [log.put(10, told("one")), log.put(10, told("two")), log.put(11, told("three"))];
  await leader.client.txn({ then: [...ops, late.op] });
  expect((await stored(leader)).map(({ what }) => what)).toEqual(["a leave at 9", "one", "two", "three"]);
});

test("what is to be told once has the condition for it", async () => {
  const leader = await leading(etcd.urls);
  for (const log of [logOf(leader), logOf(leader)]) {
    const { op, compare } = log.putOnce(5, "leave-h2", told("h2 asked to leave"));
    await leader.client.txn({ compare: [compare], then: [op] });
  }
  expect(await stored(leader)).toHaveLength(1);
});

test("an event about a crowd and with long words is cut to what can be read again", async () => {
  const leader = await leading(etcd.urls);
  const names = Array.from({ length: 60 }, (_, i) => `h${i}`);
  const facts = factsOf(cluster(`ideal 3 | voters ${names.join(" ")} | spares ${names.map((n) => `${n}00`).join(" ")}`));
  const op = logOf(leader).put(1, { step: "remove", what: "w".repeat(5_000), because: "b".repeat(5_000), facts });
  await leader.client.txn({ then: [op] });
  const [event] = await stored(leader);
  expect(event?.facts?.members).toHaveLength(40);
  expect(event?.facts?.spares).toHaveLength(20);
  expect(event?.because).toHaveLength(1_000);
});

describe("pruning", () => {
  test("leaves the newest thousand", async () => {
    const leader = await leading(etcd.urls);
    const { client, keys } = leader;
    await fill(leader, 2_300);
    const log = logOf(leader);
    log.prune(never);
    await log.idle();
    const { entries } = await client.range(keys.events, { keysOnly: true });
    expect(entries).toHaveLength(eventsKept);
    expect(entries[0]?.key).toBe(keys.events.key("0000000000001300-000"));
  });

  test("costs nothing at every step: it is looked at anew only after fifty more", async () => {
    const leader = await leading(etcd.urls);
    const { client, keys } = leader;
    let counted = 0;
    const counting = Object.create(client, {
      range: {
        value: (...args: Parameters<typeof client.range>) => {
          counted += 1;
          return client.range(...args);
        },
      },
    }) as typeof client;
    const log = logOf({ ...leader, client: counting });
    log.prune(never);
    await log.idle();
    expect(counted).toBe(1);
    for (let i = 0; i < 49; i++) {
      log.put(i, told("x"));
      log.prune(never);
    }
    await log.idle();
    expect(counted).toBe(1);
    log.put(50, told("x"));
    log.prune(never);
    await log.idle();
    expect(counted).toBe(2);
    expect((await client.range(keys.events)).count).toBe(0);
  });

  test("is the leader's alone: one that was paused removes nothing", async () => {
    const leader = await leading(etcd.urls);
    await fill(leader, 1_100);
    await leader.leadership.resign();
    const log = logOf({ ...leader, leadership: unaware(leader.leadership) });
    log.prune(never);
    await log.idle();
    expect((await leader.client.range(leader.keys.events, { countOnly: true })).count).toBe(1_100);
  });

  test("ends with its signal, and a cluster that does not answer is no error", async () => {
    const leader = await leading(etcd.urls);
    const log = logOf(leader);
    log.prune(AbortSignal.abort(new Error("over")));
    await log.idle();
    const broken = Object.create(leader.client, {
      range: { value: () => Promise.reject(new Error("no")) },
    }) as typeof leader.client;
    const other = logOf({ ...leader, client: broken });
    other.prune(never);
    await other.idle();
  });
});
