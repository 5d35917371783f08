import type { Step } from "./decision.ts";
import { failureTolerance } from "./quorum.ts";
import { byText, takesPart } from "./rank.ts";
import { apply } from "./rehearse.ts";
import type { ClusterSnapshot, MemberRole, MemberSeen } from "./snapshot.ts";

/** How a member was, in one word. */
export type MemberHealth =
  | "healthy"
  /** In sync is another thing: it takes part, and is behind. */
  | "behind"
  /** It was added and has not started yet. */
  | "not-started"
  /** Its server does not answer, its agent lives. */
  | "silent"
  /** It answers, and the raft leader does not hear it. */
  | "unheard"
  /** Neither its server answers nor its agent lives. */
  | "gone"
  | "failed"
  | "lost-data";

/** The few facts of a snapshot that a decision rests on: small enough to be kept with every event. */
export interface Facts {
  /** 0 while a shutdown is asked for. */
  readonly ideal: number;
  /** In order of name. */
  readonly members: readonly { readonly name: string; readonly role: MemberRole; readonly health: MemberHealth }[];
  /** Volunteers without a seat that passed the pre-flight, in order of name. */
  readonly spares: readonly string[];
  /** How many more voters might die before the step, and how many after it; negative without quorum. */
  readonly toleranceBefore: number;
  readonly toleranceAfter: number;
}

/** What a step rests on; without a step, what there is. */
export function factsOf(seen: ClusterSnapshot, step?: Step): Facts {
  const seated = new Set(seen.members.map((m) => m.agent));
  const before = toleranceIn(seen);
  return {
    ideal: seen.closing === undefined ? seen.idealClusterSize : 0,
    members: seen.members
      .map((m) => ({ name: m.agent ?? m.id, role: m.role, health: healthOf(m) }))
      .toSorted((a, b) => byText(a.name, b.name)),
    spares: seen.volunteers
      .filter((v) => !seated.has(v.agent) && v.preflight.state === "passed")
      .map((v) => v.agent)
      .toSorted(byText),
    toleranceBefore: before,
    toleranceAfter: step === undefined ? before : toleranceIn(apply(seen, step)),
  };
}

/** How many more voters may die before quorum is lost; negative when it is lost already. */
export function toleranceIn({ members }: ClusterSnapshot): number {
  const voters = members.filter((m) => m.role === "voter");
  return failureTolerance(voters.length, voters.filter(takesPart).length);
}

function healthOf(m: MemberSeen): MemberHealth {
  if (m.report !== undefined) return m.report;
  if (takesPart(m)) return (m.lag ?? 0) > 0 && m.role === "learner" ? "behind" : "healthy";
  if (m.answers) return "unheard";
  if (m.agent !== undefined && !m.agentLive) return "gone";
  return m.started ? "silent" : "not-started";
}
