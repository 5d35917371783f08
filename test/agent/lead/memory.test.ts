import { describe, expect, test } from "vitest";
import type { MemberSeen } from "../../../src/chooser/snapshot.ts";
import type { EndpointStatus, KeyValue } from "../../../src/etcd/index.ts";
import { Memory, raftLeaderOf, volunteersSeen, type Heard } from "../../../src/agent/lead/memory.ts";
import { writeRecord, type AgentRecord } from "../../../src/agent/control/records.ts";
import { entry, keys, lookOf, row, rows, status, uuid } from "./rows.ts";

const members = rows("aa bb cc");
const look = lookOf(members);

function answering(ids: string, more: Partial<EndpointStatus> = {}): Map<string, EndpointStatus> {
  return new Map(
    ids
      .split(" ")
      .filter(Boolean)
      .map((id) => [id, status(id, { raftLeader: "aa", ...more })]),
  );
}

function heard(text: string): Heard {
  return new Map(
    text
      .split(" ")
      .filter(Boolean)
      .map((part) => [part.split(":")[0] ?? "", Number(part.split(":")[1])]),
  );
}

/** One round each: what was seen when, and what became of one member. */
function watching(
  memory: Memory,
  id: string,
): (nowMs: number, statuses: ReadonlyMap<string, EndpointStatus>, hears?: Heard) => MemberSeen {
  return (nowMs, statuses, hears) => {
    const seen = memory.members({ nowMs, look, statuses, heard: hears }).find((one) => one.id === id);
    if (!seen) throw new Error(`${id} is gone`);
    return seen;
  };
}

describe("health", () => {
  test("counts from the first answer, without a break, on this leader's clock", () => {
    const see = watching(new Memory(1_000), "bb");
    expect(see(1_000, answering("aa bb cc"))).toMatchObject({
      answers: true,
      healthyForMs: 0,
      unansweredForMs: 0,
      knownForMs: 0,
    });
    expect(see(4_000, answering("aa bb cc"))).toMatchObject({ healthyForMs: 3_000, unansweredForMs: 0, knownForMs: 3_000 });
    expect(see(5_000, answering("aa cc"))).toMatchObject({
      answers: false,
      healthyForMs: 0,
      unansweredForMs: 1_000,
      lag: undefined,
    });
    expect(see(9_000, answering("aa cc"))).toMatchObject({ unansweredForMs: 5_000, knownForMs: 8_000 });
    expect(see(10_000, answering("aa bb cc"))).toMatchObject({ healthyForMs: 0, unansweredForMs: 0 });
    expect(see(11_000, answering("aa bb cc"))).toMatchObject({ healthyForMs: 1_000 });
  });

  test("one that never answered has been silent since it was first seen", () => {
    const see = watching(new Memory(0), "bb");
    see(1_000, answering("aa"));
    expect(see(61_000, answering("aa"))).toMatchObject({ unansweredForMs: 60_000, healthyForMs: 0 });
  });

  test("what was heard before it led tells with the first count who is silent; health and silence are its own", () => {
    const memory = new Memory(0);
    watching(memory, "cc")(0, answering("aa cc"), heard("bb:100 cc:5"));
    const led = memory.leads(1_000);
    expect(watching(led, "bb")(1_000, answering("aa cc"), heard("bb:100 cc:9"))).toMatchObject({
      heard: false,
      unansweredForMs: 0,
      knownForMs: 0,
    });
    expect(watching(led, "cc")(1_000, answering("aa cc"), heard("bb:100 cc:9"))).toMatchObject({ healthyForMs: 0 });
    expect(led.leaderForMs(1_500)).toBe(500);
    // Without it one count says nothing yet.
    expect(watching(new Memory(0), "bb")(0, answering("aa cc"), heard("bb:100 cc:9"))).toMatchObject({ heard: true });
  });

  test("a promotion does not interrupt it", () => {
    const memory = new Memory(0);
    const [learner, voter] = [{ ...row("bb"), learner: true }, row("bb")];
    const at = (nowMs: number, second: typeof voter): MemberSeen | undefined =>
      memory.members({ nowMs, look: lookOf([row("aa"), second]), statuses: answering("aa bb"), heard: undefined })[1];
    expect(at(0, learner)).toMatchObject({ role: "learner", healthyForMs: 0 });
    expect(at(7_000, voter)).toMatchObject({ role: "voter", healthyForMs: 7_000 });
  });

  test("a member that was gone and is back is a new one", () => {
    const memory = new Memory(0);
    const all = { statuses: answering("aa bb"), heard: undefined };
    memory.members({ nowMs: 0, look, ...all });
    memory.members({ nowMs: 1_000, look: lookOf(rows("aa")), ...all });
    expect(memory.members({ nowMs: 2_000, look, ...all })[1]).toMatchObject({ id: "bb", knownForMs: 0, healthyForMs: 0 });
  });

  test("an answer that names another raft leader, or none, is none", () => {
    const see = watching(new Memory(0), "bb");
    const cut = new Map([...answering("aa cc"), ["bb", status("bb", { raftLeader: "cc", raftTerm: 1 })] as const]);
    expect(see(0, cut)).toMatchObject({ answers: false });
    const leaderless = new Map([...answering("aa cc"), ["bb", status("bb", { raftLeader: "0" })] as const]);
    expect(see(100, leaderless)).toMatchObject({ answers: false });
    expect(see(200, answering("aa bb", { errors: ["etcdserver: no leader"] }))).toMatchObject({ answers: false });
    expect(see(300, answering("aa bb", { errors: ["memberID:1 alarm:NOSPACE"] }))).toMatchObject({ answers: true });
  });
});

describe("lag and stall", () => {
  const at = (applied: number): Map<string, EndpointStatus> =>
    new Map([
      ["aa", status("aa", { raftLeader: "aa", raftIndex: 5_000, appliedIndex: 5_000 })],
      ["bb", status("bb", { raftLeader: "aa", appliedIndex: applied })],
    ]);

  test("lag is what the raft leader's log has and it has not applied; a leader that just wrote more makes none negative", () => {
    const see = watching(new Memory(0), "bb");
    expect(see(0, at(1_000)).lag).toBe(4_000);
    expect(see(1, at(6_000)).lag).toBe(0);
    expect(see(2, answering("bb", { raftLeader: "aa" })).lag).toBeUndefined();
  });

  test("it stalls while it lags and neither its applied index nor its bytes move", () => {
    const see = watching(new Memory(0), "bb");
    expect(see(0, at(1_000)).stalledForMs).toBe(0);
    expect(see(5_000, at(1_000)).stalledForMs).toBe(5_000);
    expect(see(6_000, at(1_001)).stalledForMs).toBe(0);
    expect(see(9_000, at(1_001), heard("bb:10")).stalledForMs).toBe(0);
    expect(see(12_000, at(1_001), heard("bb:10")).stalledForMs).toBe(3_000);
    expect(see(13_000, at(1_001), heard("bb:99")).stalledForMs).toBe(0);
  });

  test("whoever keeps up is not stalled however long nothing happens", () => {
    const see = watching(new Memory(0), "bb");
    see(0, at(5_000));
    expect(see(20_000, at(5_000)).stalledForMs).toBe(0);
    expect(see(20_500, at(4_000)).stalledForMs).toBe(500);
  });
});

describe("what the raft leader hears", () => {
  test("is not known while its counters are not read", () => {
    const see = watching(new Memory(0), "bb");
    expect(see(0, answering("aa cc")).heard).toBeUndefined();
  });

  test("bytes that grow between two readings were heard; bytes that stand still were not", () => {
    const see = watching(new Memory(0), "bb");
    see(0, answering("aa cc"), heard("bb:100 cc:5"));
    expect(see(400, answering("aa cc"), heard("bb:150 cc:5")).heard).toBe(true);
    expect(see(800, answering("aa cc"), heard("bb:150 cc:9")).heard).toBe(false);
    expect(see(1_200, answering("aa cc"), heard("bb:151 cc:9")).heard).toBe(true);
  });

  test("a second reading before three heartbeats are over changes nothing: nobody is dead for being quick to ask", () => {
    const see = watching(new Memory(0), "bb");
    expect(see(0, answering("aa cc"), heard("bb:100")).heard).toBe(true);
    expect(see(100, answering("aa cc"), heard("bb:100")).heard).toBe(true);
    expect(see(340, answering("aa cc"), heard("bb:100")).heard).toBe(true);
    expect(see(360, answering("aa cc"), heard("bb:100")).heard).toBe(false);
  });

  test("what was counted earlier says nothing once the counters are not read any more", () => {
    const see = watching(new Memory(0), "bb");
    see(0, answering("aa cc"), heard("bb:100"));
    see(400, answering("aa cc"), heard("bb:100"));
    expect(see(800, answering("aa cc")).heard).toBeUndefined();
  });

  test("a new raft leader counts from zero, and that is no silence", () => {
    const see = watching(new Memory(0), "bb");
    see(0, answering("aa cc"), heard("bb:100000"));
    expect(see(400, answering("aa cc"), heard("bb:12")).heard).toBe(true);
    expect(see(800, answering("aa cc"), heard("")).heard).toBe(false);
  });

  test("the raft leader hears itself", () => {
    const see = watching(new Memory(0), "aa");
    expect(see(0, answering("aa bb cc"), heard("bb:1 cc:1")).heard).toBe(true);
  });
});

describe("raftLeaderOf()", () => {
  const say = (...words: readonly string[]): ReadonlyMap<string, EndpointStatus> =>
    new Map(
      words.map((word) => {
        const [id = "", raftLeader = "", term = "2"] = word.split(">").flatMap((part) => part.split("/"));
        return [id, status(id, { raftLeader, raftTerm: Number(term) })];
      }),
    );
  test.each([
    ["all name one", ["aa>aa", "bb>aa", "cc>aa"], "aa"],
    ["the later term counts, however few know of it", ["aa>aa/2", "bb>aa/2", "cc>cc/3"], "cc"],
    ["who knows none says nothing", ["aa>aa/2", "bb>0/9"], "aa"],
    ["nobody answers", [], undefined],
    ["nobody knows one", ["aa>0", "bb>0"], undefined],
    ["one that is no member any more", ["aa>dd", "bb>dd"], undefined],
    ["a tie in one term, which raft does not do, is decided alike by everybody", ["bb>bb", "aa>aa"], "aa"],
  ])("%s", (_what, words, leader) => {
    expect(raftLeaderOf(members, say(...words))).toBe(leader);
  });
});

test("an open step counts from when this leader first saw it, and anew when it is written anew", () => {
  const memory = new Memory(0);
  const step = writeRecord("step", { schema: 1, op: "promote", agent: "h1", member: "aa", leaderRevision: 3 });
  const open = (modRevision: number): ReturnType<typeof lookOf> => lookOf(members, entry(keys.step, step, { modRevision }));
  expect(memory.openStep(open(6), 1_000)).toEqual({ op: "promote", agent: "h1", member: "aa", openForMs: 0 });
  expect(memory.openStep(open(6), 9_000)?.openForMs).toBe(8_000);
  expect(memory.openStep(open(7), 9_500)?.openForMs).toBe(0);
  expect(memory.openStep(look, 9_600)).toBeUndefined();
  expect(memory.openStep(open(7), 9_700)?.openForMs).toBe(0);
  expect(memory.leaderForMs(9_700)).toBe(9_700);
});

test("size 0 counts from when this leader first saw it, and anew when it is taken back or written again", () => {
  const memory = new Memory(0);
  const sized = (text: string, modRevision: number): ReturnType<typeof lookOf> =>
    lookOf(members, entry(keys.idealClusterSize, text, { modRevision }), entry(keys.lastSize, "3"));
  expect(memory.closing(sized("3", 5), 500)).toBeUndefined();
  expect(memory.closing(sized("0", 6), 1_000)).toEqual({ askedForMs: 0, closed: undefined });
  expect(memory.closing(sized("0", 6), 9_000)).toEqual({ askedForMs: 8_000, closed: undefined });
  expect(memory.closing(sized("0", 8), 9_500)?.askedForMs).toBe(0);
  expect(memory.closing(sized("banana", 9), 9_600)).toBeUndefined();
  expect(memory.closing(sized("0", 8), 9_700)?.askedForMs).toBe(0);
  const closed = entry(keys.closed, writeRecord("closed", { schema: 1, host: "h1", formerSize: 3 }));
  expect(memory.closing(lookOf(members, entry(keys.idealClusterSize, "0"), closed), 9_800)?.closed).toBe("h1");
});

describe("what agents say", () => {
  const record = (more: Partial<AgentRecord>): string =>
    writeRecord("agentRecord", {
      schema: 1,
      identity: uuid(1),
      instance: uuid(2),
      quorate: "0.1.0",
      zone: "z1",
      priority: 4,
      volunteering: true,
      server: "none",
      proof: "x",
      ...more,
    });
  const seatOf = (member: string): string =>
    writeRecord("seat", { schema: 1, instance: uuid(2), member, role: "voter", standby: false });
  const seen = (more: Partial<AgentRecord>): MemberSeen | undefined =>
    new Memory(0).members({
      nowMs: 0,
      look: lookOf(
        members,
        entry(keys.agents.key("h2"), record(more)),
        entry(keys.seats.key("h2"), seatOf("bb"), { createRevision: 42 }),
      ),
      statuses: answering("aa"),
      heard: undefined,
    })[1];

  test("a member is joined with its agent, its zone and the age of its seat", () => {
    expect(seen({})).toMatchObject({
      agent: "h2",
      agentLive: true,
      zone: "z1",
      priority: 4,
      sinceRevision: 42,
      report: undefined,
    });
  });

  test("a report counts for the member it names, and for no other", () => {
    expect(seen({ server: "failed", member: "bb" })?.report).toBe("failed");
    expect(seen({ server: "lost-data", member: "bb" })?.report).toBe("lost-data");
    expect(seen({ server: "failed", member: "ee" })?.report).toBeUndefined();
    expect(seen({ server: "failed" })?.report).toBeUndefined();
    expect(seen({ server: "serving", member: "bb" })?.report).toBeUndefined();
  });

  test("a seat whose agent is gone is not live, and has no zone", () => {
    const [, second] = new Memory(0).members({
      nowMs: 0,
      look: lookOf(members, entry(keys.seats.key("h2"), seatOf("bb"))),
      statuses: answering("aa"),
      heard: undefined,
    });
    expect(second).toMatchObject({ agent: "h2", agentLive: false, zone: "" });
  });

  test("the raft leader died and took all sessions with it: an agent whose server answers lives for 10 s without one, else for none", () => {
    const seat = entry(keys.seats.key("h2"), seatOf("bb"));
    const lookAt = (memory: Memory, nowMs: number, answers: string, ...more: KeyValue[]): boolean | undefined =>
      memory.members({ nowMs, look: lookOf(members, seat, ...more), statuses: answering(answers), heard: undefined })[1]
        ?.agentLive;
    const memory = new Memory(0);
    const agent = entry(keys.agents.key("h2"), record({}));
    expect(lookAt(memory, 0, "aa bb", agent)).toBe(true);
    expect(lookAt(memory, 50_000, "aa bb", agent)).toBe(true);
    expect(lookAt(memory, 50_100, "aa bb")).toBe(true);
    expect(lookAt(memory, 50_200, "aa")).toBe(false);
    expect(lookAt(memory, 59_999, "aa bb")).toBe(true);
    expect(lookAt(memory, 60_000, "aa bb")).toBe(false);
    expect(lookAt(memory, 60_100, "aa bb", agent)).toBe(true);
    // A leader that has just begun has seen nobody yet, and waits as long.
    const next = new Memory(0);
    expect(lookAt(next, 0, "aa bb")).toBe(true);
    expect(lookAt(next, 10_000, "aa bb")).toBe(false);
  });

  test("a volunteer key without an agent behind it is nobody's offer", () => {
    const seenVolunteers = volunteersSeen(
      lookOf(
        members,
        entry(keys.volunteer.key("h2"), "http://h2:1", { createRevision: 9 }),
        entry(keys.volunteer.key("h3"), "http://h3:1"),
        entry(keys.agents.key("h2"), record({})),
      ),
      () => ({ state: "pending" }),
    );
    expect(seenVolunteers).toEqual([{ agent: "h2", zone: "z1", priority: 4, sinceRevision: 9, preflight: { state: "pending" } }]);
  });
});
