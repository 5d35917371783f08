import { dynamicSize, type Chooser } from "./dynamic-size.ts";
import type { ChooserPolicy } from "./policy.ts";
import { failureTolerance, keepsQuorum, quorumOf } from "./quorum.ts";
import { byText, takesPart } from "./rank.ts";
import type { AgentName, ClusterSnapshot, MemberId, MemberSeen, VolunteerSeen } from "./snapshot.ts";
import { targetOf, type Target } from "./target.ts";

/** What the rules ask of a snapshot, worked out once. Every list has an order that does not depend on the snapshot's. */
export interface Survey {
  readonly seen: ClusterSnapshot;
  readonly policy: ChooserPolicy;
  readonly voters: readonly MemberSeen[];
  readonly learners: readonly MemberSeen[];
  /** Voters that take part. */
  readonly healthy: readonly MemberSeen[];
  /** Voters that are neither dead nor leaving, first to go first. A stranger's always counts: it is never replaced. */
  readonly staying: readonly MemberSeen[];
  /** Voters that leave and still take part, first to go first. */
  readonly leavers: readonly MemberSeen[];
  /** Voters that are dead, or leave and take no part any more, first to go first. Removing one never lowers failure tolerance. */
  readonly dead: readonly MemberSeen[];
  /** The learner the rules may use: known and not leaving. */
  readonly learner: MemberSeen | undefined;
  /** Volunteers without a seat that passed the pre-flight: nominated ones first, then by rank. */
  readonly spares: readonly VolunteerSeen[];
  /** Volunteers without a seat whose pre-flight has no verdict yet. */
  readonly pending: readonly AgentName[];
  readonly target: Target;
  /** The target if every pending pre-flight is passed: nothing is shrunk below it. */
  readonly hoped: Target;
}

export function survey(seen: ClusterSnapshot, policy: ChooserPolicy, chooser: Chooser = dynamicSize): Survey {
  const isLeaving = (m: MemberSeen): boolean => m.agent !== undefined && seen.leaving.includes(m.agent);
  const isDead = (m: MemberSeen): boolean => whyDead(m, seen, policy) !== undefined || (isLeaving(m) && !takesPart(m));
  const kept = seen.members.filter((m) => !isLeaving(m));
  const voters = seen.members.filter((m) => m.role === "voter");
  const wants = chooser(
    seen,
    kept.filter((m) => !isDead(m)),
  );
  const order = wants.byRemoval;
  const leaversFirst = (a: MemberSeen, b: MemberSeen): number => Number(isLeaving(b)) - Number(isLeaving(a)) || order(a, b);
  const learners = seen.members.filter((m) => m.role === "learner").toSorted(order);

  const seated = new Set(seen.members.map((m) => m.agent));
  const passedOver = new Set(seen.passedOver.map((p) => p.agent));
  const nominated = new Set(seen.nominations.map((n) => n.agent));
  const free = seen.volunteers.filter((v) => !seated.has(v.agent) && !passedOver.has(v.agent) && !seen.leaving.includes(v.agent));
  const spares = free
    .filter((v) => v.preflight.state === "passed")
    .toSorted((a, b) => Number(nominated.has(b.agent)) - Number(nominated.has(a.agent)) || wants.byNomination(a, b));
  const pending = free.filter((v) => v.preflight.state === "pending").map((v) => v.agent);

  const eligible = kept.length + spares.length;
  return {
    seen,
    policy,
    voters: voters.toSorted(order),
    learners,
    healthy: voters.filter(takesPart).toSorted(order),
    staying: voters.filter((m) => !isLeaving(m) && !isDead(m)).toSorted(order),
    leavers: voters.filter((m) => isLeaving(m) && !isDead(m)).toSorted(order),
    dead: voters.filter(isDead).toSorted(leaversFirst),
    learner: learners.findLast((m) => m.agent !== undefined && !isLeaving(m)),
    spares,
    pending: pending.toSorted(byText),
    target: targetOf(wants.size, eligible, policy),
    hoped: targetOf(wants.size, eligible + pending.length, policy),
  };
}

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

/** How many more voters may die. */
export function toleranceOf(s: Survey): number {
  return failureTolerance(s.voters.length, s.healthy.length);
}

/** Whether the voters without this one keep a quorum of those that take part. */
export function safeWithout(s: Survey, member: MemberSeen): boolean {
  const healthy = s.healthy.length - (s.healthy.includes(member) ? 1 : 0);
  return keepsQuorum(s.voters.length - 1, healthy);
}

/** Whether removing every dead voter, one by one, ends with a higher failure tolerance. */
export function deathsCostTolerance(s: Survey): boolean {
  const healthy = s.healthy.length;
  return failureTolerance(s.voters.length - s.dead.length, healthy) > failureTolerance(s.voters.length, healthy);
}

/** Whether etcd's own strict check would refuse to add a member now: too few are connected for the size after it. */
export function strictCheckRefusesAdd(s: Survey): boolean {
  return s.policy.strictReconfigCheck && s.healthy.length < quorumOf(s.voters.length + 1);
}

/** In sync, and has been seen healthy for as long as the policy asks. */
export function isReady(m: MemberSeen, policy: ChooserPolicy): boolean {
  return (
    takesPart(m) &&
    m.started &&
    m.agentLive &&
    m.report === undefined &&
    m.lag !== undefined &&
    m.lag <= policy.maxLag &&
    m.healthyForMs >= policy.stabilizationMs
  );
}

export function nameOf(m: { readonly agent: AgentName | undefined; readonly id: MemberId }): string {
  return m.agent ?? `member ${m.id}`;
}

/** `h1`, `h1 and h2`, `h1, h2 and h3`: in order of name. */
export function listOf(names: readonly string[]): string {
  const sorted = names.toSorted(byText);
  return sorted.length < 2 ? sorted.join("") : `${sorted.slice(0, -1).join(", ")} and ${sorted.at(-1) ?? ""}`;
}

/** A plural for the counts that are part of the configuration, not running figures. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}
