import { isSteadyWithout, mayGo } from "./rules-voters.ts";
import type { Wish } from "./snapshot.ts";
import { act, notReady, promote, remove, wait, waitForLearner, type Rule } from "./steps.ts";
import { isReady, type Survey } from "./survey.ts";
import { nameOf } from "./words.ts";

const how: Readonly<Record<Extract<Wish, { failed: string }>["failed"], string>> = {
  late: "did not answer in time",
  threw: "failed",
  "no-list": "did not return a list of names",
  unknown: "has a wish that is not known",
};

/** Before any choice of seats: without a wish nobody gains or loses one. */
export const wishFirst: Rule = ({ seen: { wish } }) => {
  if (wish === undefined || !("failed" in wish)) return undefined;
  return wait({ on: "chooser", chooser: wish.by }, `the chooser ${wish.by} ${how[wish.failed]}, so nobody gains or loses a seat`);
};

/**
 * After rule 8: a seat of one that the chooser does not choose goes to one that it does. The newcomer is a learner first, and is
 * promoted only when the other can be let go right after it, so that an even number of voters does not last.
 */
export const seatsChangeHands: Rule = (s) => {
  const { learner } = s;
  const victim = s.staying.find((m) => m.agent !== undefined && !s.chosen.has(m.agent) && mayGo(m, s));
  if (learner !== undefined && s.chosen.has(learner.agent ?? "")) {
    if (victim === undefined || s.staying.length < s.target.voters) return undefined;
    const why = `${chooserOf(s)} wishes for ${nameOf(learner)} in place of ${nameOf(victim)}`;
    if (!isReady(learner, s.policy)) return waitForLearner(learner, `${why}; ${notReady(learner, s)}`);
    const forMs = s.policy.healthBeforeRemovalMs;
    if (learner.healthyForMs < forMs) {
      return wait({ on: "health", forMs }, `${why}, but learner ${nameOf(learner)} has not been healthy for long enough`);
    }
    return isNewLeader(s, why) ?? isSteadyWithout(s, victim, why) ?? promote(learner, why);
  }
  const newcomer = s.spares.find((v) => s.chosen.has(v.agent))?.agent;
  if (newcomer === undefined || s.staying.length + s.learners.length < s.target.seats) return undefined;
  const loser = learner ?? victim;
  if (loser === undefined) return undefined;
  const why = `${chooserOf(s)} wishes for ${newcomer} in place of ${nameOf(loser)}`;
  const notYet = isNewLeader(s, why);
  if (notYet !== undefined) return notYet;
  // There is one learner slot: it is made free first.
  if (learner !== undefined) return remove(learner, "surplus", why);
  const nominated = s.seen.nominations.some((n) => n.agent === newcomer);
  return (
    isSteadyWithout(s, loser, why) ??
    (nominated
      ? act({ kind: "add-learner", agent: newcomer }, `${why}; ${newcomer} is nominated and joins as a learner`)
      : act({ kind: "nominate", agent: newcomer, standby: false }, why))
  );
};

function isNewLeader(s: Survey, why: string): ReturnType<Rule> {
  const forMs = s.policy.settleMs;
  if (s.seen.leaderForMs >= forMs) return undefined;
  return wait({ on: "leadership", forMs }, `${why}, but this leader is new and waits before it removes anybody`);
}

function chooserOf({ seen: { wish } }: Survey): string {
  return wish === undefined ? "the chooser" : `the chooser ${wish.by}`;
}
