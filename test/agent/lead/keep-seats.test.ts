import { afterAll, beforeAll, expect, test } from "vitest";
import type { Facts } from "../../../src/chooser/index.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { FormerSeats } from "../../../src/agent/control/former-seats.ts";
import { writeRecord, type SeatRecord } from "../../../src/agent/control/records.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { deletedForMs, KeepSeats } from "../../../src/agent/lead/keep-seats.ts";
import { agentOf, look, type Look } from "../../../src/agent/lead/look.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { agentRecord, leading, never, silent, unaware, type Leading } from "./leader.ts";
import { uuid } from "./rows.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

const facts: Facts = { ideal: 1, members: [], spares: [], toleranceBefore: 0, toleranceAfter: 0 };
const graceMs = 60_000;

/** The only member, `n1`, was nominated once; then all keys were deleted, and its agent is gone. */
class Deleted {
  readonly leader: Leading;
  readonly id: string;
  readonly record: SeatRecord;
  readonly #seats: KeepSeats;
  #nowMs = 1_000;

  private constructor(leader: Leading, id: string, host: string) {
    this.leader = leader;
    this.id = id;
    this.record = { schema: 1, instance: uuid(1), member: id, role: "learner", standby: true };
    const formerSeats = new FormerSeats(leader.keys.seats);
    formerSeats.hear(leader.keys.seats.key(host), writeRecord("seat", this.record));
    const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
    this.#seats = new KeepSeats({ ...leader, clock: { ...clock, nowMs: () => this.#nowMs }, events, formerSeats });
  }

  static async open(host = "n1", change: (leader: Leading) => Leading = (leader) => leader): Promise<Deleted> {
    const leader = await leading(etcd.urls);
    const { members } = await leader.client.readMembership();
    return new Deleted(change(leader), members[0]?.id ?? "", host);
  }

  async look(): Promise<Look> {
    return look(this.leader.client, this.leader.keys, never);
  }

  /** A round of the leader, and another one after `ms`; what is there then. */
  async rounds(ms: number): Promise<Look> {
    await this.#seats.keep(await this.look(), facts, graceMs, never);
    this.#nowMs += ms;
    await this.#seats.keep(await this.look(), facts, graceMs, never);
    return this.look();
  }
}

test("the seat of an absent agent that somebody deleted is written again, with the grace of a restart, and is told", async () => {
  const scene = await Deleted.open();
  const seen = await scene.rounds(deletedForMs);
  const [row] = seen.membership.members;
  expect(seen.seats.get("n1")?.value).toEqual({ ...scene.record, role: "voter" });
  expect(seen.nominated.get("n1")?.value).toEqual(row?.peerUrls);
  expect(agentOf(row!, seen)).toBe("n1");
  expect([...seen.restarting]).toEqual(["n1"]);
  const { entry } = await scene.leader.client.get(scene.leader.keys.restarting.key("n1"));
  expect(entry?.lease).not.toBe("0");
  const { entries } = await scene.leader.client.range(scene.leader.keys.events);
  expect(entries.map(({ value }) => (JSON.parse(value) as { what: string }).what)).toEqual(["wrote the seat of n1 again"]);
});

test("not before its agent has had time to write its own keys again", async () => {
  const scene = await Deleted.open();
  expect((await scene.rounds(deletedForMs - 1)).seats.size).toBe(0);
});

test("an agent that is there is left to the chooser, which nominates it for the instance it has now", async () => {
  const scene = await Deleted.open();
  await scene.leader.client.put(scene.leader.keys.agents.key("n1"), agentRecord(1));
  expect((await scene.rounds(deletedForMs)).seats.size).toBe(0);
});

test("a member of another name than the seat's host is a stranger's, whatever was written of it", async () => {
  const scene = await Deleted.open("h7");
  expect((await scene.rounds(deletedForMs)).seats.size).toBe(0);
});

test("what stands at its keys meanwhile is not written over, readable or not", async () => {
  const scene = await Deleted.open();
  const key = scene.leader.keys.seats.key("n1");
  await scene.leader.client.put(key, "junk");
  const seen = await scene.rounds(deletedForMs);
  expect((await scene.leader.client.get(key)).entry?.value).toBe("junk");
  expect(seen.nominated.size).toBe(0);
});

test("once another agent leads, nothing is written", async () => {
  const scene = await Deleted.open("n1", (leader) => ({ ...leader, leadership: unaware(leader.leadership) }));
  await scene.leader.client.txn({ then: [{ del: scene.leader.leadership.key }] });
  expect((await scene.rounds(deletedForMs)).seats.size).toBe(0);
});

test("a seat is known by its member, the newest word counts, and what is no seat of a member is not one", () => {
  const family = { nameIn: (key: string) => (key.startsWith("/s/") ? key.slice(3) : undefined) };
  const seats = new FormerSeats(family as ConstructorParameters<typeof FormerSeats>[0]);
  const record = (member: string | undefined, n: number): string =>
    writeRecord("seat", { schema: 1, instance: uuid(n), role: "voter", standby: false, ...(member && { member }) });
  seats.hear("/s/h1", record("aa", 1));
  seats.hear("/s/h1", record(undefined, 2));
  seats.hear("/s/h1", "junk");
  seats.hear("/other/h1", record("bb", 1));
  expect(seats.get("aa")).toMatchObject({ host: "h1", record: { instance: uuid(1) } });
  seats.hear("/s/h1", record("aa", 3));
  expect(seats.get("aa")).toMatchObject({ record: { instance: uuid(3) } });
  expect(seats.get("bb")).toBeUndefined();
  for (let i = 0; i < 1_000; i++) seats.hear("/s/h2", record(`${i + 1_000}`, 1));
  expect(seats.get("aa")).toBeUndefined();
  expect(seats.get("1999")).toMatchObject({ host: "h2" });
});
