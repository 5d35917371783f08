import type { ClusterView, Host } from "./cluster.ts";

/** What the commands say about a {@link ClusterView}. Pure. */

export type Role = "voter" | "learner" | "learner (standby)" | "learner (standby: even size)" | "spare" | "client" | "unknown";

/** A learner that is meant to stay one is a standby: the chooser is done and has left it so. */
export function roleOf(host: Host, view: ClusterView): Role {
  if (host.member) {
    if (!host.member.learner) return "voter";
    if (view.plan?.kind !== "settled") return "learner";
    return isEvenStandby(view) ? "learner (standby: even size)" : "learner (standby)";
  }
  if (host.volunteers) return "spare";
  return host.agent ? "client" : "unknown";
}

/** The last of an even number of seats is held by a learner on purpose. */
export function isEvenStandby(view: ClusterView): boolean {
  const members = view.hosts.filter((host) => host.member);
  // One beyond the size is kept because the policy asks for it.
  const withinSize = members.length <= Math.min(view.ideal ?? Infinity, view.maxSeats);
  const learners = members.filter((host) => host.member?.learner).length;
  return !view.evenVoters && withinSize && members.length % 2 === 0 && learners === 1;
}

/** The server of this host leads the raft group, by its own word and that of the newest term. */
export function isRaftLeader(host: Host, view: ClusterView): boolean {
  return host.member !== undefined && host.member.id === raftLeaderOf(view);
}

/** The raft leader's member id, as the servers with the newest term see it. */
export function raftLeaderOf(view: ClusterView): string | undefined {
  let newest: { readonly term: number; readonly leader: string } | undefined;
  for (const { answer } of view.hosts) {
    if (!answer || !("status" in answer) || answer.status.raftLeader === "0") continue;
    if (!newest || answer.status.raftTerm > newest.term)
      newest = { term: answer.status.raftTerm, leader: answer.status.raftLeader };
  }
  return newest?.leader;
}

/** Log entries this member is behind the raft leader. */
export function lagOf(host: Host, view: ClusterView): number | undefined {
  const status = host.answer && "status" in host.answer ? host.answer.status : undefined;
  const leader = view.hosts.find((one) => isRaftLeader(one, view))?.answer;
  if (!status || !leader || !("status" in leader)) return undefined;
  return Math.max(0, leader.status.raftIndex - status.appliedIndex);
}

export interface Strength {
  readonly members: number;
  readonly voters: number;
  readonly healthyVoters: number;
  /** How many more voters may die before quorum is lost; below 0 there is none. */
  readonly failureTolerance: number;
}

export function strengthOf(view: ClusterView): Strength {
  const members = view.hosts.filter((host) => host.member);
  const voters = members.filter((host) => host.member?.learner === false);
  const healthyVoters = voters.filter(takesPart).length;
  return {
    members: members.length,
    voters: voters.length,
    healthyVoters,
    failureTolerance: healthyVoters - (Math.floor(voters.length / 2) + 1),
  };
}

/** Its server answered, and knows a raft leader. An alarm of etcd's keeps it from writing, not from voting. */
function takesPart({ answer }: Host): boolean {
  return answer !== undefined && "status" in answer && answer.status.raftLeader !== "0";
}

/** It takes part, and etcd has nothing to complain of. */
export function isHealthy(host: Host): boolean {
  return (
    host.answer !== undefined &&
    "status" in host.answer &&
    host.answer.status.raftLeader !== "0" &&
    host.answer.status.errors.length === 0
  );
}

/** What is to be known about a host beside its role, the most urgent first. */
export function stateOf(host: Host): string {
  const notes: string[] = [];
  if (host.answer && "refused" in host.answer) notes.push(host.member?.clientUrls.length === 0 ? "not started" : "no answer");
  else if (host.answer?.status.raftLeader === "0") notes.push("no raft leader");
  else if (host.answer && host.answer.status.errors.length > 0) notes.push(...complaints(host.answer.status.errors));
  if (host.member && !host.agent) notes.push("no agent");
  if (host.leaving) notes.push("leaving");
  if (host.restarting) notes.push("restarting");
  if (host.agent?.server === "lost-data") notes.push("lost its data");
  if (host.agent?.server === "failed")
    notes.push(`server failed${host.agent.problem === undefined ? "" : `: ${host.agent.problem}`}`);
  else if (host.agent?.problem !== undefined) notes.push(host.agent.problem);
  if (host.passedOver !== undefined) notes.push(`passed over: ${host.passedOver}`);
  if (!host.member && host.nominated) notes.push("nominated");
  return notes.length > 0 ? notes.join("; ") : host.member ? "healthy" : "";
}

/** etcd's `memberID:11400637714819302 alarm:NOSPACE ` in words; anything else as it is. */
function complaints(errors: readonly string[]): string[] {
  const words = errors.map((error) => {
    if (error.includes("alarm:NOSPACE")) return "no space left";
    return error.includes("alarm:CORRUPT") ? "etcd says CORRUPT" : error;
  });
  return [...new Set(words)];
}

/** `settled: 3 voters, can lose 1`: what the chooser is at, in one line. */
export function chooserLine(view: ClusterView): string {
  const { plan } = view;
  if (view.paused !== undefined) return `paused: ${view.paused}`;
  if (!plan) return view.leader === undefined ? "no agent leads" : `${view.leader} has not published a plan yet`;
  if (plan.kind === "settled" && view.ideal !== undefined && plan.ideal !== view.ideal && plan.sizeRefused === undefined) {
    return `the size is ${view.ideal} now; ${plan.leader} is about to act on it`;
  }
  const { voters, healthyVoters } = strengthOf(view);
  if (plan.kind === "settled" && healthyVoters < voters) return `${healthyVoters} of ${voters} voters answer`;
  switch (plan.kind) {
    case "settled":
      return settledLine(plan.voters, plan.learners, plan.failureTolerance);
    case "step":
      return `acting: ${plan.because}`;
    case "waiting":
      return `waiting: ${plan.because}`;
  }
}

export function settledLine(voters: number, learners: number, tolerance: number | undefined): string {
  const seats = `${count(voters, "voter")}${learners === 0 ? "" : ` and ${count(learners, "learner")}`}`;
  return `settled: ${seats}, ${tolerance === undefined || tolerance <= 0 ? "can lose none" : `can lose ${tolerance}`}`;
}

export function count(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? "" : "s"}`;
}
