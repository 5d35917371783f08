import { expect, test } from "vitest";
import { defaultPolicy, factsOf, rehearse } from "../../src/chooser/index.ts";
import { briefStep, cluster } from "../support/cluster.ts";

const steps = (line: string, most?: number): string[] =>
  rehearse(cluster(line), defaultPolicy, most).steps.map(({ step }) => briefStep(step));

test("a rehearsal tells every step with its reason, what is seen after it, and what it ends with", () => {
  const { steps: told, ends } = rehearse(cluster("ideal 3 | voters h1 | spares h2 h3"), defaultPolicy);
  expect(told.map(({ step, after }) => `${briefStep(step)}: ${after.members.length}`)).toEqual([
    "nominate h2: 1",
    "add-learner h2: 2",
    "promote h2: 2",
    "nominate h3: 2",
    "add-learner h3: 3",
    "promote h3: 3",
  ]);
  for (const { because } of told) expect(because).not.toBe("");
  expect(ends).toMatchObject({ settled: { voters: 3, learners: 0, failureTolerance: 1 } });
});

test("a rehearsal that waits says for what, and has no steps where nothing may be done", () => {
  expect(rehearse(cluster("ideal 3 | voters h1 h2! h3!"), defaultPolicy)).toMatchObject({
    steps: [],
    ends: { waiting: { on: "quorum" } },
  });
});

test("a rehearsal is cut off after so many steps, and says that it has not ended", () => {
  const { ends } = rehearse(cluster("ideal 3 | voters h1 | spares h2 h3"), defaultPolicy, 2);
  expect(ends).toBeUndefined();
  expect(steps("ideal 3 | voters h1 | spares h2 h3", 2)).toHaveLength(2);
});

test("a rehearsal changes nothing of what it was given, and is the same every time", () => {
  const seen = cluster("ideal 5 | voters h1 h2 h3! | spares h4 h5 h6");
  const before = structuredClone(seen);
  const first = rehearse(seen, defaultPolicy);
  expect(seen).toEqual(before);
  expect(rehearse(seen, defaultPolicy)).toEqual(first);
});

test("who was given up is passed over with the reason that was given", () => {
  const seen = cluster("ideal 3 | voters h1 h2 | learners h3f");
  const [first] = rehearse(seen, defaultPolicy).steps;
  expect(first?.after.passedOver).toEqual([{ agent: "h3", reason: "learner h3 reports that its server failed" }]);
});

test("the facts of a step are who is there and how, and the tolerance on both sides of it", () => {
  const seen = cluster("ideal 5 | voters h1 h2 h3! h4? h5 | learners h6+ m7~ | spares h9 h8 | pending h10");
  expect(factsOf(seen)).toEqual({
    ideal: 5,
    members: [
      { name: "h1", role: "voter", health: "healthy" },
      { name: "h2", role: "voter", health: "healthy" },
      { name: "h3", role: "voter", health: "gone" },
      { name: "h4", role: "voter", health: "silent" },
      { name: "h5", role: "voter", health: "healthy" },
      { name: "h6", role: "learner", health: "not-started" },
      { name: "m7", role: "learner", health: "behind" },
    ],
    spares: ["h8", "h9"],
    toleranceBefore: 0,
    toleranceAfter: 0,
  });
  const two = cluster("ideal 3 | voters h1 h2 | learners h3");
  expect(factsOf(two, { kind: "promote", agent: "h3", member: "id-h3" })).toMatchObject({
    toleranceBefore: 0,
    toleranceAfter: 1,
  });
});

test("what a member reports, and a raft leader that does not hear it, are facts", () => {
  const seen = cluster("ideal 3 | voters h1 h2f h3l");
  expect(factsOf(seen).members.map((m) => m.health)).toEqual(["healthy", "failed", "lost-data"]);
  const deaf = { ...seen, members: seen.members.map((m) => (m.agent === "h1" ? { ...m, heard: false } : m)) };
  expect(factsOf(deaf).members[0]?.health).toBe("unheard");
});
