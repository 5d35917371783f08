import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defaultPolicy, plan, rehearse } from "../../src/chooser/index.ts";
import { brief, cluster, say } from "../support/cluster.ts";
import { play } from "../support/model.ts";
import { policies, snapshots } from "../support/snapshots.ts";

describe("size 0, as any other size, is carried out step by step", () => {
  test.each([
    ["one voter", "voters h1", ["close h1", "wait end h1"]],
    ["three voters", "voters h1 h2 h3", ["remove h3 surplus", "remove h2 surplus", "close h1", "wait end h1"]],
    [
      "five voters and a spare",
      "voters h1 h2 h3 h4 h5 | spares h6",
      ["remove h5 surplus", "remove h4 surplus", "remove h3 surplus", "remove h2 surplus", "close h1", "wait end h1"],
    ],
    [
      "an even size: the learner first",
      "voters h1 h2 h3 | learners h4",
      ["remove h4 surplus", "remove h3 surplus", "remove h2 surplus", "close h1", "wait end h1"],
    ],
    [
      "a dead voter is not replaced, and not waited for",
      "voters h1 h2 h3! | spares h4",
      ["remove h3 dead", "remove h2 surplus", "close h1", "wait end h1"],
    ],
    [
      "nor is one that restarts",
      "voters h1 h2 h3! | restarting h3",
      ["remove h3 dead", "remove h2 surplus", "close h1", "wait end h1"],
    ],
    [
      "a nominee without a seat is not added any more",
      "voters h1 | spares h2 | nominees h2",
      ["withdraw h2", "close h1", "wait end h1"],
    ],
    ["two voters are one too many", "voters h1 h2", ["remove h2 surplus", "close h1", "wait end h1"]],
    [
      "raft leadership moves to whoever stays",
      "voters h1*^-1 h2 h3",
      ["move-leader h1 h2", "remove h1 surplus", "remove h3 surplus", "close h2", "wait end h2"],
    ],
  ])("%s", (_, line, story) => {
    expect(play(`ideal 3 | closing | ${line}`)).toEqual(story);
  });

  test("a standby is let go like everybody else, whatever the policy says", () => {
    const story = play("ideal 3 | closing | voters h1 h2 h3 | learners h4 | spares h5", { standbys: 1 });
    expect(story.slice(0, 2)).toEqual(["remove h4 surplus", "remove h3 surplus"]);
    expect(story.at(-1)).toBe("wait end h1");
  });

  test("the step names the size to come back to", () => {
    const { steps } = rehearse(cluster("ideal 5 | closing | voters h1 h2 h3"), defaultPolicy);
    expect(steps.at(-1)?.step).toEqual({ kind: "close", agent: "h1", member: "id-h1", formerSize: 5 });
  });
});

describe("nothing is begun for size 0", () => {
  test("before it has stood for 10 s, in which it can be taken back; deaths and leaves are seen to meanwhile", () => {
    expect(say("ideal 3 | closing 9999 | voters h1 h2 h3")).toBe("wait take-back");
    expect(say("ideal 3 | closing 10000 | voters h1 h2 h3")).toBe("remove h3 surplus");
    expect(say("ideal 3 | closing 9999 | voters h1 h2 | spares h3")).toBe("wait take-back");
    expect(say("ideal 3 | closing 9999 | voters h1 h2 h3! | spares h4")).toBe("nominate h4");
    expect(say("ideal 3 | closing 9999 | voters h1 h2 h3 h4 | leaving h4")).toBe("remove h4 leaving");
  });

  test("once it is taken back: members that were let go are asked again", () => {
    expect(say("ideal 3 | voters h1 | spares h2 h3")).toBe("nominate h2");
  });

  test("without quorum, without space, paused, or with a step open", () => {
    expect(say("ideal 3 | closing | voters h1 h2! h3!")).toBe("wait quorum 1/3");
    expect(say("ideal 3 | closing | voters h1 h2 h3 | no-space")).toBe("wait space");
    expect(say("ideal 3 | closing | voters h1 h2 h3 | paused by hand")).toBe("wait resume, then remove h3 surplus");
    expect(say("ideal 3 | closing | voters h1 h2 | learners h3 | open promote h3")).toBe("remove h3 surplus");
  });

  test("while a voter is there that Quorate did not add: neither its server nor those beside it are stopped", () => {
    expect(say("ideal 3 | closing | voters m1 h2 h3")).toBe("wait strangers m1");
    expect(say("ideal 3 | closing | voters m1")).toBe("wait strangers m1");
  });
});

test("the note that the cluster is closed counts only where it names the only member", () => {
  expect(say("ideal 3 | closing 10000 h1 | voters h1")).toBe("wait end h1");
  expect(say("ideal 3 | closing 10000 h2 | voters h1")).toBe("close h1");
  expect(say("ideal 3 | closing 10000 h1 | voters h1 h2")).toBe("remove h2 surplus");
});

test("the cluster is closed by nothing but size 0, and only with one member that has an agent and takes part", () => {
  fc.assert(
    fc.property(snapshots, policies, (seen, policy) => {
      const next = plan(seen, policy);
      if (!("step" in next) || next.step.kind !== "close") return;
      expect(seen.closing?.askedForMs).toBeGreaterThanOrEqual(policy.closeAfterMs);
      expect(seen.members).toHaveLength(1);
      expect(seen.members[0]).toMatchObject({ agent: next.step.agent, role: "voter", agentLive: true, answers: true });
      expect(seen.openStep).toBeUndefined();
      expect(next.step.formerSize).toBe(seen.idealClusterSize);
    }),
    { numRuns: 4_000 },
  );
});

test("size 0 is never taken for settled: it is carried out, or waits for something that is named", () => {
  fc.assert(
    fc.property(snapshots, policies, (given, policy) => {
      const seen = { ...given, closing: given.closing ?? { askedForMs: policy.closeAfterMs, closed: undefined } };
      const { ends } = rehearse(seen, policy);
      expect([brief(plan(seen, policy)), ends && "settled" in ends]).not.toContain(true);
    }),
    { numRuns: 4_000 },
  );
});
