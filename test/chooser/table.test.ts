import { describe, expect, test } from "vitest";
import { defaultPolicy, failureTolerance, plan, quorumOf } from "../../src/chooser/index.ts";
import { brief, cluster } from "../support/cluster.ts";
import { apply, play } from "../support/model.ts";

interface Row {
  readonly voters: number;
  readonly dead?: number;
  readonly restarting?: number;
  readonly leaving?: number;
  readonly spares?: number;
  /** Every step and what it ends with; `v+l` is voters + learners. */
  readonly ends: string;
}

// What a cluster at its ideal size does when voters die, restart or leave, with and without spares.
const table: readonly Row[] = [
  { voters: 1, ends: "settled 1+0" },
  { voters: 1, leaving: 1, ends: "stayer 1+0" },
  { voters: 1, leaving: 1, spares: 1, ends: "settled 1+0" },
  { voters: 3, ends: "settled 3+0" },
  { voters: 3, dead: 1, ends: "return 3+0" },
  { voters: 3, dead: 1, spares: 1, ends: "settled 3+0" },
  { voters: 3, dead: 1, spares: 2, ends: "settled 3+0" },
  { voters: 3, dead: 2, spares: 2, ends: "quorum 3+0" },
  { voters: 3, restarting: 1, ends: "return 3+0" },
  { voters: 3, restarting: 1, spares: 1, ends: "return 3+0" },
  { voters: 3, restarting: 1, leaving: 1, ends: "return 3+0" },
  { voters: 3, leaving: 1, ends: "settled 1+1" },
  { voters: 3, leaving: 1, spares: 1, ends: "settled 3+0" },
  { voters: 3, leaving: 2, ends: "settled 1+0" },
  { voters: 3, leaving: 2, spares: 1, ends: "settled 1+1" },
  { voters: 3, leaving: 2, spares: 2, ends: "settled 3+0" },
  { voters: 3, leaving: 3, ends: "stayer 3+0" },
  { voters: 3, leaving: 3, spares: 1, ends: "settled 1+0" },
  { voters: 3, leaving: 3, spares: 3, ends: "settled 3+0" },
  { voters: 3, dead: 1, leaving: 1, ends: "settled 1+0" },
  { voters: 3, dead: 1, leaving: 1, spares: 1, ends: "return 3+0" },
  { voters: 3, dead: 1, leaving: 1, spares: 2, ends: "settled 3+0" },
  { voters: 3, dead: 1, leaving: 2, ends: "return 3+0" },
  { voters: 5, dead: 1, ends: "return 5+0" },
  { voters: 5, dead: 1, spares: 1, ends: "settled 5+0" },
  { voters: 5, dead: 2, ends: "settled 3+0" },
  { voters: 5, dead: 2, spares: 1, ends: "return 5+0" },
  { voters: 5, dead: 2, spares: 2, ends: "settled 5+0" },
  { voters: 5, dead: 3, spares: 3, ends: "quorum 5+0" },
  { voters: 5, restarting: 2, ends: "return 5+0" },
  { voters: 5, dead: 1, restarting: 1, ends: "return 5+0" },
  { voters: 5, dead: 1, restarting: 1, spares: 1, ends: "return 5+0" },
  { voters: 5, leaving: 1, ends: "settled 3+1" },
  { voters: 5, leaving: 2, ends: "settled 3+0" },
  { voters: 5, leaving: 3, ends: "settled 1+1" },
  { voters: 5, leaving: 4, ends: "settled 1+0" },
  { voters: 5, dead: 1, leaving: 1, ends: "settled 3+0" },
  { voters: 5, dead: 2, leaving: 1, ends: "return 3+0" },
  { voters: 5, dead: 2, leaving: 2, ends: "settled 1+0" },
  { voters: 7, dead: 1, ends: "return 7+0" },
  { voters: 7, dead: 2, ends: "settled 5+0" },
  { voters: 7, dead: 3, ends: "return 5+0" },
  { voters: 7, dead: 3, spares: 3, ends: "settled 7+0" },
];

function lineOf({ voters, dead = 0, restarting = 0, leaving = 0, spares = 0 }: Row): string {
  const names = Array.from({ length: voters }, (_, i) => `h${i + 1}`);
  // From the end of the list: the dead, then those that restart, then those that leave.
  const away = names.slice(voters - dead - restarting);
  const back = names.slice(voters - dead - restarting, voters - dead);
  const leavers = names.slice(voters - dead - restarting - leaving, voters - dead - restarting);
  const free = Array.from({ length: spares }, (_, i) => `h${i + 11}`);
  return [
    `ideal ${voters}`,
    `voters ${names.map((n) => (away.includes(n) ? `${n}!` : n)).join(" ")}`,
    ...(back.length > 0 ? [`restarting ${back.join(" ")}`] : []),
    ...(leavers.length > 0 ? [`leaving ${leavers.join(" ")}`] : []),
    ...(free.length > 0 ? [`spares ${free.join(" ")}`] : []),
  ].join(" | ");
}

describe("a full cluster that loses voters", () => {
  test.each(table.map((row) => [lineOf(row), row] as const))("%s", (line, row) => {
    let seen = cluster(line);
    const asked = (row.leaving ?? 0) > 0;
    for (let steps = 0; ; steps++) {
      expect(steps).toBeLessThan(40);
      const next = plan(seen, defaultPolicy);
      if (!("step" in next)) {
        const voters = seen.members.filter((m) => m.role === "voter").length;
        const kind = "settled" in next ? "settled" : next.waiting.on;
        expect(`${kind} ${voters}+${seen.members.length - voters}`).toBe(row.ends);
        return;
      }
      const before = toleranceOf(seen);
      seen = apply(seen, next.step);
      const after = toleranceOf(seen);
      expect(after, `quorum after ${brief(next)}`).toBeGreaterThanOrEqual(0);
      if (!asked) expect(after, `tolerance after ${brief(next)}`).toBeGreaterThanOrEqual(before);
    }
  });

  function toleranceOf(seen: ReturnType<typeof cluster>): number {
    const voters = seen.members.filter((m) => m.role === "voter");
    return failureTolerance(voters.length, voters.filter((m) => m.answers).length);
  }
});

test("three voters, one dead, one spare: learner, remove, promote", () => {
  expect(play(lineOf({ voters: 3, dead: 1, spares: 1, ends: "" }))).toEqual([
    "nominate h11",
    "add-learner h11",
    "remove h3 dead",
    "promote h11",
    "settled 3+0, can lose 1",
  ]);
});

test("five voters, two dead, no spare: both are removed, one by one", () => {
  expect(play(lineOf({ voters: 5, dead: 2, ends: "" })).slice(0, -1)).toEqual(["remove h5 dead", "remove h4 dead"]);
});

test("a quorum is more than half", () => {
  expect([1, 2, 3, 4, 5, 6, 7].map(quorumOf)).toEqual([1, 2, 2, 3, 3, 4, 4]);
  expect([1, 2, 3, 4, 5, 6, 7].map((n) => failureTolerance(n, n))).toEqual([0, 0, 1, 1, 2, 2, 3]);
});
