import { expect, test } from "vitest";
import { LastGate } from "../../../src/agent/lead/last-gate.ts";
import { rows } from "./rows.ts";

const before = rows("aa bb cc");
const after = before.filter((row) => row.id !== "cc");

function gate(): LastGate {
  const kept = new LastGate();
  kept.keep("cc", before, "aa", new Set(["aa", "bb", "cc"]), 1_000);
  return kept;
}

test("what a removal's gate showed holds for the promotion right after it, and without the one that was removed", () => {
  expect(gate().take(after, "aa", 1_500)).toEqual(new Set(["aa", "bb"]));
});

test.each<[string, Parameters<LastGate["take"]>]>([
  ["half a second is over", [after, "aa", 1_501]],
  ["the removal has not happened", [before, "aa", 1_001]],
  ["somebody else has gone as well", [after.slice(1), "aa", 1_001]],
  ["somebody has another role", [after.map((row) => ({ ...row, learner: true })), "aa", 1_001]],
  ["another raft leader is there", [after, "bb", 1_001]],
])("it does not where %s", (_, asked) => {
  expect(gate().take(...asked)).toBeUndefined();
});

test("it does not where somebody came or went, though a quorum of what is there took part", () => {
  expect(gate().take(rows("aa bb l9"), "aa", 1_001)).toBeUndefined();
  const five = new LastGate();
  five.keep("v5", rows("v1 v2 v3 v4 v5"), "v1", new Set(["v1", "v2", "v3", "v4", "v5"]), 1_000);
  expect(five.take(rows("v1 v2 v3"), "v1", 1_001)).toBeUndefined();
});

test("it holds once", () => {
  const kept = gate();
  kept.take(before, "aa", 1_001);
  expect(kept.take(after, "aa", 1_001)).toBeUndefined();
  expect(new LastGate().take(after, "aa", 0)).toBeUndefined();
});

test("it does not where the promotion would need the learner's own vote: that one may have died since", () => {
  const kept = new LastGate();
  const two = rows("v1 v2 l3");
  kept.keep("v2", two, "v1", new Set(["v1", "l3"]), 1_000);
  expect(kept.take(rows("v1 l3"), "v1", 1_001)).toBeUndefined();
  const three = rows("v1 v2 v3 l4");
  kept.keep("v3", three, "v1", new Set(["v1", "v2", "l4"]), 1_000);
  expect(kept.take(rows("v1 v2 l4"), "v1", 1_001)).toEqual(new Set(["v1", "v2", "l4"]));
});
