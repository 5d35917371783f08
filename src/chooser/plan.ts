import type { Planner } from "./decision.ts";
import { closedIsOver, closingIsHeld, lastOneCloses } from "./rules-closing.ts";
import { openStepFirst, quorumFirst, spaceFirst } from "./rules-first.ts";
import { badLearner, nominationsFollow } from "./rules-seats.ts";
import { readyArePromoted, seatsAreFilled, settle, standbyIsKept, unwantedAreWithdrawn } from "./rules-size.ts";
import { deadAreReplaced, leaversGo, surplusGoes } from "./rules-voters.ts";
import { seatsChangeHands, wishFirst } from "./rules-wish.ts";
import type { Rule } from "./steps.ts";
import { survey } from "./survey.ts";

/** Rules 1 to 11 of the chooser and those of size 0, in order: the first that matches decides. The order is the safety argument. */
const rules: readonly Rule[] = [
  quorumFirst,
  spaceFirst,
  openStepFirst,
  closedIsOver,
  badLearner,
  nominationsFollow,
  wishFirst,
  leaversGo,
  deadAreReplaced,
  closingIsHeld,
  surplusGoes,
  seatsChangeHands,
  readyArePromoted,
  seatsAreFilled,
  standbyIsKept,
  unwantedAreWithdrawn,
  lastOneCloses,
];

/** Chooses the one next step, or says what it waits for, or that nothing is to be done. */
export const plan: Planner = (seen, policy) => {
  if (seen.paused !== undefined) {
    const wouldBe = plan({ ...seen, paused: undefined }, policy);
    const wouldDo = "step" in wouldBe ? wouldBe.step : undefined;
    return { waiting: { on: "resume", wouldDo }, because: `the chooser is paused: ${seen.paused}` };
  }
  const s = survey(seen, policy);
  for (const rule of rules) {
    const matched = rule(s);
    if (matched !== undefined) return matched;
  }
  return settle(s);
};
