import { expect, onTestFinished, test } from "vitest";
import { carryOut, type CarryOutDeps, type Outcome } from "../../../src/agent/lead/carry-out.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { hear, hearDeadlineMs } from "../../../src/agent/lead/gate.ts";
import { Quiet, type QuietSeen } from "../../../src/agent/lead/quiet.ts";
import { systemClock, type Clock } from "../../../src/clock.ts";
import { eventually } from "../../support/eventually.ts";
import { broken, type Broken } from "./broken.ts";
import { never, see, silent } from "./leader.ts";
import { status } from "./rows.ts";

const raftLeader = status("aa", { raftLeader: "aa", raftTerm: 4 });
const bytes = (bb: number): ReadonlyMap<string, number> => new Map([["bb", bb]]);

test("a member is quiet once nothing of it was received for three heartbeats, from an answer to the next question", () => {
  const quiet = new Quiet();
  const at = (askedMs: number, nowMs: number, received: number): string =>
    [...quiet.count({ raftLeader, heard: bytes(received), askedMs, nowMs }).members].join();
  expect(at(0, 100, 7)).toBe("");
  // The first answer may have been given as late as at 100.
  expect(at(100 + hearDeadlineMs - 1, 1_000, 7)).toBe("");
  expect(at(100 + hearDeadlineMs, 1_000, 7)).toBe("bb");
  expect(at(2_000, 2_000, 8)).toBe("");
  expect(at(2_000 + hearDeadlineMs, 3_000, 8)).toBe("bb");
});

test.each([
  ["another raft leader", { ...raftLeader, memberId: "cc" }],
  ["another term", { ...raftLeader, raftTerm: 5 }],
  ["no raft leader", undefined],
])("%s counts from somewhere else, so an equal number says nothing", (_, other) => {
  const quiet = new Quiet();
  quiet.count({ raftLeader, heard: bytes(7), askedMs: 0, nowMs: 0 });
  const [first, second] = [1_000, 2_000].map((ms) =>
    quiet.count({ raftLeader: other, heard: bytes(7), askedMs: ms, nowMs: ms }),
  ) as [QuietSeen, QuietSeen];
  expect(first.members.size).toBe(0);
  expect(second.members.has("bb")).toBe(other !== undefined);
});

test("a reading that failed says nothing; equal numbers before and after it do", () => {
  const quiet = new Quiet();
  quiet.count({ raftLeader, heard: bytes(7), askedMs: 0, nowMs: 0 });
  expect(quiet.count({ raftLeader, heard: undefined, askedMs: 1_000, nowMs: 1_000 }).members.size).toBe(0);
  expect(quiet.count({ raftLeader, heard: bytes(7), askedMs: 2_000, nowMs: 2_000 })).toEqual({
    members: new Set(["bb"]),
    atMs: 2_000,
  });
});

/** A clock that stands still for whoever reads it: nothing that takes a time by it ever comes to its end. */
function standingStill(): Clock {
  const nowMs = systemClock.nowMs();
  return { ...systemClock, nowMs: () => nowMs };
}

interface Burial {
  readonly outcome: Outcome;
  readonly tookMs: number;
}

/** Removes the dead one, of which nothing was received for three heartbeats until so long ago. */
async function bury({ leader, dead }: Broken, agoMs: number, clock = systemClock): Promise<Burial> {
  const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
  const deps: CarryOutDeps = { ...leader, clock, log: silent, events, passOverMs: 60_000 };
  const step = { kind: "remove", agent: undefined, member: dead, cause: "dead", passOver: false } as const;
  const seen = await see(leader);
  const startMs = systemClock.nowMs();
  const quiet = { members: new Set([dead]), atMs: clock.nowMs() - agoMs };
  const outcome = await carryOut(deps, step, "because of the test", { ...seen, quiet }, never);
  return { outcome, tookMs: systemClock.nowMs() - startMs };
}

test("who was quiet for three heartbeats is removed without three more", { timeout: 60_000 }, async () => {
  const scene = await broken();
  const { client } = scene.leader;
  const { members } = (await see(scene.leader)).look.membership;
  const quiet = new Quiet();
  const seen = await eventually("it is quiet", async () => {
    const leaderId = (await see(scene.leader)).raftLeader;
    const url = members.find(({ id }) => id === leaderId)?.clientUrls[0] ?? "";
    const askedMs = systemClock.nowMs();
    const heard = await hear(client, members, leaderId, never);
    const told = quiet.count({ raftLeader: await client.status(url), heard, askedMs, nowMs: systemClock.nowMs() });
    return told.members.has(scene.dead) && told;
  });
  // etcd also counts what it has received of nobody (0): of connections that had not yet said whose they are.
  expect(members.filter(({ id }) => seen.members.has(id)).map(({ id }) => id)).toEqual([scene.dead]);
  expect((await bury(scene, 0, standingStill())).outcome).toEqual({ done: true });
  const left = (await client.readMembership()).members;
  expect(left.map(({ id }) => id)).not.toContain(scene.dead);
});

test("while a learner shows nothing the others are given their time: its promotion is to rest on this gate", async () => {
  const scene = await broken();
  onTestFinished(() => scene.learnerNode.resume());
  scene.learnerNode.pause();
  const { outcome, tookMs } = await bury(scene, 0);
  expect(outcome).toEqual({ done: true });
  expect(tookMs).toBeGreaterThanOrEqual(hearDeadlineMs);
}, 60_000);

test("who was quiet and is back keeps its seat, and a count of long ago does not hold", { timeout: 60_000 }, async () => {
  const scene = await broken();
  await scene.deadNode?.restart();
  await eventually(
    "it is back",
    async () => (await scene.leader.client.status(scene.deadNode?.clientUrl ?? "")).raftLeader !== "0",
  );
  expect((await bury(scene, 0)).outcome).toEqual({ held: "failure tolerance would fall from 1 to 0" });
  await scene.deadNode?.kill();
  const { outcome, tookMs } = await bury(scene, 1_000);
  expect(outcome).toEqual({ done: true });
  expect(tookMs).toBeGreaterThanOrEqual(hearDeadlineMs);
});
