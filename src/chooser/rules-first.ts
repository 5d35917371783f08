import type { Plan } from "./decision.ts";
import { keepsQuorum } from "./quorum.ts";
import { whyGivenUp } from "./rules-seats.ts";
import type { MemberSeen, OpenStep } from "./snapshot.ts";
import { act, agentsOf, notReady, remove, wait, waitForLearner, type Rule } from "./steps.ts";
import { isReady, safeWithout, takesOver, type Survey } from "./survey.ts";
import { nameOf } from "./words.ts";

/** Rule 1: without a quorum of healthy voters nothing may change. */
export const quorumFirst: Rule = (s) => {
  const [healthy, voters] = [s.healthy.length, s.voters.length];
  if (keepsQuorum(voters, healthy)) return undefined;
  return wait({ on: "quorum", healthy, voters }, `${healthy} of ${voters} voters take part, which is no quorum`);
};

/** Rule 2: with NOSPACE nothing can be recorded; it is healed elsewhere. */
export const spaceFirst: Rule = (s) =>
  s.seen.noSpace ? wait({ on: "space" }, "etcd has no space left and refuses writes") : undefined;

/** Rule 3: a recorded member call is brought to its end before anything else is begun. */
export const openStepFirst: Rule = (s) => {
  const open = s.seen.openStep;
  if (open === undefined) return undefined;
  switch (open.op) {
    case "add-learner":
      return openAdd(s, open);
    case "promote":
      return openPromotion(s, open);
    case "remove":
      return openRemoval(s, open);
  }
};

function complete(open: OpenStep, send: boolean, because: string): Plan {
  return act({ kind: "complete", op: open.op, agent: open.agent, member: open.member, send }, because);
}

function openAdd(s: Survey, open: OpenStep): Plan {
  const name = open.agent ?? "an unknown agent";
  if (open.agent !== undefined && s.seen.members.some((m) => m.agent === open.agent)) {
    return complete(open, false, `the recorded addition of ${name} has happened`);
  }
  const wanted = s.learners.length === 0 && s.spares.some((v) => v.agent === open.agent);
  const nominated = s.seen.nominations.some((n) => n.agent === open.agent);
  if (wanted && nominated) return complete(open, true, `the recorded addition of ${name} has not happened yet`);
  // A learner that still appears has no nomination, and is removed by the rules for learners.
  return complete(open, false, `the recorded addition of ${name} is not wanted any more`);
}

function openPromotion(s: Survey, open: OpenStep): Plan {
  const member = s.seen.members.find((m) => m.id === open.member);
  if (member === undefined) return complete(open, false, "the learner of the recorded promotion is not a member any more");
  if (member.role === "voter") return complete(open, false, `the recorded promotion of ${nameOf(member)} has happened`);
  // A promotion that may still land must not meet a learner that cannot carry a vote: removing that learner makes it impossible.
  const reason = whyGivenUp(member, s) ?? unwanted(s, member);
  if (reason !== undefined) {
    const cause = reason === leaves ? "leaving" : reason === surplus ? "surplus" : "failed-learner";
    return remove(
      member,
      cause,
      `the recorded promotion of ${nameOf(member)} must not land: it ${reason}`,
      cause === "failed-learner" && member.agentLive,
    );
  }
  if (isReady(member, s.policy)) return complete(open, true, `the recorded promotion of ${nameOf(member)} has not happened yet`);
  return waitForLearner(member, `the recorded promotion of ${nameOf(member)} is open; ${notReady(member, s)}`);
}

const leaves = "leaves";
const surplus = "is not needed as a voter any more";

function unwanted(s: Survey, member: MemberSeen): string | undefined {
  if (member.agent !== undefined && s.seen.leaving.includes(member.agent)) return leaves;
  return s.staying.length >= s.hoped.voters && !takesOver(member, s) ? surplus : undefined;
}

function openRemoval(s: Survey, open: OpenStep): Plan {
  const member = s.seen.members.find((m) => m.id === open.member);
  if (member === undefined) return complete(open, false, "the recorded removal has happened");
  if (member.role === "learner" || safeWithout(s, member)) {
    return complete(open, true, `the recorded removal of ${nameOf(member)} has not happened yet`);
  }
  if (open.openForMs >= s.policy.openStepTimeoutMs) {
    return complete(open, false, `the recorded removal of ${nameOf(member)} can not land any more`);
  }
  const missing = s.voters.filter((m) => !s.healthy.includes(m));
  const { op, agent, member: id } = open;
  const why =
    missing.length === 0
      ? "would leave no voter"
      : `would cost quorum while ${agentsOf(missing)} ${missing.length === 1 ? "takes" : "take"} no part`;
  return wait({ on: "open-step", op, agent, member: id }, `the recorded removal of ${nameOf(member)} ${why}`);
}
