import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { factsOf, type Step } from "../../../src/chooser/index.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { carryOut } from "../../../src/agent/lead/carry-out.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { isRefused, readRecord, writeRecord, type EventRecord } from "../../../src/agent/control/records.ts";
import { cluster } from "../../support/cluster.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { freePorts } from "../../support/ports.ts";
import { agentRecord, leading, never, see, silent, type Leading } from "./leader.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(3, { flags: ["--strict-reconfig-check=false"] });
});
afterAll(() => etcd.stop());

const facts = factsOf(cluster("ideal 3 | voters h1 | spares h2"));

/** Carries out one step after the other, and returns what the events of all of them say. */
async function tell(leader: Leading, ...steps: readonly Step[]): Promise<EventRecord[]> {
  const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
  const deps = { ...leader, clock, log: silent, events, passOverMs: 60_000 };
  for (const step of steps) {
    const outcome = await carryOut(deps, step, "of the test", { ...(await see(leader)), facts }, never);
    expect([step, outcome]).toEqual([step, { done: true }]);
  }
  const { entries } = await leader.client.range(leader.keys.events);
  return entries.map(({ value }) => {
    const record = readRecord("event", value);
    if (isRefused(record)) throw new Error(record.refused);
    return record;
  });
}

const whats = (events: readonly EventRecord[]): string[] => events.map(({ what }) => what);

/** A leader, and a volunteer h2 on a free port. */
async function scene(): Promise<Leading> {
  const leader = await leading(etcd.urls);
  const [port] = await freePorts(1);
  await leader.client.put(leader.keys.agents.key("h2"), agentRecord(2));
  await leader.client.put(leader.keys.volunteer.key("h2"), `http://127.0.0.1:${port}`);
  onTestFinished(async () => {
    const { members } = await leader.client.readMembership();
    for (const row of members) if (row.name === "") await leader.client.removeMember(row.id);
  });
  return leader;
}

const nominate: Step = { kind: "nominate", agent: "h2", standby: true };
const add: Step = { kind: "add-learner", agent: "h2" };

async function learnerOf({ client }: Leading): Promise<string> {
  return (await client.readMembership()).members.find((row) => row.learner)?.id ?? "";
}

test("each event has the reason, the leader, the facts and the subject of its step", async () => {
  const leader = await scene();
  const [first] = await tell(leader, nominate);
  expect(first).toMatchObject({
    step: "nominate",
    agent: "h2",
    what: "nominated h2 as standby",
    because: "of the test",
    leader: "h1",
    leaderRevision: leader.leadership.revision,
    facts,
  });
});

test("a learner that is added, removed and passed over is three events, in that order", async () => {
  const leader = await scene();
  await tell(leader, nominate, add);
  const member = await learnerOf(leader);
  const events = await tell(leader, { kind: "remove", agent: "h2", member, cause: "failed-learner", passOver: true });
  expect(whats(events)).toEqual(["nominated h2 as standby", "added h2 as a learner", "removed h2", "passed h2 over for 1m"]);
  expect(events.slice(1).map((event) => event.member)).toEqual([member, member, undefined]);
  expect(events.map(({ step }) => step)).toEqual(["nominate", "add-learner", "remove", "pass-over"]);
});

test("nominations that are withdrawn or written again are told, too", async () => {
  const leader = await scene();
  expect(whats(await tell(leader, nominate, { kind: "withdraw", agent: "h2" }))).toEqual([
    "nominated h2 as standby",
    "withdrew the nomination of h2",
  ]);
  const [row] = (await leader.client.readMembership()).members;
  await leader.client.put(leader.keys.agents.key(row?.name ?? ""), agentRecord(1));
  const again = await tell(leader, { kind: "renominate", agent: row?.name ?? "", member: row?.id ?? "" });
  expect(again.at(-1)).toMatchObject({ step: "renominate", what: `nominated ${row?.name} again`, member: row?.id });
});

test("raft leadership that is moved is told with both names, after it has moved", async () => {
  const leader = await scene();
  const { look, raftLeader } = await see(leader);
  const from = look.membership.members.find(({ id }) => id === raftLeader);
  const to = look.membership.members.find(({ id }) => id !== raftLeader);
  const [event] = await tell(leader, {
    kind: "move-leader",
    from: from?.id ?? "",
    fromAgent: from?.name,
    to: to?.id ?? "",
    toAgent: to?.name,
  });
  expect(event).toMatchObject({ step: "move-leader", what: `moved raft leadership from ${from?.name} to ${to?.name}` });
  expect((await see(leader)).raftLeader).toBe(to?.id);
});

test("a recorded call that is only closed is told: as what has happened, or as closed", async () => {
  const leader = await scene();
  const record = (op: "promote" | "remove", member: string): Promise<unknown> =>
    leader.client.put(leader.keys.step, writeRecord("step", { schema: 1, op, agent: "h9", member, leaderRevision: 1 }));
  await record("remove", "abc");
  await tell(leader, { kind: "complete", op: "remove", agent: "h9", member: "abc", send: false });
  await record("promote", "abc");
  const events = await tell(leader, { kind: "complete", op: "promote", agent: "h9", member: "abc", send: false });
  expect(events.map(({ step, what }) => `${step}: ${what}`)).toEqual([
    "remove: removed h9",
    "complete: closed the recorded promote of h9",
  ]);
});

test("what is held back is no event", async () => {
  const leader = await scene();
  const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
  const deps = { ...leader, clock, log: silent, events, passOverMs: 60_000 };
  expect(await carryOut(deps, add, "of the test", await see(leader), never)).toHaveProperty("held");
  expect((await leader.client.range(leader.keys.events)).count).toBe(0);
});
