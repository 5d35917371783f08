import { quorumOf, type ClusterSnapshot, type MemberSeen, type OpenStep, type VolunteerSeen } from "../../src/chooser/index.ts";
import type { Random } from "./random.ts";

/** What a real cluster would be made of: agents with their disks, a member list, keys. Time is `nowMs` and only moves by `advance`. */
export interface SimAgent {
  readonly name: string;
  readonly zone: string;
  readonly priority: number;
  /** The process runs. */
  up: boolean;
  /** Its server neither answers nor is heard. */
  wedged: boolean;
  /** Its server does not answer the leader, but the raft leader hears it. */
  shy: boolean;
  /** It never gets a server started; `quietly`: it does not even say so. */
  broken: "loudly" | "quietly" | undefined;
  leaving: boolean;
  /** It was let go and has exited. */
  gone: boolean;
  sessionUntilMs: number;
  restartingUntilMs: number;
  backAtMs: number | undefined;
  volunteeredAt: number;
  /** The member whose data its disk holds. */
  data: string | undefined;
}

export interface SimMember {
  readonly id: string;
  readonly agent: string | undefined;
  role: "voter" | "learner";
  started: boolean;
  readonly startAtMs: number;
  inSyncAtMs: number;
  readonly sinceRevision: number;
}

export type Call = Pick<OpenStep, "op" | "agent" | "member"> & { readonly cause: string; readonly passOver: boolean };

interface Track {
  readonly firstMs: number;
  healthySinceMs: number | undefined;
  answeredAtMs: number;
}

export interface Leader {
  readonly agent: string;
  readonly sinceMs: number;
  readonly tracks: Map<string, Track>;
  readonly preflights: Map<string, number>;
}

export const sessionTtlMs = 10_000;
const passOverMs = 60_000;

export class SimWorld {
  nowMs = 0;
  ideal = 3;
  revision = 1;
  members: SimMember[] = [];
  openStep: (Call & { sinceMs: number }) | undefined;
  /** Member calls that left their caller and have not arrived. */
  onTheWire: { readonly call: Call; readonly atMs: number }[] = [];
  leader: Leader | undefined;
  #nextId = 1;
  readonly random: Random;
  readonly agents: Map<string, SimAgent>;
  readonly nominations = new Map<string, string | undefined>();
  readonly passedOver = new Map<string, number>();

  constructor(names: readonly string[], random: Random) {
    this.random = random;
    this.agents = new Map(
      names.map((name, i) => {
        const zone = `z${i % 3}`;
        const agent: SimAgent = {
          name,
          zone,
          priority: i % 2,
          up: true,
          wedged: false,
          shy: false,
          broken: undefined,
          leaving: false,
          gone: false,
          sessionUntilMs: Infinity,
          restartingUntilMs: 0,
          backAtMs: undefined,
          volunteeredAt: i,
          data: undefined,
        };
        return [name, agent];
      }),
    );
    // Some clusters are adopted: their first member is a stranger's, which never fails here and is never let go.
    const founder = random.chance(0.1) ? undefined : (names[0] ?? "h1");
    this.members.push({ id: "m0", agent: founder, role: "voter", started: true, startAtMs: 0, inSyncAtMs: 0, sinceRevision: 0 });
    if (founder === undefined) return;
    this.agent(founder).data = "m0";
    this.nominations.set(founder, "m0");
  }

  agent(name: string): SimAgent {
    const found = this.agents.get(name);
    if (!found) throw new Error(`Cannot find the agent ${name}`);
    return found;
  }

  /** Its server runs and reaches the others. */
  runs(m: SimMember): boolean {
    if (m.agent === undefined) return m.started;
    const agent = this.agent(m.agent);
    return agent.up && m.started && !agent.wedged && agent.data === m.id && agent.broken === undefined;
  }

  live(agent: SimAgent): boolean {
    return agent.up || agent.sessionUntilMs > this.nowMs;
  }

  voters(members: readonly SimMember[] = this.members): SimMember[] {
    return members.filter((m) => m.role === "voter");
  }

  hasQuorum(members: readonly SimMember[] = this.members, without?: string): boolean {
    const voters = this.voters(members);
    return voters.filter((m) => this.runs(m) && (without === undefined || m.agent !== without)).length >= quorumOf(voters.length);
  }

  /** Somebody else uses the member API. */
  addForeignLearner(): void {
    if (!this.hasQuorum() || this.members.some((m) => m.role === "learner")) return;
    const id = `m${this.#nextId++}`;
    this.members.push({
      id,
      agent: undefined,
      role: "learner",
      started: false,
      startAtMs: Infinity,
      inSyncAtMs: Infinity,
      sinceRevision: ++this.revision,
    });
  }

  /** What the member list would be after a call; undefined where etcd refuses it. */
  after(call: Call): SimMember[] | undefined {
    switch (call.op) {
      case "add-learner": {
        const agent = call.agent ?? "";
        if (this.members.some((m) => m.role === "learner" || m.agent === agent)) return undefined;
        const startAtMs = this.nowMs + this.random.pick([50, 50, 300, 1_000, 4_000, 20_000]);
        const id = `m${this.#nextId++}`;
        return [
          ...this.members,
          { id, agent, role: "learner", started: false, startAtMs, inSyncAtMs: Infinity, sinceRevision: ++this.revision },
        ];
      }
      case "promote":
        if (!this.members.some((m) => m.id === call.member && m.role === "learner" && m.inSyncAtMs <= this.nowMs))
          return undefined;
        return this.members.map((m) => (m.id === call.member ? { ...m, role: "voter" } : m));
      case "remove":
        return this.members.some((m) => m.id === call.member) ? this.members.filter((m) => m.id !== call.member) : undefined;
    }
  }

  /** A member call arrives. Without a quorum nothing commits. */
  land(call: Call): void {
    const next = this.hasQuorum() ? this.after(call) : undefined;
    if (next) this.members = next;
  }

  /** The record closed, with what the call means for the nomination. */
  close(call: Call): void {
    this.openStep = undefined;
    const { agent } = call;
    if (agent === undefined) return;
    const seat = this.members.find((m) => m.agent === agent);
    if (call.op === "add-learner" && seat && this.nominations.has(agent)) this.nominations.set(agent, seat.id);
    if (call.op === "remove" && !seat) {
      this.nominations.delete(agent);
      if (call.passOver) this.passedOver.set(agent, this.nowMs + passOverMs);
    }
  }

  advance(ms: number): void {
    this.nowMs += ms;
    const due = this.onTheWire.filter(({ atMs }) => atMs <= this.nowMs);
    this.onTheWire = this.onTheWire.filter(({ atMs }) => atMs > this.nowMs);
    for (const { call } of due) this.land(call);
    for (const [agent, untilMs] of this.passedOver) if (untilMs <= this.nowMs) this.passedOver.delete(agent);
    for (const agent of this.agents.values()) this.#live(agent);
    for (const m of this.members)
      if (this.runs(m) && m.role === "learner") m.inSyncAtMs = Math.min(m.inSyncAtMs, this.nowMs + 1_000);
  }

  #live(agent: SimAgent): void {
    if (!agent.up && agent.backAtMs !== undefined && agent.backAtMs <= this.nowMs) {
      agent.up = true;
      agent.backAtMs = undefined;
      agent.gone = false;
      agent.leaving = false;
      agent.sessionUntilMs = Infinity;
      agent.volunteeredAt = ++this.revision;
    }
    if (!agent.up) return;
    const seat = this.members.find((m) => m.agent === agent.name);
    // Membership is read with a quorum; without one nobody concludes anything.
    if (!seat) {
      if (!this.hasQuorum()) return;
      agent.data = undefined;
      if (agent.leaving) this.exit(agent);
      return;
    }
    const nominated = this.nominations.get(agent.name) === seat.id;
    if (!seat.started && nominated && agent.broken === undefined && this.nowMs >= seat.startAtMs && this.hasQuorum()) {
      seat.started = true;
      agent.data = seat.id;
    }
    if (this.runs(seat)) agent.restartingUntilMs = 0;
  }

  exit(agent: SimAgent): void {
    agent.up = false;
    agent.gone = true;
    agent.leaving = false;
    agent.sessionUntilMs = this.nowMs;
  }

  /** Somebody with a session leads, as soon as there is a quorum to elect one; it knows nothing of what the last one saw. */
  elect(): Leader | undefined {
    if (this.leader && !this.live(this.agent(this.leader.agent))) this.leader = undefined;
    if (this.leader === undefined && this.hasQuorum()) {
      const able = [...this.agents.values()].filter((a) => a.up);
      if (able.length > 0) {
        this.leader = { agent: this.random.pick(able).name, sinceMs: this.nowMs, tracks: new Map(), preflights: new Map() };
      }
    }
    return this.leader && this.agent(this.leader.agent).up && this.hasQuorum() ? this.leader : undefined;
  }

  look(leader: Leader): ClusterSnapshot {
    const { nowMs } = this;
    const raftLeader = this.voters().find((m) => this.runs(m))?.id;
    const lives = [...this.agents.values()].filter((a) => this.live(a));
    return {
      planner: leader.agent,
      idealClusterSize: this.ideal,
      closing: undefined,
      members: this.random.shuffled(this.members.map((m) => this.#see(m, leader, raftLeader))),
      volunteers: this.random.shuffled(lives.filter((a) => !a.leaving).map((a) => this.#volunteer(a, leader))),
      nominations: this.random.shuffled([...this.nominations].map(([agent, member]) => ({ agent, member, standby: false }))),
      leaving: this.random.shuffled(lives.filter((a) => a.leaving).map((a) => a.name)),
      restarting: [...this.agents.values()].filter((a) => a.restartingUntilMs > nowMs).map((a) => a.name),
      passedOver: [...this.passedOver.keys()].map((agent) => ({ agent, reason: "it failed" })),
      paused: undefined,
      noSpace: false,
      openStep: this.openStep && { ...this.openStep, openForMs: nowMs - Math.max(this.openStep.sinceMs, leader.sinceMs) },
      leaderForMs: nowMs - leader.sinceMs,
    };
  }

  #see(m: SimMember, leader: Leader, raftLeader: string | undefined): MemberSeen {
    const { nowMs } = this;
    const agent = m.agent === undefined ? undefined : this.agent(m.agent);
    const answers = this.runs(m) && !(agent?.shy ?? false);
    const track = leader.tracks.get(m.id) ?? { firstMs: nowMs, healthySinceMs: undefined, answeredAtMs: nowMs };
    leader.tracks.set(m.id, track);
    track.healthySinceMs = answers ? (track.healthySinceMs ?? nowMs) : undefined;
    if (answers) track.answeredAtMs = nowMs;
    const failed = agent?.up === true && agent.broken === "loudly" && nowMs >= m.startAtMs;
    const lost = agent?.up === true && m.started && agent.data !== m.id;
    return {
      id: m.id,
      agent: m.agent,
      role: m.role,
      started: m.started,
      raftLeader: m.id === raftLeader,
      answers,
      heard: this.random.chance(0.1) ? undefined : this.runs(m),
      healthyForMs: track.healthySinceMs === undefined ? 0 : nowMs - track.healthySinceMs,
      unansweredForMs: nowMs - track.answeredAtMs,
      knownForMs: nowMs - track.firstMs,
      lag: !answers ? undefined : m.inSyncAtMs <= nowMs ? 0 : 50_000,
      stalledForMs: 0,
      agentLive: agent !== undefined && this.live(agent),
      report: lost ? "lost-data" : failed ? "failed" : undefined,
      zone: agent?.zone ?? "",
      priority: agent?.priority ?? 0,
      sinceRevision: m.sinceRevision,
    };
  }

  #volunteer(a: SimAgent, leader: Leader): VolunteerSeen {
    const sinceMs = leader.preflights.get(a.name) ?? this.nowMs;
    leader.preflights.set(a.name, sinceMs);
    const proved = this.nowMs - sinceMs >= 500;
    return {
      agent: a.name,
      zone: a.zone,
      priority: a.priority,
      sinceRevision: a.volunteeredAt,
      preflight: !proved ? { state: "pending" } : a.up ? { state: "passed" } : { state: "failed", reason: "it does not answer" },
    };
  }
}
