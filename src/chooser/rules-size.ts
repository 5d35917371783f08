import type { Plan, Settled } from "./decision.ts";
import { byText, takesPart } from "./rank.ts";
import {
  act,
  agentsOf,
  notReady,
  promote,
  successor,
  waitForLearner,
  waitForPreflight,
  waitForReturn,
  type Rule,
} from "./steps.ts";
import { isReady, toleranceOf, unwishedOf, type Survey } from "./survey.ts";
import { count, listOf, nameOf } from "./words.ts";

/** Rule 9: a learner in sync becomes a voter where one is missing. */
export const readyArePromoted: Rule = (s) => {
  const { learner, target } = s;
  if (learner === undefined || s.staying.length >= target.voters) return undefined;
  const why = `${count(s.staying.length, "voter")} of ${target.voters}`;
  return isReady(learner, s.policy)
    ? promote(learner, `${why}, and learner ${nameOf(learner)} is in sync`)
    : waitForLearner(learner, `${why}; ${notReady(learner, s)}`);
};

/** Rule 10: a missing seat goes to the best spare, as a learner. */
export const seatsAreFilled: Rule = (s) => {
  const seats = s.staying.length + s.learners.length;
  if (seats >= s.target.seats || s.learners.length > 0) return undefined;
  return plannedBy(successor(s, `${count(seats, "seat")} of ${s.target.seats}`, s.staying.length >= s.target.voters));
};

/** Rule 11: a standby beyond the target, where the policy asks for one and the target has no even seat. */
export const standbyIsKept: Rule = (s) => {
  const seats = s.staying.length + s.learners.length;
  if (s.policy.standbys === 0 || s.learners.length > 0 || seats >= s.policy.maxSeats) return undefined;
  return plannedBy(successor(s, "a standby is wanted", true));
};

function plannedBy(next: ReturnType<typeof successor>): Plan | undefined {
  return next === undefined || "ready" in next ? undefined : next;
}

/** A nomination that no seat is left for. */
export const unwantedAreWithdrawn: Rule = (s) => {
  if (s.staying.length + s.learners.length < s.hoped.seats) return undefined;
  const unseated = s.seen.nominations.map((n) => n.agent).filter((name) => !s.seen.members.some((m) => m.agent === name));
  const [agent] = unseated.toSorted(byText);
  return agent === undefined ? undefined : act({ kind: "withdraw", agent }, `${agent} is nominated, but no seat is left`);
};

/** Rule 12: nothing to do, or nothing before somebody comes back. */
export const settle = (s: Survey): Plan => {
  const absent = s.voters.filter((m) => !takesPart(m));
  if (absent.length > 0) {
    const restarting = absent.every((m) => m.agent !== undefined && s.seen.restarting.includes(m.agent));
    const verb = restarting
      ? absent.length === 1
        ? "restarts"
        : "restart"
      : absent.length === 1
        ? "takes no part"
        : "take no part";
    return waitForReturn(
      absent,
      `${agentsOf(absent)} ${verb} and ${absent.length === 1 ? "keeps its seat" : "keep their seats"}`,
    );
  }
  const { learner } = s;
  if (learner !== undefined && !isReady(learner, s.policy)) return waitForLearner(learner, notReady(learner, s));
  const wanted = Math.min(s.seen.idealClusterSize, s.policy.maxSeats);
  const seats = s.seen.members.length;
  if (seats < wanted && s.pending.length > 0) {
    return waitForPreflight(s, `${count(seats, "seat")} of ${wanted}; the pre-flight of ${listOf(s.pending)} has no verdict yet`);
  }
  const settled: Settled = {
    voters: s.voters.length,
    learners: s.learners.length,
    failureTolerance: toleranceOf(s),
    ...blockedBy(s, seats, wanted),
  };
  return {
    settled,
    because: `${count(seats, "member")} of ${wanted}${learner === undefined ? "" : `, ${nameOf(learner)} as a learner`}`,
  };
};

/** What keeps the cluster from its ideal size, the nearest cause first, and what follows when that one is gone. */
function blockedBy(s: Survey, seats: number, wanted: number): Pick<Settled, "next" | "blockedBy"> {
  const { idealClusterSize: ideal } = s.seen;
  const causes: (readonly [cause: string, next: string])[] = [];
  if (seats < wanted) {
    for (const v of s.seen.volunteers.toSorted((a, b) => byText(a.agent, b.agent))) {
      const passedOver = s.seen.passedOver.find((p) => p.agent === v.agent);
      if (s.seen.members.some((m) => m.agent === v.agent) || s.seen.leaving.includes(v.agent)) continue;
      if (passedOver !== undefined) {
        causes.push([`${v.agent} was passed over: ${passedOver.reason}`, `nominate ${v.agent} when that was long enough ago`]);
      } else if (v.preflight.state === "failed") {
        const cause = `${v.agent} failed the pre-flight: ${v.preflight.reason}`;
        causes.push([cause, `nominate ${v.agent} once it passes the pre-flight`]);
      }
    }
    const unwished = unwishedOf(s);
    if (unwished.length > 0) {
      causes.push([
        `the chooser does not wish for ${listOf(unwished)}`,
        "nominate whom the chooser wishes for, once it wishes for more",
      ]);
    }
    causes.push([
      `${wanted - seats} more ${wanted - seats === 1 ? "volunteer is" : "volunteers are"} needed for the ideal size of ${ideal}`,
      "nominate the next agent that volunteers and passes the pre-flight",
    ]);
  }
  const kept = s.staying.flatMap((m) => m.agent ?? []).filter((agent) => !s.wished.has(agent));
  if (kept.length > 0) {
    const [keep, them] = kept.length === 1 ? ["keeps its seat", "it"] : ["keep their seats", "them"];
    causes.push([
      `${listOf(kept)} ${keep}: the chooser does not wish for ${them}, but for nobody else who could take over`,
      "give the seat to the next one that the chooser wishes for and that can hold it",
    ]);
  }
  const strangers = s.voters.filter((m) => m.agent === undefined).map((m) => m.id);
  if (s.voters.length > s.target.voters && strangers.length > 0) {
    causes.push([
      `${count(strangers.length, "member")} that Quorate did not add and never removes: ${listOf(strangers)}`,
      "fill the seats that are wanted once whoever added them has removed them",
    ]);
  }
  if (ideal > s.policy.maxSeats) {
    causes.push([
      `at most ${s.policy.maxSeats} seats are filled (max seats)`,
      "fill more seats once `quorate policy set --max-seats` allows them",
    ]);
  }
  const [first] = causes;
  return { next: first?.[1], blockedBy: first && causes.map(([cause]) => cause).join("; ") };
}
