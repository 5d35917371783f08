import { whyDead } from "./dead.ts";
import { byText } from "./rank.ts";
import type { MemberSeen } from "./snapshot.ts";
import { act, remove, type Rule } from "./steps.ts";
import { toleranceOf, type Survey } from "./survey.ts";
import { nameOf } from "./words.ts";

/**
 * Rule 4: a learner that is unknown, or will not become a voter, frees the one learner slot. Its agent is passed over where it lives. One that
 * lost its session has to volunteer anew, and is the youngest volunteer then: every other spare comes first, and where there is no other, a
 * busy moment must not cost the cluster a minute.
 */
export const badLearner: Rule = (s) => {
  const stranger = s.learners.find((m) => m.agent === undefined);
  if (stranger !== undefined) return remove(stranger, "unknown-learner", `no agent is known for the learner ${nameOf(stranger)}`);
  for (const learner of s.learners) {
    const reason = whyGivenUp(learner, s);
    if (reason !== undefined) return remove(learner, "failed-learner", `learner ${nameOf(learner)} ${reason}`, learner.agentLive);
  }
  return undefined;
};

/** Why a learner is given up, or undefined while there is hope. */
export function whyGivenUp(m: MemberSeen, s: Survey): string | undefined {
  const { seen, policy } = s;
  const dead = whyDead(m, seen, policy);
  if (dead !== undefined) return dead;
  if (m.report === "failed") return "reports that its server failed";
  if (m.report === "lost-data") return "has lost its data";
  if (!m.agentLive && !(m.agent !== undefined && seen.restarting.includes(m.agent))) return "has no agent any more";
  if (!m.started && m.knownForMs >= nomineeTimeout(m, s)) return "has not started in time";
  if (m.lag !== undefined && m.lag > policy.maxLag && m.stalledForMs >= policy.stallTimeoutMs) return "lags and does not move";
  // Heard, so not dead; but what never answers can never be promoted, and there is one learner slot.
  if (m.unansweredForMs >= policy.syncTimeoutMs) return "has not answered for too long";
  return undefined;
}

/**
 * How long a learner may take to start. At tolerance 0 time matters, where giving up leads on: to another spare, or from
 * two voters back to one. One that the raft leader hears runs already, and may still receive a large snapshot.
 */
function nomineeTimeout(m: MemberSeen, s: Survey): number {
  const { nomineeTimeoutMs, urgentNomineeTimeoutMs, syncTimeoutMs } = s.policy;
  if (m.heard === true) return syncTimeoutMs;
  const urgent = toleranceOf(s) === 0 && (s.spares.length > 0 || s.voters.length === 2);
  return urgent ? Math.min(urgentNomineeTimeoutMs, nomineeTimeoutMs) : nomineeTimeoutMs;
}

/** Rule 5: nominations follow the seats. Voters are never removed for lack of one. */
export const nominationsFollow: Rule = (s) => {
  const { members, nominations, leaving } = s.seen;
  for (const { agent, member } of nominations.toSorted((a, b) => byText(a.agent, b.agent))) {
    if (members.some((m) => m.agent === agent)) continue;
    if (member !== undefined) return act({ kind: "withdraw", agent }, `the seat of ${agent} is gone`);
    const reason = whyNotNominee(agent, s);
    if (reason !== undefined) return act({ kind: "withdraw", agent }, `${agent} is nominated, but ${reason}`);
  }
  for (const m of members.toSorted((a, b) => byText(a.id, b.id))) {
    // Nobody could say for which instance a nomination of an absent agent is.
    if (m.agent === undefined || !m.agentLive || leaving.includes(m.agent)) continue;
    const nomination = nominations.find((n) => n.agent === m.agent);
    if (nomination?.member === m.id) continue;
    const second =
      nomination?.member !== undefined && members.some((other) => other.id === nomination.member && other.agent === m.agent);
    // A learner is nominated before it is added: one without a nomination is not wanted. One whose nomination lacks the
    // member id was only not finished.
    if (m.role === "learner" && (nomination === undefined || second)) {
      return remove(m, "surplus", `learner ${m.agent} is ${second ? "a second seat of its agent" : "not nominated"}`);
    }
    if (second) continue;
    return act({ kind: "renominate", agent: m.agent, member: m.id }, `${m.role} ${m.agent} has lost its nomination`);
  }
  return undefined;
};

function whyNotNominee(agent: string, s: Survey): string | undefined {
  const { volunteers, leaving, passedOver } = s.seen;
  const volunteer = volunteers.find((v) => v.agent === agent);
  if (volunteer === undefined) return "does not volunteer";
  if (leaving.includes(agent)) return "leaves";
  if (passedOver.some((p) => p.agent === agent)) return "was passed over";
  if (!s.wished.has(agent)) return "is not wished for any more";
  return volunteer.preflight.state === "failed" ? "failed the pre-flight" : undefined;
}
