import { whyDead } from "./dead.ts";
import type { Plan, Step, Waiting } from "./decision.ts";
import { takesPart } from "./rank.ts";
import type { MemberSeen } from "./snapshot.ts";
import { isReady, strictCheckRefusesAdd, type Survey } from "./survey.ts";
import { listOf, nameOf } from "./words.ts";

/** One rule of the chooser: its plan where it matches, undefined where the next rule is to be asked. */
export type Rule = (s: Survey) => Plan | undefined;

export function act(step: Step, because: string): Plan {
  return { step, because };
}

export function wait(waiting: Waiting, because: string): Plan {
  return { waiting, because };
}

export function promote(m: MemberSeen, because: string): Plan {
  return act({ kind: "promote", agent: m.agent, member: m.id }, because);
}

export function remove(
  m: MemberSeen,
  cause: Extract<Step, { kind: "remove" }>["cause"],
  because: string,
  passOver: boolean = false,
): Plan {
  return act({ kind: "remove", agent: m.agent, member: m.id, cause, passOver }, because);
}

/** Removes a voter that takes part; raft leadership is moved away from it first. */
export function letGo(s: Survey, m: MemberSeen, cause: "surplus" | "leaving", because: string): Plan {
  const restarting = (other: MemberSeen): boolean => other.agent !== undefined && s.seen.restarting.includes(other.agent);
  const to = s.staying.findLast((other) => other !== m && takesPart(other) && !restarting(other));
  if (!m.raftLeader || !m.answers || to === undefined) return remove(m, cause, because);
  return act(
    { kind: "move-leader", from: m.id, fromAgent: m.agent, to: to.id, toAgent: to.agent },
    `${because}; it is the raft leader, so ${nameOf(to)} takes that over first`,
  );
}

/** Removes a dead voter. An agent that lives with a broken server is not asked again for a while; one that only lost its data may be. */
export function bury(s: Survey, m: MemberSeen, because: string): Plan {
  const leaving = m.agent !== undefined && s.seen.leaving.includes(m.agent);
  return remove(m, leaving ? "leaving" : "dead", because, !leaving && m.agentLive && m.report !== "lost-data");
}

/** `h3 is gone with its agent`, for any member of `s.dead`. */
export function obituary(s: Survey, m: MemberSeen): string {
  return `${nameOf(m)} ${whyDead(m, s.seen, s.policy) ?? "leaves and does not take part any more"}`;
}

export function waitForReturn(members: readonly MemberSeen[], because: string): Plan {
  return wait({ on: "return", agents: members.map((m) => m.agent ?? m.id).toSorted() }, because);
}

export function waitForPreflight(s: Survey, because: string): Plan {
  return wait({ on: "preflight", agents: s.pending }, because);
}

export function waitForLearner(m: MemberSeen, because: string): Plan {
  return wait({ on: "learner", agent: m.agent, member: m.id }, because);
}

/** What keeps a learner from being promoted, in words that do not tick. */
export function notReady(m: MemberSeen, s: Survey): string {
  if (!m.started) return `learner ${nameOf(m)} has not started yet`;
  if (!takesPart(m)) return `learner ${nameOf(m)} does not answer`;
  if (!m.agentLive) return `the agent of learner ${nameOf(m)} is away`;
  if (m.lag === undefined || m.lag > s.policy.maxLag) return `learner ${nameOf(m)} is catching up`;
  return `learner ${nameOf(m)} has not been healthy for long enough`;
}

/** A learner that may be promoted now, the plan that leads to one, or undefined where none can be had. */
export type Successor = { readonly ready: MemberSeen } | Plan | undefined;

/** The one way to a new voter: the learner there is, else the best spare, nominated first and added then. */
export function successor(s: Survey, why: string, standby: boolean): Successor {
  const { learner } = s;
  if (learner !== undefined) {
    return isReady(learner, s.policy) ? { ready: learner } : waitForLearner(learner, `${why}; ${notReady(learner, s)}`);
  }
  const spare = s.spares[0];
  if (spare === undefined || s.learners.length > 0) return undefined;
  const { agent } = spare;
  if (s.seen.nominations.some((n) => n.agent === agent)) {
    const dead = s.dead[0];
    if (dead !== undefined && strictCheckRefusesAdd(s)) {
      return bury(s, dead, `${obituary(s, dead)}, and etcd's strict check lets nobody in before it is out`);
    }
    return act({ kind: "add-learner", agent }, `${why}; ${agent} is nominated and joins as a learner`);
  }
  return act({ kind: "nominate", agent, standby }, `${why}; ${agent} is the first of the spares`);
}

export function agentsOf(members: readonly MemberSeen[]): string {
  return listOf(members.map(nameOf));
}
