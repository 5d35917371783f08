import { describe, expect, test } from "vitest";
import { hasSize, notes, sizeText } from "../../src/cli/size.ts";
import { host, view } from "../support/cluster-view.ts";

const voters = (n: number): ReturnType<typeof host>[] =>
  Array.from({ length: n }, (_, i) => host(`h${i + 1}`, { seat: "voter" }));

describe("a cluster has its size", () => {
  test("when the seats are filled in the right roles and the leader is done", () => {
    expect(hasSize(view(voters(3)), 3)).toBe(true);
    expect(hasSize(view([...voters(3), host("h4", { seat: "learner" })]), 4)).toBe(true);
  });

  test("but not with a learner that is to be a voter, nor with an even number of voters", () => {
    expect(hasSize(view([...voters(2), host("h3", { seat: "learner" })]), 3)).toBe(false);
    expect(hasSize(view(voters(4)), 4)).toBe(false);
    expect(hasSize(view(voters(4), { evenVoters: true }), 4)).toBe(true);
  });

  test("with the standby that the policy asks for, where there is one", () => {
    const four = [...voters(3), host("h4", { seat: "learner" })];
    expect(hasSize(view(four, { ideal: 3, standbys: 1 }), 3)).toBe(true);
    expect(hasSize(view(voters(3), { ideal: 3, standbys: 1 }), 3)).toBe(true);
    expect(hasSize(view(four, { ideal: 3 }), 3)).toBe(false);
    expect(hasSize(view(four, { ideal: 3, standbys: 1, maxSeats: 3 }), 3)).toBe(false);
  });

  test("but not while the leader acts, waits, or has not seen the new size", () => {
    const seen = view(voters(3));
    expect(hasSize({ ...seen, plan: { ...seen.plan!, kind: "waiting" } }, 3)).toBe(false);
    expect(hasSize({ ...seen, plan: { ...seen.plan!, ideal: 5 } }, 3)).toBe(false);
    expect(hasSize({ ...seen, plan: undefined }, 3)).toBe(false);
  });

  test("when all seats that may be filled are, whatever was asked for", () => {
    expect(hasSize(view(voters(7), { ideal: 9 }), 9)).toBe(true);
  });
});

describe("the notes on a size", () => {
  test("say how many agents are missing", () => {
    expect(notes(5, view([...voters(1), host("h2")]))).toEqual([
      "only 2 agents are there to hold a seat; the cluster grows as others join",
    ]);
  });

  test("say why an even size has a learner", () => {
    expect(notes(2, view(voters(3)))).toEqual(["the second seat stays a learner: two voters survive no loss"]);
    expect(notes(4, view(voters(5)))).toEqual(["the last seat stays a learner: 4 voters survive no more losses than 3"]);
    expect(notes(4, view(voters(5), { evenVoters: true }))).toEqual([]);
  });

  test("say what is filled at most", () => {
    expect(notes(9, view(voters(7)))).toEqual(["at most 7 seats are filled"]);
  });
});

test("the size is told with what is there now", () => {
  expect(sizeText(view(voters(3)), 3, undefined)).toBe("3 (3 members now; settled: 3 voters, can lose 1)");
  expect(sizeText(view(voters(3)), 3, 1_234)).toBe("3 (3 members now after 1.2 s; settled: 3 voters, can lose 1)");
  expect(sizeText(view(voters(1), { sizeText: "many" }), undefined, undefined)).toBe('"many" is not a size (1 member)');
});
