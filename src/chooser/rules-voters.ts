import type { Plan } from "./decision.ts";
import { keepsQuorum } from "./quorum.ts";
import { takesPart } from "./rank.ts";
import type { MemberSeen } from "./snapshot.ts";
import {
  agentsOf,
  bury,
  letGo,
  obituary,
  promote,
  remove,
  successor,
  wait,
  waitForPreflight,
  waitForReturn,
  type Rule,
} from "./steps.ts";
import { deathsCostTolerance, safeWithout, takesOver, unwishedOf, type Survey } from "./survey.ts";
import { listOf, nameOf } from "./words.ts";

/** Rule 6: who asked to leave is replaced first where that can be, and let go then; the last one stays. */
export const leaversGo: Rule = (s) => {
  const learner = s.learners.find((m) => m.agent !== undefined && s.seen.leaving.includes(m.agent));
  const first = s.leavers[0];
  const leaver = learner ?? first;
  if (leaver === undefined) return undefined;
  if (nobodyStays(s)) return wait({ on: "stayer", leaving: s.seen.leaving.toSorted() }, whyNobodyStays(s));
  if (learner !== undefined) return remove(learner, "leaving", `learner ${nameOf(learner)} leaves`);
  if (first === undefined) return undefined;

  const why = `${nameOf(first)} leaves`;
  if (s.staying.length < s.target.voters) {
    const next = successor(s, why, false);
    if (next !== undefined) {
      if (!("ready" in next)) return next;
      return promote(next.ready, `${why}, and ${nameOf(next.ready)} takes its vote over`);
    }
  }
  if (s.staying.length < s.hoped.voters && s.pending.length > 0) {
    return waitForPreflight(s, `${why}, and ${listOf(s.pending)} may take its vote over after the pre-flight`);
  }
  const left = s.staying.filter(takesPart);
  if (left.length === 0) {
    const absent = [...s.staying, ...s.dead].filter((m) => m.agent === undefined || !s.seen.leaving.includes(m.agent));
    return waitForReturn(absent, `${why}, but of those that stay nobody takes part`);
  }
  const dead = s.dead[0];
  const enough = s.staying.length >= s.target.voters;
  if (dead !== undefined && enough) return bury(s, dead, `${obituary(s, dead)}, and no vote is missing without it`);
  const victim = s.leavers.find((m) => safeWithout(s, m));
  if (victim !== undefined) {
    return letGo(s, victim, "leaving", `${nameOf(victim)} leaves${enough ? "" : ", and nobody can take its vote over"}`);
  }
  if (dead !== undefined) return bury(s, dead, `${obituary(s, dead)}, and ${nameOf(first)} can not leave before it is out`);
  const missing = s.voters.filter((m) => !takesPart(m));
  return waitForReturn(missing, `${why}, but quorum would be lost while ${agentsOf(missing)} ${are(missing)} missing`);
};

/** Rule 7: a dead voter is replaced by a learner in sync; removed without one only where that lets more voters die. */
export const deadAreReplaced: Rule = (s) => {
  const first = s.dead[0];
  if (first === undefined) return undefined;
  const why = obituary(s, first);
  if (s.staying.length >= s.target.voters) return bury(s, first, `${why}, and no vote is missing without it`);
  const next = successor(s, why, false);
  if (next !== undefined) {
    if (!("ready" in next)) return next;
    const name = nameOf(next.ready);
    return removeBeforePromotion(s)
      ? bury(s, first, `${why}, and ${name} is in sync`)
      : promote(next.ready, `${why}, and ${name} is in sync`);
  }
  if (s.pending.length > 0) return waitForPreflight(s, `${why}, and ${listOf(s.pending)} may replace it after the pre-flight`);
  if (first.agent !== undefined && s.seen.leaving.includes(first.agent)) return bury(s, first, why);
  if (deathsCostTolerance(s))
    return bury(s, first, `${why}, nobody can replace it, and without the dead the others survive more`);
  const wiped = s.dead.find((m) => m.report === "lost-data" && m.agentLive);
  if (wiped !== undefined) return bury(s, wiped, `${obituary(s, wiped)} and can only come back as a new member`);
  return waitForReturn(
    s.dead,
    `${why} and ${unwishedOf(s).length > 0 ? "the chooser wishes for no spare" : "there is no spare"}, so ${s.dead.length === 1 ? "it keeps its seat" : "the dead keep their seats"}`,
  );
};

/**
 * With a learner in sync: an odd number of voters loses the dead one first and is odd again after the promotion; an
 * even number below the target takes the learner first, as the dead seat costs it nothing and may come back.
 */
function removeBeforePromotion(s: Survey): boolean {
  return s.voters.length % 2 === 1 || s.voters.length >= s.target.voters;
}

/** Rule 8: more seats than wanted. The learner goes first, then the worst voter, and only while all others are well. */
export const surplusGoes: Rule = (s) => {
  const extra = surplusLearner(s);
  const learnerFirst = extra !== undefined;
  if (!learnerFirst && s.staying.length <= s.target.voters) return undefined;
  const why = whyFewer(s);
  if (!learnerFirst && s.staying.length <= s.hoped.voters) {
    return waitForPreflight(
      s,
      `one voter is too many unless ${listOf(s.pending)} pass${s.pending.length === 1 ? "es" : ""} the pre-flight`,
    );
  }
  const victim = extra ?? s.staying.find((m) => mayGo(m, s));
  if (victim === undefined) return undefined;
  if (s.seen.leaderForMs < s.policy.settleMs) {
    return wait(
      { on: "leadership", forMs: s.policy.settleMs },
      `${why}, but this leader is new and waits before it removes anybody`,
    );
  }
  if (extra !== undefined) return remove(extra, "surplus", `${why}, so learner ${nameOf(extra)} is let go`);
  const isChosen = victim.agent === undefined || s.chosen.has(victim.agent) || s.seen.wish === undefined;
  const because = `${why}, so voter ${nameOf(victim)} is let go${isChosen ? "" : ", as the chooser wishes for others"}`;
  return isSteadyWithout(s, victim, why) ?? letGo(s, victim, "surplus", because);
};

function whyFewer({ seen, target, closes }: Survey): string {
  if (closes) return "the size is 0, and one member is kept for the end";
  return `the ideal size is ${seen.idealClusterSize}, and ${target.seats === 1 ? "1 seat is" : `${target.seats} seats are`} wanted`;
}

/** The learner that nobody needs: not as a voter, not as the even seat, not as the standby, not in place of a voter. */
function surplusLearner(s: Survey): MemberSeen | undefined {
  if (s.learners.length > 1) return s.learners[0];
  const standby = s.policy.standbys > 0 && s.target.seats < s.policy.maxSeats;
  const takes = s.learners.some((m) => takesOver(m, s));
  const needed = s.staying.length < s.hoped.voters || s.target.seats > s.target.voters || standby || takes;
  return needed ? undefined : s.learners[0];
}

/** A voter of a known agent that has not announced a restart. */
export function mayGo(m: MemberSeen, s: Survey): boolean {
  return m.agent !== undefined && !s.seen.restarting.includes(m.agent);
}

/**
 * How long a voter must have been silent before it is let go for being one too many. To a peer that is cut off in silence the entries that
 * the raft leader sends hang at once when there are many, for 5 s (`rafthttp.ConnWriteTimeout`). A removal meanwhile has to wait for that
 * write, and every other write with it. (The heartbeats go another way, which hangs later: the gate sees to that.)
 */
export const silenceBeforeRemovalMs = 6_000;

/** A wait while the others could not bear the removal, or it would hold them up, else undefined. */
export function isSteadyWithout(s: Survey, victim: MemberSeen, why: string): Plan | undefined {
  const others = s.voters.filter((m) => m !== victim);
  const forMs = s.policy.healthBeforeRemovalMs;
  const steady = others.filter((m) => takesPart(m) && m.healthyForMs >= forMs);
  const absent = others.filter((m) => !takesPart(m));
  if (takesPart(victim) ? steady.length === others.length : keepsQuorum(others.length, steady.length)) {
    if (victim.answers || victim.unansweredForMs >= silenceBeforeRemovalMs) return undefined;
    const because = `${why}, but ${nameOf(victim)} fell silent a moment ago, and its removal might hold writes up`;
    return wait({ on: "health", forMs: silenceBeforeRemovalMs }, because);
  }
  if (takesPart(victim) && absent.length > 0) {
    return waitForReturn(absent, `${why}, but nobody is let go while ${agentsOf(absent)} ${are(absent)} missing`);
  }
  return wait({ on: "health", forMs }, `${why}, but not all others have been healthy for long enough`);
}

/** No seat, and nobody who could take one, would be left. */
function nobodyStays(s: Survey): boolean {
  const { members, leaving } = s.seen;
  return (
    s.spares.length === 0 && s.pending.length === 0 && members.every((m) => m.agent !== undefined && leaving.includes(m.agent))
  );
}

function whyNobodyStays(s: Survey): string {
  const { volunteers, leaving, members } = s.seen;
  const others = volunteers
    .filter((v) => !leaving.includes(v.agent) && !members.some((m) => m.agent === v.agent))
    .map((v) => v.agent);
  return others.length === 0
    ? "every agent leaves, so all stop in place and keep their data"
    : `every agent with a seat leaves, and ${listOf(others)} can not take over, so all stop in place and keep their data`;
}

function are(members: readonly MemberSeen[]): string {
  return members.length === 1 ? "is" : "are";
}
