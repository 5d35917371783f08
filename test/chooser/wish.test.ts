import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  apply,
  defaultPolicy,
  dynamicSize,
  failureTolerance,
  plan,
  readWish,
  toleranceIn,
  type ClusterSnapshot,
  type Wish,
} from "../../src/chooser/index.ts";
import { cluster, say } from "../support/cluster.ts";
import { play } from "../support/model.ts";
import { policies, snapshots } from "../support/snapshots.ts";

const runs = { numRuns: Number(process.env["RUNS"] ?? 400) };

describe("the size key says how many seats there are, the chooser says whose", () => {
  test.each([
    // [what, cluster, its story]
    ["the first of those it names, up to the size", "ideal 3 | voters h1 | spares h2 h3 h4 | wish h1 h4 h3 h2", "h1 h3 h4"],
    ["nobody else, though the size asks for more", "ideal 5 | voters h1 h2 h3 | spares h4 h5 | wish h1 h2 h3", "h1 h2 h3"],
    ["whom it names in place of whom it does not", "ideal 3 | voters h1 h2 h3 | spares h4 | wish h1 h2 h4", "h1 h2 h4"],
    ["others altogether, one after the other", "ideal 3 | voters h1 h2 h3 | spares h4 h5 h6 | wish h4 h5 h6", "h4 h5 h6"],
    ["the first of two, as one follows the other", "ideal 1 | voters h1 | spares h2 | wish h2 h1", "h2"],
    ["those it names less are let go first", "ideal 1 | voters h1 h2 h3 | wish h3 h2 h1", "h3"],
    ["those it does not name are let go first", "ideal 1 | voters h1 h2 h3 | wish h2", "h2"],
    ["whoever has a seat keeps it, until one that is named can take it", "ideal 3 | voters h1 h2 h3 | wish h1", "h1 h2 h3"],
    ["an empty wish takes nothing from anybody", "ideal 3 | voters h1 h2 h3 | spares h4 | wish", "h1 h2 h3"],
    [
      "the even seat goes to those it names, too",
      "ideal 4 | voters h1 h2 h3 | learners h4 | spares h5 | wish h1 h2 h3 h5",
      "h1 h2 h3 h5",
    ],
    [
      "one that is even and unwanted votes no more",
      "ideal 4 | voters h1 h2 h3 | learners h4 | spares h5 | wish h1 h2 h4 h5",
      "h1 h2 h4 h5",
    ],
    ["the dead are replaced by the next it names", "ideal 3 | voters h1 h2 h3! | spares h4 h5 | wish h1 h2 h3 h5 h4", "h1 h2 h5"],
    [
      "the leaving are replaced by the next it names",
      "ideal 3 | voters h1 h2 h3 | spares h4 h5 | leaving h3 | wish h3 h2 h1 h5",
      "h1 h2 h5",
    ],
    ["the passed over are not asked", "ideal 3 | voters h1 h2 | spares h3 h4 | passed-over h3 | wish h3 h4 h1 h2", "h1 h2 h4"],
    [
      "whom it names and who cannot take a seat keeps none from those it names after it",
      "ideal 3 | voters h1 h2 h5 | spares h3 h4 | passed-over h3 | wish h3 h1 h2 h4",
      "h1 h2 h4",
    ],
    [
      "at most max seats, whatever it names",
      "ideal 9 | voters h1 | spares h2 h3 h4 h5 h6 h7 h8 h9 | wish h9 h8 h7 h6 h5 h4 h3 h2 h1",
      "h3 h4 h5 h6 h7 h8 h9",
    ],
  ])("%s", (_, line, seats) => {
    const end = endOf(line);
    expect(
      end.members
        .map((m) => m.agent)
        .toSorted()
        .join(" "),
    ).toBe(seats);
  });

  test("a standby beyond the size is one that it names", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | spares h4 h5 | wish h1 h2 h3 h5", { standbys: 1 })).toBe("nominate h5 standby");
    expect(say("ideal 3 | voters h1 h2 h3 | spares h4 | wish h1 h2 h3", { standbys: 1 })).toMatch("settled 3+0");
  });

  test("a standby makes way for a newcomer, as there is one learner at a time, and is asked again after it", () => {
    expect(play("ideal 3 | voters h1 h2 h3 | learners h4 | spares h5 | wish h1 h2 h5 h4", { standbys: 1 })).toEqual([
      "remove h4 surplus",
      "nominate h5",
      "add-learner h5",
      "promote h5",
      "remove h3 surplus",
      "nominate h4 standby",
      "add-learner h4",
      "settled 3+1, can lose 1",
    ]);
  });

  test("raft leadership is moved before its voter makes way, and the two steps follow each other", () => {
    expect(play("ideal 3 | voters h1 h2 h3* | spares h4 | wish h1 h2 h4")).toEqual([
      "nominate h4",
      "add-learner h4",
      "promote h4",
      "move-leader h3 h1",
      "remove h3 surplus",
      "settled 3+0, can lose 1",
    ]);
  });

  test("nobody makes way for a newcomer while somebody is missing, is back for a moment only, or restarts", () => {
    expect(say("ideal 3 | voters h1 h2? h3 | spares h4 | wish h1 h2 h4")).toBe("wait return h2");
    expect(say("ideal 3 | voters h1 h2? h3 | learners h4 | wish h1 h2 h4")).toBe("wait return h2");
    expect(say("ideal 3 | voters h1 h2:4999 h3 | spares h4 | wish h1 h2 h4")).toBe("wait health");
    expect(say("ideal 3 | voters h1 h2 h3? | spares h4 | restarting h3 | wish h1 h2 h4")).toBe("wait return h3");
  });
});

test("where a voter is missing, whom the chooser wishes for is promoted at once, as if nobody had to make way", () => {
  expect(say("ideal 3 | voters h1 h2 | learners h4:700 | wish h1 h4")).toBe("promote h4");
});

describe("without a wish nobody gains or loses a seat, and what is under way is brought to its end", () => {
  test.each(["late", "threw", "no-list", "unknown"])("%s", (failed) => {
    for (const line of [
      "ideal 3 | voters h1 h2 h3",
      "ideal 3 | voters h1 h2 h3! | spares h4",
      "ideal 3 | voters h1 | spares h2 h3",
      "ideal 1 | voters h1 h2 h3",
      "ideal 3 | voters h1 h2 | learners h3",
      "ideal 3 | voters h1 h2 h3 | leaving h3 | spares h4",
    ]) {
      expect([line, say(`${line} | no-wish ${failed}`)]).toEqual([line, "wait chooser mine"]);
    }
    expect(say(`ideal 3 | voters h1 h2 | learners h3 | open promote h3 | no-wish ${failed}`)).toBe("send promote h3");
    expect(say(`ideal 3 | voters h1 h2! h3! | no-wish ${failed}`)).toBe("wait quorum 1/3");
    expect(say(`ideal 3 | voters h1 h2 | learners h3! | no-wish ${failed}`)).toBe("remove h3 failed-learner");
    expect(say(`ideal 3 | voters h1 h2 h3 | unnominated h3 | no-wish ${failed}`)).toBe("renominate h3");
  });
});

describe("whatever a chooser returns is read, or refused with a reason", () => {
  const seen = cluster("ideal 3 | voters h1 h2 h3 | spares h4");
  const list = (answer: unknown): Wish => readWish("mine", answer, seen);
  test.each([
    [["h4", "h1"], ["h4", "h1"], []],
    [["h4", "h9", "h1"], ["h4", "h1"], ['"h9" is not there']],
    [["h4", "h1", "h4", "h4"], ["h4", "h1"], ["2 names in it are repeated"]],
    [["h4", 7, null, undefined, ["h1"]], ["h4"], ["4 entries of it are no name"]],
    [[], [], ["it names nobody that is there"]],
    [["__proto__", "constructor"], [], ['"__proto__" and "constructor" are not there', "it names nobody that is there"]],
  ])("%j", (answer, seats, faults) => {
    expect(list(answer)).toEqual({ by: "mine", seats, faults });
  });

  test("thousands of names are read in part, and only a few of the strange ones are said", () => {
    const wish = list([...Array.from({ length: 30_000 }, (_, i) => `x${i}`), "h1"]);
    expect(wish).toEqual({
      by: "mine",
      seats: [],
      faults: [
        "it is 30001 names long, and only the first 1000 are read",
        '"x0", "x1", "x2", "x3", "x4" and 995 more are not there',
        "it names nobody that is there",
      ],
    });
    expect(JSON.stringify(list(["y".repeat(1_000_000)])).length).toBeLessThan(300);
  });

  test.each([
    [undefined, "it returned nothing, not a list of names"],
    [null, "it returned null, not a list of names"],
    ["h1", "it returned a string, not a list of names"],
    [new Set(["h1"]), "it returned an object, not a list of names"],
    [() => ["h1"], "it returned a function, not a list of names"],
  ])("%s is no list", (answer, why) => {
    expect(list(answer)).toEqual({ by: "mine", failed: "no-list", why });
  });

  test("what throws when it is read is refused, too", () => {
    const trap = new Proxy([] as string[], {
      get: () => {
        throw new Error("trap");
      },
    });
    expect(list(trap)).toEqual({ by: "mine", failed: "no-list", why: "what it returned can not be read" });
    const { proxy, revoke } = Proxy.revocable([] as string[], {});
    revoke();
    expect(list(proxy)).toMatchObject({ failed: "no-list" });
  });

  test("anything at all gives a plan and no exception", () => {
    fc.assert(
      fc.property(snapshots, policies, fc.anything(), (other, policy, answer) => {
        plan({ ...other, wish: readWish("mine", answer, other) }, policy);
      }),
      runs,
    );
  });
});

describe("a chooser that wishes anew in every round", () => {
  const wishes = fc.infiniteStream(fc.shuffledSubarray(["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8", "h9", "h10"]));

  test("never lowers failure tolerance, never costs a voter that takes part its majority, never seats a second learner", () => {
    fc.assert(
      fc.property(snapshots, policies, wishes, (first, policy, answers) => {
        let seen: ClusterSnapshot = first;
        for (let rounds = 0; rounds < 60; rounds++) {
          const answer = answers.next().value as readonly string[];
          seen = { ...seen, wish: readWish("wild", answer, seen) };
          const next = plan(seen, policy);
          if (!("step" in next)) continue;
          const before = toleranceIn(seen);
          const after = apply(seen, next.step, next.because);
          const voters = (of: ClusterSnapshot): number => of.members.filter((m) => m.role === "voter").length;
          const leaves = next.step.kind === "remove" && next.step.cause === "leaving";
          const asked =
            leaves || next.step.kind === "complete" || voters(seen) > wanted(seen, policy.maxSeats, policy.evenVoters);
          expect(toleranceIn(after)).toBeGreaterThanOrEqual(0);
          if (!asked) expect(toleranceIn(after)).toBeGreaterThanOrEqual(before);
          expect(voters(after)).toBeGreaterThan(0);
          const learners = after.members.filter((m) => m.role === "learner").length;
          if (next.step.kind === "add-learner") expect(learners).toBe(1);
          seen = after;
        }
      }),
      runs,
    );
  });

  test("a sound cluster keeps as many voters that take part as its size asks for, from the first time that it has them", () => {
    const sizes = fc.constantFrom(1, 2, 3, 4, 5, 7);
    fc.assert(
      fc.property(sizes, wishes, (ideal, answers) => {
        const odd = ideal % 2 === 0 ? ideal - 1 : ideal;
        const voters = ["h1", "h2", "h3", "h4", "h5", "h6", "h7"].slice(0, odd);
        const spares = ["h8", "h9", "h10"];
        let seen = cluster(`ideal ${ideal} | voters ${voters.join(" ")} | spares ${spares.join(" ")}`);
        for (let rounds = 0; rounds < 100; rounds++) {
          seen = { ...seen, wish: readWish("wild", answers.next().value, seen) };
          const next = plan(seen, defaultPolicy);
          if ("step" in next) seen = apply(seen, next.step, next.because);
          const now = seen.members.filter((m) => m.role === "voter").length;
          expect(now).toBeGreaterThanOrEqual(odd);
          expect(now).toBeLessThanOrEqual(odd + 1);
          expect(toleranceIn(seen)).toBeGreaterThanOrEqual(failureTolerance(odd, odd));
        }
      }),
      runs,
    );
  });
});

test("the built-in chooser is a chooser like any other: its wish, handed over as one, leads to the same plan", () => {
  fc.assert(
    fc.property(snapshots, policies, ({ wish: _, ...seen }, policy) => {
      const wish = readWish("mine", dynamicSize.choose(seen, policy), seen);
      expect(wish).toMatchObject({ faults: "seats" in wish && wish.seats.length === 0 ? [expect.any(String)] : [] });
      const [own, given] = [plan(seen, policy), plan({ ...seen, wish }, policy)];
      expect(given).toEqual("step" in own ? { ...own, because: given.because } : own);
    }),
    { numRuns: Number(process.env["RUNS"] ?? 2_000) },
  );
});

test("wrapped, the built-in chooser keeps its order: a host that is filtered out makes way, and is nobody's first choice again", () => {
  const seen = cluster("ideal 3 | voters h1 h2 h3 | spares h4");
  const without = dynamicSize.choose(seen, defaultPolicy).filter((name) => name !== "h2");
  expect(without).toEqual(["h1", "h3", "h4"]);
});

/** Voters that the ideal size asks for, whoever is there. */
function wanted({ idealClusterSize, closing }: ClusterSnapshot, maxSeats: number, evenVoters: boolean): number {
  if (closing !== undefined) return 1; // Size 0 asks for one, and for none at last.
  const seats = Math.min(idealClusterSize, maxSeats);
  return seats % 2 === 0 && !evenVoters ? seats - 1 : seats;
}

/** What is to be seen when every step has been taken. */
function endOf(line: string): ClusterSnapshot {
  let seen = cluster(line);
  for (let steps = 0; steps < 60; steps++) {
    const next = plan(seen, defaultPolicy);
    if (!("step" in next)) return seen;
    seen = apply(seen, next.step, next.because);
  }
  throw new Error(`Cannot end the story of ${line}`);
}
