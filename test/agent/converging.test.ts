import { expect, test } from "vitest";
import { ownParts, partNames, type OwnState } from "../../src/agent/converging.ts";

const serving = (memberId: string): OwnState["news"] => ({ kind: "serving", memberId, clusterId: "c", learner: false });
const spare: OwnState = {
  ready: true,
  phase: "running",
  news: { kind: "none" },
  hasSeat: false,
  seat: undefined,
  leader: "h1",
  plan: { leader: "h1", kind: "settled" },
};
const voter: OwnState = { ...spare, news: serving("a1"), hasSeat: true, seat: { member: "a1" } };

/** Which parts are not converged. */
const waits = (state: OwnState): string => {
  const parts = ownParts(state);
  return partNames.filter((name) => !parts[name]).join(" ");
};

const rows: readonly (readonly [string, OwnState, string])[] = [
  ["a spare of a settled cluster", spare, ""],
  ["a voter of a settled cluster", voter, ""],
  ["it has not joined", { ...spare, phase: "joining" }, "agent"],
  ["it founds, and is not sure yet that no cluster knows its address", { ...voter, ready: false }, "agent"],
  ["it is in safe mode", { ...voter, phase: "safe-mode" }, "agent"],
  ["it leaves", { ...voter, phase: "leaving" }, "agent"],
  ["nominated, and its member not added yet", { ...spare, seat: { member: undefined } }, "seat server"],
  ["its member is added, and its server starts", { ...voter, news: { kind: "starting", memberId: "a1" } }, "server"],
  ["its server has failed", { ...voter, news: { kind: "failed", memberId: "a1", problem: "x" } }, "server"],
  ["it serves for a seat that is not the one it has", { ...voter, news: serving("b2") }, "server"],
  ["let go, and its server still runs", { ...voter, seat: undefined }, "seat server"],
  ["let go, and what is left of its server is not put aside yet", { ...spare, hasSeat: true }, "seat"],
  ["the leader has a step to take", { ...voter, plan: { leader: "h1", kind: "step" } }, "cluster"],
  ["the leader waits for something", { ...voter, plan: { leader: "h1", kind: "waiting" } }, "cluster"],
  ["nobody leads", { ...voter, leader: undefined }, "cluster"],
  ["the plan is a former leader's", { ...voter, leader: "h2" }, "cluster"],
  ["there is no plan yet", { ...voter, plan: undefined }, "cluster"],
  ["the leader has a step to take, which is not a spare's to say", { ...spare, plan: { leader: "h1", kind: "step" } }, ""],
];

test.each(rows)("%s: what is not converged", (_, state, expected) => {
  expect(waits(state)).toBe(expected);
});
