import { describe, expect, test } from "vitest";
import { plan, type Planner } from "../../src/chooser/index.ts";
import { simulate, type SimOptions } from "../support/sim.ts";

// SEED=n replays one life of a cluster, SEEDS=n plays n of them per policy. What fails prints its seed and its last rounds.
const only = process.env["SEED"];
const seeds = Number(process.env["SEEDS"] ?? 200);

function lives(options: SimOptions, share = 1): void {
  if (only !== undefined) {
    simulate(Number(only), options);
    return;
  }
  for (let seed = 1; seed <= Math.ceil(seeds * share); seed++) simulate(seed, options);
}

const patience = 60_000 + seeds * 100;

describe("crashes, wedges, leaves, returns, resizes, late looks and lost calls never cost quorum, and end in the ideal size", () => {
  test("with the policy as it comes", { timeout: patience }, () => {
    lives({});
  });
  test("with even voters", { timeout: patience }, () => {
    lives({ policy: { evenVoters: true } }, 0.3);
  });
  test("with a standby", { timeout: patience }, () => {
    lives({ policy: { standbys: 1 } }, 0.3);
  });
  test("with etcd's strict check", { timeout: patience }, () => {
    lives({ policy: { strictReconfigCheck: true } }, 0.3);
  });
  test("with five seats at most, a standby and even voters", { timeout: patience }, () => {
    lives({ policy: { maxSeats: 5, standbys: 1, evenVoters: true } }, 0.3);
  });
});

describe.skipIf(only !== undefined)("the net holds: the simulation finds planted mistakes", () => {
  function findsOne(options: SimOptions): void {
    const found: string[] = [];
    for (let seed = 1; seed <= 150 && found.length === 0; seed++) {
      try {
        simulate(seed, options);
      } catch (error) {
        found.push(error instanceof Error ? error.message : String(error));
      }
    }
    expect(found.join()).toMatch(/seed [0-9]+: /);
  }

  const blind: Planner = (seen, policy) => {
    const members = seen.members.map((m) => ({ ...m, answers: true, heard: true, healthyForMs: 60_000, lag: 0 }));
    return plan({ ...seen, members }, policy);
  };
  const hasty: Planner = (seen, policy) => plan({ ...seen, restarting: [] }, policy);
  const forgetful: Planner = (seen, policy) => plan({ ...seen, openStep: undefined, passedOver: [] }, policy);

  test("a chooser that believes every member to be well", { timeout: patience }, () => {
    findsOne({ planner: blind, recheck: false });
  });
  test("a chooser that forgets announced restarts", { timeout: patience }, () => {
    findsOne({ planner: hasty });
  });
  test("a chooser that forgets open steps and cool-downs", { timeout: patience }, () => {
    findsOne({ planner: forgetful });
  });
  test("a leader that does not look again before it acts", { timeout: patience }, () => {
    findsOne({ recheck: false, lateness: 0.9 });
  });
});

test("one seed is one life: the same rounds, each time", () => {
  expect(simulate(7)).toEqual(simulate(7));
});
