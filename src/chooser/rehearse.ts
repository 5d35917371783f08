import type { Plan, Step } from "./decision.ts";
import { plan } from "./plan.ts";
import type { ChooserPolicy } from "./policy.ts";
import type { ClusterSnapshot, MemberSeen } from "./snapshot.ts";

/** What would be done, step by step, if nothing went wrong. */
export interface Rehearsal {
  readonly steps: readonly RehearsedStep[];
  /** What it ends with; undefined where it has not ended after that many steps. */
  readonly ends: Exclude<Plan, { readonly step: Step }> | undefined;
}

export interface RehearsedStep {
  readonly step: Step;
  readonly because: string;
  /** What is to be seen after it. */
  readonly after: ClusterSnapshot;
}

/** Plans and applies until there is nothing to do or something to wait for. Pure: nothing is done. */
export function rehearse(seen: ClusterSnapshot, policy: ChooserPolicy, mostSteps: number = 60): Rehearsal {
  const steps: RehearsedStep[] = [];
  for (let now = seen; ;) {
    const next = plan(now, policy);
    if (!("step" in next)) return { steps, ends: next };
    if (steps.length >= mostSteps) return { steps, ends: undefined };
    now = apply(now, next.step, next.because);
    steps.push({ ...next, after: now });
  }
}

/** What a step makes of a snapshot when nothing goes wrong and everybody is quick: learners are in sync at once. Pure. */
export function apply(seen: ClusterSnapshot, step: Step, because: string = "given up"): ClusterSnapshot {
  switch (step.kind) {
    case "nominate":
      return { ...seen, nominations: [...seen.nominations, { agent: step.agent, member: undefined, standby: step.standby }] };
    case "renominate":
      return renominated(seen, step.agent, step.member);
    case "withdraw":
      return { ...seen, nominations: seen.nominations.filter((n) => n.agent !== step.agent) };
    case "add-learner":
      return added(seen, step.agent);
    case "promote":
      return changed(seen, step.member, { role: "voter" });
    case "move-leader":
      return changed(changed(seen, step.from, { raftLeader: false }), step.to, { raftLeader: true });
    case "remove":
      return removed(seen, step.member, step.passOver ? because : undefined);
    case "close":
      return { ...seen, closing: { askedForMs: seen.closing?.askedForMs ?? 0, closed: step.agent } };
    case "complete":
      return completed(seen, step);
  }
}

function changed(seen: ClusterSnapshot, id: string, change: Partial<MemberSeen>): ClusterSnapshot {
  return { ...seen, members: seen.members.map((m) => (m.id === id ? { ...m, ...change } : m)) };
}

function renominated(seen: ClusterSnapshot, agent: string, member: string): ClusterSnapshot {
  const others = seen.nominations.filter((n) => n.agent !== agent);
  return { ...seen, nominations: [...others, { agent, member, standby: false }] };
}

const healthyForMs = 3_600_000;

function added(seen: ClusterSnapshot, agent: string): ClusterSnapshot {
  const volunteer = seen.volunteers.find((v) => v.agent === agent);
  const member: MemberSeen = {
    id: `new-${agent}`,
    agent,
    role: "learner",
    started: true,
    raftLeader: false,
    answers: true,
    heard: true,
    healthyForMs,
    unansweredForMs: 0,
    knownForMs: 0,
    lag: 0,
    stalledForMs: 0,
    agentLive: true,
    report: undefined,
    zone: volunteer?.zone ?? "",
    priority: volunteer?.priority ?? 0,
    sinceRevision: nextRevision(seen),
  };
  return renominated({ ...seen, members: [...seen.members, member] }, agent, member.id);
}

/** Younger than everything there is. */
function nextRevision({ members, volunteers }: ClusterSnapshot): number {
  return 1 + Math.max(0, ...members.map((m) => m.sinceRevision), ...volunteers.map((v) => v.sinceRevision));
}

function removed(seen: ClusterSnapshot, id: string, passedOver: string | undefined): ClusterSnapshot {
  const gone = seen.members.find((m) => m.id === id);
  const agent = gone?.agent;
  const rest: ClusterSnapshot = {
    ...seen,
    members: seen.members.filter((m) => m.id !== id),
    nominations: seen.nominations.filter((n) => n.agent !== agent),
  };
  if (gone === undefined || agent === undefined) return rest;
  const volunteers = rest.volunteers.filter((v) => v.agent !== agent);
  if (seen.leaving.includes(agent)) return { ...rest, volunteers, leaving: seen.leaving.filter((l) => l !== agent) };
  if (!gone.agentLive) return { ...rest, volunteers };
  const { zone, priority } = gone;
  // An agent offers itself all the time, also while it has a seat.
  const sinceRevision = seen.volunteers.find((v) => v.agent === agent)?.sinceRevision ?? nextRevision(seen);
  return {
    ...rest,
    volunteers: [...volunteers, { agent, zone, priority, sinceRevision, preflight: { state: "passed" } }],
    passedOver: passedOver === undefined ? seen.passedOver : [...seen.passedOver, { agent, reason: passedOver }],
  };
}

function completed(seen: ClusterSnapshot, step: Extract<Step, { kind: "complete" }>): ClusterSnapshot {
  const closed: ClusterSnapshot = { ...seen, openStep: undefined };
  if (!step.send) return closed;
  switch (step.op) {
    case "add-learner":
      return added(closed, step.agent ?? "");
    case "promote":
      return changed(closed, step.member ?? "", { role: "voter" });
    case "remove":
      return removed(closed, step.member ?? "", undefined);
  }
}
