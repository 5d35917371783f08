import { isLeaving, isLost } from "./dead.ts";
import { dynamicSize } from "./dynamic-size.ts";
import type { ChooserPolicy } from "./policy.ts";
import { failureTolerance, keepsQuorum, quorumOf } from "./quorum.ts";
import { byText, takesPart } from "./rank.ts";
import type { AgentName, ClusterSnapshot, MemberId, MemberSeen, VolunteerSeen } from "./snapshot.ts";
import { targetOf, type Target } from "./target.ts";

/** What the rules ask of a snapshot, worked out once. Every list has an order that does not depend on the snapshot's. */
export interface Survey {
  readonly seen: ClusterSnapshot;
  /** Size 0 has stood for long enough, and can be carried out. */
  readonly closes: boolean;
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
  /** Whom the chooser wishes for: nobody else gets a seat. */
  readonly wished: ReadonlySet<AgentName>;
  /** The first of those that have a seat or could have one, as many as the ideal size has seats. */
  readonly chosen: ReadonlySet<AgentName>;
  /** Volunteers without a seat that passed the pre-flight and are wished for: nominated ones first, then by rank. */
  readonly spares: readonly VolunteerSeen[];
  /** Volunteers without a seat whose pre-flight has no verdict yet. */
  readonly pending: readonly AgentName[];
  readonly target: Target;
  /** The target if every pending pre-flight is passed: nothing is shrunk below it. */
  readonly hoped: Target;
}

export function survey(given: ClusterSnapshot, asked: ChooserPolicy): Survey {
  const closes = given.closing !== undefined && given.closing.askedForMs >= asked.closeAfterMs && strangersIn(given).length === 0;
  const seen = closes ? asItCloses(given) : given;
  const policy = closes ? { ...asked, standbys: 0 as const } : asked;
  const size = closes ? 1 : seen.idealClusterSize;
  const leaving = (m: MemberSeen): boolean => isLeaving(m, seen);
  const lost = (m: MemberSeen): boolean => isLost(m, seen, policy);
  const wish = seen.wish !== undefined && "seats" in seen.wish ? seen.wish.seats : dynamicSize.choose(seen, policy);
  const rank = new Map([...new Set(wish)].map((agent, i) => [agent, i]));
  const rankOf = (agent: AgentName): number => rank.get(agent) ?? Infinity;

  const seated = new Set(seen.members.map((m) => m.agent));
  const passedOver = new Set(seen.passedOver.map((p) => p.agent));
  const nominated = new Set(seen.nominations.map((n) => n.agent));
  const free = seen.volunteers.filter(
    (v) => rank.has(v.agent) && !seated.has(v.agent) && !passedOver.has(v.agent) && !seen.leaving.includes(v.agent),
  );
  const spares = free
    .filter((v) => v.preflight.state === "passed")
    .toSorted((a, b) => Number(nominated.has(b.agent)) - Number(nominated.has(a.agent)) || rankOf(a.agent) - rankOf(b.agent));
  const pending = free.filter((v) => v.preflight.state === "pending").map((v) => v.agent);

  const kept = seen.members.filter((m) => !leaving(m));
  const able = new Set([...kept.filter((m) => !lost(m)).flatMap((m) => m.agent ?? []), ...spares.map((v) => v.agent)]);
  const seats = Math.min(size, policy.maxSeats);
  const chosen = new Set([...rank.keys()].filter((agent) => able.has(agent)).slice(0, seats));

  const order = firstToGo(chosen, rankOf);
  const leaversFirst = (a: MemberSeen, b: MemberSeen): number => Number(leaving(b)) - Number(leaving(a)) || order(a, b);
  const voters = seen.members.filter((m) => m.role === "voter").toSorted(order);
  const learners = seen.members.filter((m) => m.role === "learner").toSorted(order);
  const eligible = kept.length + spares.length;
  return {
    seen,
    closes,
    policy,
    voters,
    learners,
    healthy: voters.filter(takesPart),
    staying: voters.filter((m) => !leaving(m) && !lost(m)),
    leavers: voters.filter((m) => leaving(m) && !lost(m)),
    dead: voters.filter(lost).toSorted(leaversFirst),
    learner: learners.findLast((m) => m.agent !== undefined && !leaving(m)),
    wished: new Set(rank.keys()),
    chosen,
    spares,
    pending: pending.toSorted(byText),
    target: targetOf(size, eligible, policy),
    hoped: targetOf(size, eligible + pending.length, policy),
  };
}

/** Who loses its seat first: not chosen, not taking part, less wished for. A stranger's comes last, as it is never let go. */
function firstToGo(
  chosen: ReadonlySet<AgentName>,
  rankOf: (agent: AgentName) => number,
): (a: MemberSeen, b: MemberSeen) => number {
  const isChosen = ({ agent }: MemberSeen): boolean => agent === undefined || chosen.has(agent);
  const place = ({ agent }: MemberSeen): number => (agent === undefined ? -1 : Math.min(rankOf(agent), Number.MAX_SAFE_INTEGER));
  return (a, b) =>
    Number(isChosen(a)) - Number(isChosen(b)) ||
    Number(takesPart(a)) - Number(takesPart(b)) ||
    place(b) - place(a) ||
    byText(b.agent ?? "", a.agent ?? "") ||
    byText(a.id, b.id);
}

/** Size 0 is nobody's to wish away; and who announced a restart is not waited for: it comes back to a cluster that is closed anyway. */
function asItCloses({ wish: _wish, ...seen }: ClusterSnapshot): ClusterSnapshot {
  return { ...seen, restarting: [] };
}

/** Voters of no agent, which Quorate did not add and never stops; their ids in order. */
export function strangersIn({ members }: ClusterSnapshot): readonly MemberId[] {
  return members.flatMap((m) => (m.agent === undefined && m.role === "voter" ? [m.id] : [])).toSorted(byText);
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

/** A learner that is wished for in place of a voter. */
export function takesOver(m: MemberSeen, s: Survey): boolean {
  const isChosen = ({ agent }: MemberSeen): boolean => agent === undefined || s.chosen.has(agent);
  return m.agent !== undefined && isChosen(m) && !s.staying.every(isChosen);
}

/** Volunteers without a seat that the chooser does not wish for, in order of name. */
export function unwishedOf({ seen, wished }: Survey): readonly AgentName[] {
  const free = seen.volunteers.filter((v) => !wished.has(v.agent) && !seen.members.some((m) => m.agent === v.agent));
  return free.map((v) => v.agent).toSorted(byText);
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
