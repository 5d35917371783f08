import { describe, expect, test } from "vitest";
import { membersTable } from "../../src/cli/members.ts";
import { painter } from "../../src/cli/output.ts";
import { chooserLine, roleOf, stateOf, strengthOf } from "../../src/cli/roles.ts";
import { healthTable, statusData, statusScreen } from "../../src/cli/status.ts";
import { host, view } from "../support/cluster-view.ts";

const plain = painter(false);
const three = [host("h1", { seat: "voter" }), host("h2", { seat: "voter" }), host("h3", { seat: "voter" })];

describe("the status screen", () => {
  test("tells who was asked, who leads, what the size is, what may be lost and what the chooser is at", () => {
    expect(statusScreen(view([...three, host("h4")]), "/_mgmt", plain)).toEqual([
      "hostname   h1 at http://h1:2379",
      "role       voter, raft leader, leader",
      "leader     h1",
      "members    3 of 3 (3 voters)",
      "tolerance  can lose 1 of 3 voters",
      "chooser    settled: 3 voters, can lose 1",
      "           because 3 members of 3",
      "cluster    c1, founded by h1",
      "",
      "HOST  ROLE                        STATE    CLIENT URLS     BEHIND  DB        ETCD",
      "h1    voter, raft leader, leader  healthy  http://h1:2379  0       20.0 KiB  3.5.30",
      "h2    voter                       healthy  http://h2:2379  0       20.0 KiB  3.5.30",
      "h3    voter                       healthy  http://h3:2379  0       20.0 KiB  3.5.30",
      "h4    spare",
    ]);
  });

  test("explains the learner of an even size", () => {
    const lines = statusScreen(view([...three, host("h4", { seat: "learner" })]), "/_mgmt", plain).join("\n");
    expect(lines).toContain("settled: 3 voters and 1 learner, can lose 1");
    expect(lines).toContain(
      "4 voters would survive no more losses than 3: the last seat is a learner, kept in sync (standby: even size)",
    );
    expect(lines).toContain("h4    learner (standby: even size)");
  });

  test("says what the chooser waits for, what blocks it and what it was refused", () => {
    const seen = view(three);
    const plan = {
      ...seen.plan!,
      kind: "waiting" as const,
      because: "learner h4 has not started yet",
      held: "h3 does not apply",
      blockedBy: "1 more volunteer is needed",
    };
    const lines = statusScreen({ ...seen, plan }, "/_mgmt", plain);
    expect(lines).toContain("chooser    waiting: learner h4 has not started yet");
    expect(lines).toContain("           held back: h3 does not apply");
    expect(lines).toContain("           blocked by: 1 more volunteer is needed");
  });

  test("fits a narrow terminal", () => {
    for (const line of statusScreen(view([...three, host("h4", { seat: "learner" })]), "/_mgmt", plain, 60)) {
      expect(line.length).toBeLessThanOrEqual(60);
    }
  });

  test("says that a cluster is not Quorate's, and that nobody leads it", () => {
    const stranger = [host("h1", { seat: "voter", agent: undefined })];
    const lines = statusScreen(view(stranger, { marker: undefined, plan: undefined, leader: undefined }), "/_mgmt", plain);
    expect(lines).toContain("leader     none: no agent leads");
    expect(lines).toContain("cluster    c1, not Quorate's (no key /_mgmt/quorate/cluster)");
  });

  test("for programs holds the same", () => {
    expect(statusData(view([...three, host("h4", { seat: "learner" })]))).toMatchObject({
      hostname: "h1",
      role: "voter",
      leader: "h1",
      idealClusterSize: 4,
      members: 4,
      voters: 3,
      failureTolerance: 1,
      chooser: { kind: "settled" },
      hosts: [{}, {}, {}, { hostname: "h4", role: "learner (standby: even size)" }],
    });
  });
});

describe("a role", () => {
  test("is a learner while it joins, a standby once the chooser is done", () => {
    const hosts = [...three, host("h4", { seat: "learner" })];
    const seen = view(hosts);
    expect(roleOf(hosts[3]!, seen)).toBe("learner (standby: even size)");
    expect(roleOf(hosts[3]!, { ...seen, plan: { ...seen.plan!, kind: "waiting" } })).toBe("learner");
    const odd = [...three.slice(0, 2), host("h3", { seat: "learner" })];
    expect(roleOf(odd[2]!, view(odd))).toBe("learner (standby)");
  });

  test("is a standby, and nothing about an even size, where the policy asks for one beyond the size", () => {
    const hosts = [...three, host("h4", { seat: "learner" })];
    const seen = view(hosts, { ideal: 3, standbys: 1 });
    expect(roleOf(hosts[3]!, seen)).toBe("learner (standby)");
    expect(statusScreen(seen, "/_mgmt", plain).join("\n")).not.toContain("even size");
  });

  test("without a seat is a spare, or a client that does not volunteer", () => {
    expect(roleOf(host("h4"), view(three))).toBe("spare");
    expect(roleOf(host("h4", { volunteers: false }), view(three))).toBe("client");
  });
});

describe("the chooser's line", () => {
  test("does not repeat a settled plan when a voter has gone silent since", () => {
    const seen = view([...three.slice(0, 2), host("h3", { seat: "voter", silent: true })]);
    expect(chooserLine(seen)).toBe("2 of 3 voters answer");
    expect(strengthOf(seen)).toEqual({ members: 3, voters: 3, healthyVoters: 2, failureTolerance: 0 });
  });

  test("does not repeat a settled plan for another size", () => {
    const seen = view(three);
    expect(chooserLine({ ...seen, ideal: 5, plan: { ...seen.plan!, ideal: 3 } })).toBe(
      "the size is 5 now; h1 is about to act on it",
    );
  });
});

test("a state names the most urgent first", () => {
  expect(stateOf(host("h2", { seat: "voter", silent: true, leaving: true }))).toBe("no answer; leaving");
  expect(stateOf(host("h2", { seat: "voter", leader: "0" }))).toBe("no raft leader");
  expect(stateOf(host("h4", { passedOver: "it never started" }))).toBe("passed over: it never started");
});

test("members lists seats only", () => {
  const lines = membersTable(view([...three, host("h4")]), plain);
  expect(lines).toHaveLength(4);
  expect(lines[1]).toBe("h1    voter, raft leader  healthy  1   http://h1:2379  http://h1:2380  3.5.30  20.0 KiB");
});

test("endpoint health says how long a proposal took, or why there was none", () => {
  const lines = healthTable(
    [
      { endpoint: "http://h1:2379", host: "h1", committedInMs: 3.25 },
      { endpoint: "http://h4:2379", host: "h4", learner: true, answeredInMs: 12.4 },
      { endpoint: "http://h9:2379", host: undefined, failed: "connection refused" },
    ],
    plain,
  );
  expect(lines.slice(1)).toEqual([
    "http://h1:2379  h1    committed a proposal in 3.3 ms",
    "http://h4:2379  h4    answered in 12 ms (a learner commits nothing)",
    "http://h9:2379        connection refused",
  ]);
});
