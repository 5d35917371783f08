import {
  defaultPolicy,
  plan,
  type ChooserPolicy,
  type ClusterSnapshot,
  type MemberSeen,
  type Step,
} from "../../src/chooser/index.ts";
import { brief, cluster } from "./cluster.ts";

/** What a step makes of a snapshot when nothing goes wrong and everybody is quick: learners are in sync at once. */
export function apply(seen: ClusterSnapshot, step: Step): ClusterSnapshot {
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
      return removed(seen, step.member, step.passOver);
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

let added_ = 0;

function added(seen: ClusterSnapshot, agent: string): ClusterSnapshot {
  const volunteer = seen.volunteers.find((v) => v.agent === agent);
  const member: MemberSeen = {
    id: `id-${agent}-${++added_}`,
    agent,
    role: "learner",
    started: true,
    raftLeader: false,
    answers: true,
    heard: true,
    healthyForMs: 3_600_000,
    unansweredForMs: 0,
    knownForMs: 0,
    lag: 0,
    stalledForMs: 0,
    agentLive: true,
    report: undefined,
    zone: volunteer?.zone ?? "",
    priority: volunteer?.priority ?? 0,
    sinceRevision: 1_000 + added_,
  };
  return renominated({ ...seen, members: [...seen.members, member] }, agent, member.id);
}

function removed(seen: ClusterSnapshot, id: string, passOver: boolean): ClusterSnapshot {
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
  return {
    ...rest,
    volunteers: [...volunteers, { agent, zone, priority, sinceRevision: 1_000, preflight: { state: "passed" } }],
    passedOver: passOver ? [...seen.passedOver, { agent, reason: "given up" }] : seen.passedOver,
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
      return removed(closed, step.member ?? "", false);
  }
}

/** Every step from one line of notation on, and what it ends with. Stops after 60 steps, which no story needs. */
export function play(line: string, policy: Partial<ChooserPolicy> = {}): string[] {
  const own = { ...defaultPolicy, ...policy };
  let seen = cluster(line);
  const story: string[] = [];
  for (;;) {
    const next = plan(seen, own);
    story.push(brief(next));
    if (!("step" in next)) return story;
    if (story.length > 60) throw new Error(`Cannot end the story of ${line}: ${story.slice(-8).map(String).join(", ")}`);
    seen = apply(seen, next.step);
  }
}
