import { isDeepStrictEqual } from "node:util";
import {
  defaultPolicy,
  failureTolerance,
  plan,
  quorumOf,
  type ChooserPolicy,
  type ClusterSnapshot,
  type Plan,
  type Planner,
  type Step,
} from "../../src/chooser/index.ts";
import { brief } from "./cluster.ts";
import { Random } from "./random.ts";
import { SimWorld, sessionTtlMs, type Call, type Leader } from "./sim-world.ts";

export interface SimOptions {
  readonly policy?: Partial<ChooserPolicy>;
  /** Rounds with faults. */
  readonly rounds?: number;
  /** Look again before acting, as the leader does. Without, the net is expected to catch what that costs. */
  readonly recheck?: boolean;
  /** How likely a plan rests on an old look. */
  readonly lateness?: number;
  /** Another chooser, to see whether the net holds. */
  readonly planner?: Planner;
}

/** Rounds that must find nothing to do. */
const settledRounds = 20;

/** One seeded life of a cluster: faults first, then peace, in which it has to settle at its ideal size. */
export class Sim {
  readonly world: SimWorld;
  readonly random: Random;
  readonly policy: ChooserPolicy;
  readonly history: string[] = [];
  readonly #recheck: boolean;
  readonly #rounds: number;
  readonly #lateness: number;
  readonly #planner: Planner;
  readonly #wildness: number;
  #peace = false;
  /** The looks of this leader, newest last: a late plan rests on one of them. */
  #looks: ClusterSnapshot[] = [];
  #leader: Leader | undefined;

  constructor(seed: number, options: SimOptions = {}) {
    this.random = new Random(seed);
    this.world = new SimWorld(["h1", "h2", "h3", "h4", "h5", "h6", "h7"].slice(0, this.random.between(2, 7)), this.random);
    this.policy = { ...defaultPolicy, ...options.policy, settleMs: sessionTtlMs };
    this.#wildness = this.random.pick([0.01, 0.03, 0.1]);
    this.#recheck = options.recheck ?? true;
    this.#lateness = options.lateness ?? 0.3;
    this.#planner = options.planner ?? plan;
    this.#rounds = options.rounds ?? 250;
  }

  run(): void {
    for (let i = 0; i < this.#rounds; i++) {
      this.#fate();
      this.#round(this.random.chance(this.#lateness));
    }
    this.#heal();
    let quiet = 0;
    for (let i = 0; i < 1_500 && quiet < settledRounds; i++) {
      const next = this.#round(false);
      quiet = next && "settled" in next && this.world.passedOver.size === 0 ? quiet + 1 : 0;
    }
    this.#expectSettled(quiet);
  }

  #round(late: boolean): Plan | undefined {
    const { world } = this;
    world.advance(this.random.pick([50, 200, 500, 1_000]));
    const leader = world.elect();
    if (!leader) {
      this.#note("nobody leads");
      return undefined;
    }
    const fresh = world.look(leader);
    if (leader !== this.#leader) this.#looks = [];
    this.#leader = leader;
    this.#looks = [...this.#looks.slice(-4), fresh];
    const seen = late ? this.random.pick(this.#looks) : fresh;
    const next = this.#planner(seen, this.policy);
    this.#check(seen, next);
    this.#note(`${seen === fresh ? "" : "late "}${brief(next)} because ${next.because}`);
    if ("step" in next) this.#carryOut(next.step, seen, leader);
    return next;
  }

  /** What a plan alone must keep to, whatever is done with it. */
  #check(seen: ClusterSnapshot, next: Plan): void {
    const shuffled = {
      ...seen,
      members: this.random.shuffled(seen.members),
      volunteers: this.random.shuffled(seen.volunteers),
      nominations: this.random.shuffled(seen.nominations),
    };
    if (!isDeepStrictEqual(this.#planner(shuffled, this.policy), next))
      throw new Error("the plan depends on the order of its inputs");
    if (!("step" in next)) return;
    const { step } = next;
    const voters = seen.members.filter((m) => m.role === "voter");
    if (voters.filter((m) => m.answers).length * 2 <= voters.length) throw new Error("a step without quorum");
    if (step.kind === "add-learner" && seen.members.some((m) => m.role === "learner")) throw new Error("a second learner");
    if (step.kind === "promote") this.#checkPromotion(seen, voters.length);
    if (step.kind !== "remove") return;
    const gone = seen.members.find((m) => m.id === step.member);
    if (gone?.role === "voter" && gone.agent === undefined) throw new Error("a stranger's voter is removed");
    if (
      step.agent !== undefined &&
      seen.restarting.includes(step.agent) &&
      gone?.role === "voter" &&
      gone.report === undefined &&
      !seen.leaving.includes(step.agent)
    ) {
      throw new Error("a voter that restarts is removed");
    }
  }

  /** Two voters survive no loss: on the way from one to three only, with the third at hand; or to replace the one. */
  #checkPromotion(seen: ClusterSnapshot, voters: number): void {
    if (voters !== 1 || this.policy.evenVoters) return;
    const stay = seen.members.filter((m) => m.agent === undefined || !seen.leaving.includes(m.agent));
    const third = seen.volunteers.some((v) => v.preflight.state === "passed" && !seen.members.some((m) => m.agent === v.agent));
    if (stay.length === 2 && !third) throw new Error("a second voter without a third in sight");
  }

  #carryOut(step: Step, seen: ClusterSnapshot, leader: Leader): void {
    const { world } = this;
    switch (step.kind) {
      case "nominate":
        if (!world.nominations.has(step.agent)) world.nominations.set(step.agent, undefined);
        return;
      case "renominate":
        world.nominations.set(step.agent, step.member);
        return;
      case "withdraw":
        world.nominations.delete(step.agent);
        return;
      case "move-leader": {
        const from = world.members.findIndex((m) => m.id === step.from);
        const to = world.members.findIndex((m) => m.id === step.to);
        const [a, b] = [world.members[from], world.members[to]];
        if (a && b) [world.members[from], world.members[to]] = [b, a];
        return;
      }
      case "close":
        throw new Error("the cluster is closed, and nobody asked for it");
      case "complete": {
        const open = world.openStep;
        if (!open) return;
        if (this.#happened(open)) world.close(open);
        else if (!step.send) world.openStep = undefined;
        else this.#call(open, seen, leader, true);
        return;
      }
      case "add-learner":
        this.#call(
          { op: "add-learner", agent: step.agent, member: undefined, cause: "growth", passOver: false },
          seen,
          leader,
          false,
        );
        return;
      case "promote":
        this.#call(
          { op: "promote", agent: step.agent, member: step.member, cause: "growth", passOver: false },
          seen,
          leader,
          false,
        );
        return;
      case "remove":
        this.#call(
          { op: "remove", agent: step.agent, member: step.member, cause: step.cause, passOver: step.passOver },
          seen,
          leader,
          false,
        );
        return;
    }
  }

  #happened(call: Call): boolean {
    const { members } = this.world;
    if (call.op === "add-learner") return members.some((m) => m.agent === call.agent);
    const member = members.find((m) => m.id === call.member);
    return call.op === "remove" ? member === undefined : member?.role === "voter";
  }

  /** The second look, the recorded step, the gate, the call; and what can become of a call. */
  #call(call: Call, seen: ClusterSnapshot, leader: Leader, again: boolean): void {
    const { world } = this;
    if (this.#recheck) {
      const now = world.look(leader);
      const held = this.#held(call, seen, now, again);
      if (held !== undefined) {
        this.#note(`  held: ${held}`);
        return;
      }
    }
    world.openStep = { ...call, sinceMs: world.nowMs };
    const lot = this.#peace ? 1 : this.random.next();
    if (lot < 0.05) {
      this.#note("  the leader died before it sent the call");
      this.#crash(leader.agent);
    } else if (lot < 0.1) {
      const atMs = world.nowMs + this.random.between(100, 15_000);
      this.#note(`  the call is on the wire until ${atMs}`);
      world.onTheWire.push({ call, atMs });
    } else {
      this.#apply(call);
      if (lot < 0.15) this.#note("  the reply is lost");
      else if (this.#happened(call)) world.close(call);
      else world.openStep = undefined;
    }
  }

  #held(call: Call, seen: ClusterSnapshot, now: ClusterSnapshot, again: boolean): string | undefined {
    const rows = (s: ClusterSnapshot): string =>
      s.members
        .map((m) => `${m.id} ${m.role}`)
        .toSorted()
        .join();
    if (rows(seen) !== rows(now)) return "the member list has changed";
    if (call.agent !== undefined && seen.leaving.includes(call.agent) !== now.leaving.includes(call.agent))
      return "a leave has changed";
    if (call.op === "add-learner" && !now.volunteers.some((v) => v.agent === call.agent)) return "the volunteer is gone";
    if (call.op === "add-learner" && !now.nominations.some((n) => n.agent === call.agent)) return "the nomination is gone";
    const { world } = this;
    const after = world.after(call);
    if (!after) return "etcd would refuse";
    const voters = world.voters();
    const running = voters.filter((m) => world.runs(m)).length;
    const strict = this.policy.strictReconfigCheck && voters.length > 1;
    if (strict && call.op === "add-learner" && running < quorumOf(voters.length + 1)) {
      return "etcd's strict check would refuse";
    }
    if (!world.hasQuorum(after)) return "quorum would be lost";
    const promoted = call.op === "promote" ? after.find((m) => m.id === call.member) : undefined;
    if (promoted && !world.runs(promoted)) return "the learner does not take part";
    const asked = again || call.cause === "surplus" || call.cause === "leaving";
    const tolerance = (members: SimWorld["members"]): number => {
      const voters = world.voters(members);
      return failureTolerance(voters.length, voters.filter((m) => world.runs(m)).length);
    };
    return !asked && tolerance(after) < tolerance(world.members) ? "failure tolerance would fall" : undefined;
  }

  #apply(call: Call): void {
    const { world } = this;
    const before = world.hasQuorum();
    world.land(call);
    if (before && !world.hasQuorum()) throw new Error(`${call.op} of ${call.agent ?? call.member ?? "?"} lost quorum`);
    if (world.voters().length === 0) throw new Error("no voter is left");
    if (world.members.filter((m) => m.role === "learner").length > 1) throw new Error("two learners");
  }

  /** Faults, but never the one that costs quorum by itself: the promise is about what the chooser does, not about fate. */
  #fate(): void {
    const { random, world } = this;
    if (random.chance(0.04)) world.ideal = random.pick([1, 2, 3, 3, 4, 5, 5, 7]);
    if (random.chance(0.01)) world.nominations.clear();
    if (random.chance(0.01)) world.leader = undefined;
    if (random.chance(0.01)) world.addForeignLearner();
    for (const agent of world.agents.values()) {
      if (!agent.up && agent.backAtMs === undefined && random.chance(0.05))
        agent.backAtMs = world.nowMs + random.between(0, 20_000);
      if (!agent.up) continue;
      if (agent.wedged || agent.shy) {
        if (random.chance(0.05)) agent.wedged = agent.shy = false;
        continue;
      }
      if (agent.broken !== undefined && random.chance(0.05)) agent.broken = undefined;
      if (agent.leaving && random.chance(0.01)) agent.leaving = false;
      if (!random.chance(this.#wildness)) continue;
      const lot = random.next();
      if (lot < 0.15) agent.leaving = true;
      else if (lot < 0.25) agent.shy = true;
      else if (this.#bearable(agent.name)) {
        if (lot < 0.5) this.#crash(agent.name);
        else if (lot < 0.65) agent.wedged = true;
        else if (lot < 0.75) agent.broken = random.pick(["loudly", "quietly"]);
        else if (lot < 0.85) {
          this.#crash(agent.name);
          agent.restartingUntilMs = world.nowMs + 60_000;
          agent.backAtMs = world.nowMs + random.between(1_000, 30_000);
        } else {
          this.#crash(agent.name);
          agent.data = undefined;
          agent.backAtMs = world.nowMs + random.between(1_000, 30_000);
        }
      }
    }
  }

  /** Whether quorum survives the loss of an agent's server, also after every call that is still on the wire. */
  #bearable(name: string): boolean {
    const { world } = this;
    const calls = [...world.onTheWire.map(({ call }) => call), ...(world.openStep ? [world.openStep] : [])];
    return (
      world.hasQuorum(world.members, name) && calls.every((call) => world.hasQuorum(world.after(call) ?? world.members, name))
    );
  }

  #crash(name: string): void {
    if (!this.#bearable(name)) return;
    const agent = this.world.agent(name);
    agent.up = false;
    agent.leaving = false;
    agent.sessionUntilMs = this.world.nowMs + sessionTtlMs;
  }

  /** Peace: everybody who did not leave is there and well; a broken spare may remain where enough others are good. */
  #heal(): void {
    const { world, random } = this;
    this.#peace = true;
    for (const agent of world.agents.values()) {
      agent.wedged = agent.shy = false;
      agent.leaving = false;
      agent.broken = undefined;
      if (!agent.up) agent.backAtMs = world.nowMs;
    }
    world.ideal = random.pick([1, 2, 3, 4, 5, 7]);
    const spare = [...world.agents.values()].find((a) => !world.members.some((m) => m.agent === a.name));
    if (spare && world.agents.size > world.ideal && this.policy.standbys === 0) spare.broken = random.pick(["loudly", "quietly"]);
    this.#note(`peace, ideal ${world.ideal}, ${spare?.broken === undefined ? "nobody" : spare.name} broken`);
  }

  #expectSettled(quiet: number): void {
    const { world } = this;
    const strangers = world.members.filter((m) => m.agent === undefined).length;
    const able = [...world.agents.values()].filter((a) => a.broken === undefined).length + strangers;
    const seats = Math.min(world.ideal, able, this.policy.maxSeats);
    const even = seats % 2 === 0 && !this.policy.evenVoters;
    const voters = even ? seats - 1 : seats;
    const learners = even || (this.policy.standbys > 0 && seats < this.policy.maxSeats) ? 1 : 0;
    if (quiet < settledRounds) throw new Error("it never settles");
    if (world.voters().length !== voters) throw new Error(`${world.voters().length} voters, not ${voters}`);
    const spares = able - seats + (even ? 1 : 0);
    const expected = Math.min(learners, spares);
    const found = world.members.length - world.voters().length;
    if (found !== expected) throw new Error(`${found} learners, not ${expected}`);
    if (!world.members.every((m) => world.runs(m))) throw new Error("a member does not run");
    const nominated = [...world.nominations.keys()].toSorted().join();
    const seated = world.members
      .flatMap((m) => m.agent ?? [])
      .toSorted()
      .join();
    if (nominated !== seated) throw new Error(`nominated are ${nominated}, seated ${seated}`);
    if (world.openStep) throw new Error("a step is left open");
  }

  #note(what: string): void {
    const { world } = this;
    const seats = world.members.map(
      (m) => `${m.id}=${m.agent ?? "?"}${m.role === "learner" ? "(l)" : ""}${world.runs(m) ? "" : "!"}`,
    );
    const leaving = [...world.agents.values()].filter((a) => a.leaving).map((a) => a.name);
    const open = world.openStep ? ` open ${world.openStep.op} ${world.openStep.agent ?? ""}` : "";
    this.history.push(
      `${world.nowMs} ideal ${world.ideal} [${seats.join(" ")}]${leaving.length > 0 ? ` leaving ${leaving.join(" ")}` : ""}${open}: ${what}`,
    );
  }
}

/** Runs one seed and returns its rounds; what it throws names the seed and shows the last of them. */
export function simulate(seed: number, options: SimOptions = {}): readonly string[] {
  const sim = new Sim(seed, options);
  try {
    sim.run();
    return sim.history;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`seed ${seed}: ${why} (replay with SEED=${seed})\n${sim.history.slice(-25).join("\n")}`, { cause });
  }
}
