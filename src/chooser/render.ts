import type { Plan, Step } from "./decision.ts";
import type { MemberRole } from "./snapshot.ts";

/** A step in the imperative, as in `promote h2`. */
export function describeStep(step: Step): string {
  switch (step.kind) {
    case "nominate":
      return `nominate ${step.agent}${step.standby ? " as standby" : ""}`;
    case "renominate":
      return `nominate ${step.agent} again`;
    case "withdraw":
      return `withdraw the nomination of ${step.agent}`;
    case "add-learner":
      return `add ${step.agent} as learner`;
    case "promote":
      return `promote ${step.agent ?? step.member}`;
    case "move-leader":
      return `move raft leadership from ${step.fromAgent ?? step.from} to ${step.toAgent ?? step.to}`;
    case "remove":
      return `remove ${step.agent ?? step.member}${step.passOver ? " and pass it over" : ""}`;
    case "close":
      return `close the cluster: every agent ends, ${step.agent} last`;
    case "complete":
      return `${step.send ? "complete" : "close"} the recorded ${step.op}${named(step.agent ?? step.member)}`;
  }
}

/** A step that is done; why a member was removed may not be known any more. */
export type DoneStep = Exclude<Step, { kind: "remove" }> | Pick<Extract<Step, { kind: "remove" }>, "kind" | "agent" | "member">;

/** A step that is done, as in `promoted h2 to voter`. */
export function reportStep(step: DoneStep): string {
  switch (step.kind) {
    case "nominate":
      return `nominated ${step.agent}${step.standby ? " as standby" : ""}`;
    case "renominate":
      return `nominated ${step.agent} again`;
    case "withdraw":
      return `withdrew the nomination of ${step.agent}`;
    case "add-learner":
      return `added ${step.agent} as a learner`;
    case "promote":
      return `promoted ${step.agent ?? step.member} to voter`;
    case "move-leader":
      return `moved raft leadership from ${step.fromAgent ?? step.from} to ${step.toAgent ?? step.to}`;
    case "remove":
      return `removed ${step.agent ?? step.member}`;
    case "close":
      return `closed the cluster: every agent ends, ${step.agent} last`;
    case "complete":
      return `closed the recorded ${step.op}${named(step.agent ?? step.member)}`;
  }
}

/**
 * What the chooser does or waits for, and why: one line, or more where something keeps the cluster from its ideal size.
 * `settled: 3 voters, can lose 1` is what scripts and people look for.
 */
export function renderPlan(plan: Plan): readonly string[] {
  if ("step" in plan) return [`next: ${describeStep(plan.step)} (${plan.because})`];
  if ("waiting" in plan) {
    const { waiting } = plan;
    const would = waiting.on === "resume" && waiting.wouldDo ? [`would: ${describeStep(waiting.wouldDo)}`] : [];
    return [`waiting: ${plan.because}`, ...would];
  }
  const { voters, learners, failureTolerance, next, blockedBy } = plan.settled;
  const with_ = learners === 0 ? "" : `, ${learners} ${plural("learner", learners)}`;
  const lines = [`settled: ${voters} ${plural("voter", voters)}${with_}, can lose ${failureTolerance}`];
  if (blockedBy !== undefined) lines.push(`blocked by: ${blockedBy}`);
  return next === undefined ? lines : [...lines, `after that: ${next}`];
}

/** What the role column says. A learner that no plan is about to promote stands by. */
export function roleName(role: MemberRole, standingBy: boolean, members: number): string {
  if (role === "voter" || !standingBy) return role;
  return members % 2 === 0 ? "learner (standby: even size)" : "learner (standby)";
}

function plural(noun: string, n: number): string {
  return n === 1 ? noun : `${noun}s`;
}

function named(name: string | undefined): string {
  return name === undefined ? "" : ` of ${name}`;
}
