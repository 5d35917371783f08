import type { ChooserPolicy } from "./policy.ts";
import { takesPart } from "./rank.ts";
import type { ClusterSnapshot, MemberSeen } from "./snapshot.ts";

/**
 * Why a member is dead, or undefined while it may live. It must neither answer nor be heard by the raft leader, and
 * something besides must say that it does not come back by itself. An announced restart keeps the seat, unless the
 * agent is back and says that the data is lost. A member of no agent is nobody's to judge.
 */
export function whyDead(m: MemberSeen, seen: ClusterSnapshot, policy: ChooserPolicy): string | undefined {
  if (m.agent === undefined || m.answers || m.heard === true) return undefined;
  if (m.report === "lost-data") return "has lost its data";
  if (seen.restarting.includes(m.agent)) return undefined;
  if (m.report === "failed") return "reports that its server failed";
  if (!m.agentLive) return "is gone with its agent";
  // A learner that never started has a time limit of its own.
  if (m.role === "learner" && !m.started) return undefined;
  return m.unansweredForMs >= policy.unansweredTimeoutMs ? "has not answered for too long" : undefined;
}

export function isLeaving(m: MemberSeen, seen: ClusterSnapshot): boolean {
  return m.agent !== undefined && seen.leaving.includes(m.agent);
}

/** Dead, or leaving and not taking part any more: it does not come back as it is. */
export function isLost(m: MemberSeen, seen: ClusterSnapshot, policy: ChooserPolicy): boolean {
  return whyDead(m, seen, policy) !== undefined || (isLeaving(m, seen) && !takesPart(m));
}
