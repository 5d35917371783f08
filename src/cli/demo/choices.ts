import type { ClusterView } from "../cluster.ts";
import { isHealthy, isRaftLeader, strengthOf } from "../roles.ts";
import type { DemoAgent } from "./fleet.ts";

/** What a key press means. Pure. */
export type Key =
  | { readonly kind: "size"; readonly size: number }
  | { readonly kind: "kill" }
  | { readonly kind: "start" }
  | { readonly kind: "end" };

export function keyOf(text: string, size: number, agents: number): Key | undefined {
  switch (text) {
    case "+":
    case "=":
      return { kind: "size", size: Math.min(size + 1, agents) };
    case "-":
    case "_":
      return { kind: "size", size: Math.max(size - 1, 1) };
    case "k":
      return { kind: "kill" };
    case "s":
      return { kind: "start" };
    case "q":
    case "\u0003":
    case "\u0004":
      return { kind: "end" };
    default:
      return undefined;
  }
}

/** Which agent to kill, or why none. */
export type Victim = { readonly host: string; readonly what: string } | { readonly refused: string };

/**
 * The last voter that is not the first agent and not the raft leader, then the other voters, then learners and spares. Never the
 * voter whose loss would end the quorum: that is an outage, and no demo of healing.
 */
export function victimOf(view: ClusterView | undefined, agents: readonly DemoAgent[]): Victim {
  if (!view) return { refused: "the cluster has not formed yet" };
  const running = agents.filter((agent) => agent.process === "running").map((agent) => agent.host);
  if (running.length === 0) return { refused: "no agent is running" };
  const hosts = view.hosts.filter((host) => running.includes(host.name));
  const first = agents[0]?.host;
  const rank = (name: string, raftLeader: boolean): number => (name === first ? 2 : 0) + (raftLeader ? 1 : 0);
  const voters = hosts
    .filter((host) => host.member?.learner === false)
    .reverse()
    .sort((a, b) => rank(a.name, isRaftLeader(a, view)) - rank(b.name, isRaftLeader(b, view)));
  // What was killed a moment ago still looks healthy in a look from before.
  const alive = voters.filter(isHealthy).length;
  const spareVoters = alive - (Math.floor(strengthOf(view).voters / 2) + 1);
  const expendable = voters.filter((host) => spareVoters > 0 || !isHealthy(host));
  const victim = expendable[0] ?? hosts.filter((host) => host.member?.learner !== false).reverse()[0];
  if (!victim)
    return {
      refused: `the cluster can lose no more voters; ${running.length < agents.length ? "s starts an agent again" : "+ makes it larger"}`,
    };
  const what = victim.member
    ? victim.member.learner
      ? "a learner"
      : isRaftLeader(victim, view)
        ? "a voter, the raft leader"
        : "a voter"
    : "a spare";
  return { host: victim.name, what };
}

/** The agent that was gone first is started first. */
export function nextToStart(agents: readonly DemoAgent[], killed: readonly string[]): string | undefined {
  const down = agents.filter((agent) => agent.process !== "running").map((agent) => agent.host);
  return killed.find((host) => down.includes(host)) ?? down[0];
}
