import { expect, test } from "vitest";
import { defaultPolicy, describeStep, plan, renderPlan, roleName, type Step } from "../../src/chooser/index.ts";
import { cluster } from "../support/cluster.ts";

const render = (line: string): readonly string[] => renderPlan(plan(cluster(line), defaultPolicy));

test("readiness is one line that scripts can look for", () => {
  expect(render("ideal 3 | voters h1 h2 h3")).toEqual(["settled: 3 voters, can lose 1"]);
});

test("what keeps a cluster from its ideal size is a second line", () => {
  expect(render("ideal 3 | voters h1 | learners h2")).toEqual([
    "settled: 1 voter, 1 learner, can lose 0",
    "blocked by: 1 more volunteer is needed for the ideal size of 3",
    "after that: nominate the next agent that volunteers and passes the pre-flight",
  ]);
});

test("a step says what and why", () => {
  expect(render("ideal 3 | voters h1 h2 | learners h3")).toEqual(["next: promote h3 (2 voters of 3, and learner h3 is in sync)"]);
  expect(render("ideal 1 | voters h1*^-1 h2 h3")).toEqual([
    "next: move raft leadership from h1 to h2 (the ideal size is 1, and 1 seat is wanted, so voter h1 is let go; it is the raft leader, so h2 takes that over first)",
  ]);
});

test("a wait says what has to change", () => {
  expect(render("ideal 3 | voters h1 h2 h3!")).toEqual([
    "waiting: h3 is gone with its agent and there is no spare, so it keeps its seat",
  ]);
});

test("a paused chooser says what it would do", () => {
  expect(render("ideal 3 | voters h1 h2 | learners h3 | paused upgrade of h2")).toEqual([
    "waiting: the chooser is paused: upgrade of h2",
    "would: promote h3",
  ]);
});

test("every step can be said", () => {
  const steps: Step[] = [
    { kind: "nominate", agent: "h1", standby: false },
    { kind: "nominate", agent: "h1", standby: true },
    { kind: "renominate", agent: "h1", member: "a1" },
    { kind: "withdraw", agent: "h1" },
    { kind: "add-learner", agent: "h1" },
    { kind: "promote", agent: "h1", member: "a1" },
    { kind: "move-leader", from: "a1", fromAgent: undefined, to: "a2", toAgent: "h2" },
    { kind: "remove", agent: undefined, member: "a1", cause: "unknown-learner", passOver: false },
    { kind: "remove", agent: "h1", member: "a1", cause: "failed-learner", passOver: true },
    { kind: "close", agent: "h1", member: "a1", formerSize: 3 },
    { kind: "complete", op: "remove", agent: "h1", member: "a1", send: true },
    { kind: "complete", op: "promote", agent: undefined, member: undefined, send: false },
  ];
  expect(steps.map(describeStep)).toEqual([
    "nominate h1",
    "nominate h1 as standby",
    "nominate h1 again",
    "withdraw the nomination of h1",
    "add h1 as learner",
    "promote h1",
    "move raft leadership from a1 to h2",
    "remove a1",
    "remove h1 and pass it over",
    "close the cluster: every agent ends, h1 last",
    "complete the recorded remove of h1",
    "close the recorded promote",
  ]);
});

test("an even member is a learner that stands by", () => {
  expect(roleName("voter", false, 3)).toBe("voter");
  expect(roleName("learner", false, 3)).toBe("learner");
  expect(roleName("learner", true, 4)).toBe("learner (standby: even size)");
  expect(roleName("learner", true, 5)).toBe("learner (standby)");
});
