import fc from "fast-check";
import { expect, test } from "vitest";
import {
  defaultPolicy,
  keepsQuorum,
  plan,
  type ChooserPolicy,
  type ClusterSnapshot,
  type MemberSeen,
  type NominationSeen,
  type Step,
  type VolunteerSeen,
} from "../../src/chooser/index.ts";
import { apply } from "../support/model.ts";

const names = Array.from({ length: 9 }, (_, i) => `h${i + 1}`);
const durations = fc.constantFrom(0, 1, 4_999, 5_000, 59_999, 60_000, 3_600_000);

const memberOf = (name: string): fc.Arbitrary<MemberSeen> =>
  fc
    .record({
      stranger: fc.constantFrom(false, false, false, false, true),
      role: fc.constantFrom("voter", "voter", "voter", "learner"),
      started: fc.constantFrom(true, true, true, false),
      answers: fc.constantFrom(true, true, true, false),
      heard: fc.constantFrom(true, true, false, undefined),
      healthyForMs: durations,
      unansweredForMs: durations,
      knownForMs: durations,
      lag: fc.constantFrom(0, 0, 1_000, 1_001, undefined),
      stalledForMs: durations,
      agentLive: fc.constantFrom(true, true, true, false),
      report: fc.constantFrom(undefined, undefined, undefined, "failed", "lost-data"),
      zone: fc.constantFrom("", "a", "b"),
      priority: fc.integer({ min: -1, max: 1 }),
      sinceRevision: fc.integer({ min: 0, max: 3 }),
    } as const)
    .map(({ stranger, answers, healthyForMs, unansweredForMs, ...rest }) => ({
      ...rest,
      id: `id-${name}`,
      agent: stranger ? undefined : name,
      raftLeader: false,
      answers,
      healthyForMs: answers ? healthyForMs : 0,
      unansweredForMs: answers ? 0 : unansweredForMs,
    }));

const volunteerOf = (agent: string): fc.Arbitrary<VolunteerSeen> =>
  fc.record({
    agent: fc.constant(agent),
    zone: fc.constantFrom("", "a", "b"),
    priority: fc.integer({ min: -1, max: 1 }),
    sinceRevision: fc.integer({ min: 0, max: 3 }),
    preflight: fc.constantFrom<VolunteerSeen["preflight"]>(
      { state: "passed" },
      { state: "passed" },
      { state: "pending" },
      { state: "failed", reason: "its port is closed" },
    ),
  });

/** Anything a leader could come to see, and much that it could not. */
const snapshots: fc.Arbitrary<ClusterSnapshot> = fc
  .record({
    members: fc.subarray(names, { minLength: 1, maxLength: 8 }).chain((some) => fc.tuple(...some.map(memberOf))),
    raftLeader: fc.nat(),
    volunteers: fc.subarray(names).chain((some) => fc.tuple(...some.map(volunteerOf))),
    unseated: fc.subarray(names, { maxLength: 2 }),
    lost: fc.subarray(names, { maxLength: 1 }),
    unfinished: fc.subarray(names, { maxLength: 1 }),
    idealClusterSize: fc.integer({ min: 1, max: 9 }),
    leaving: fc.subarray(names, { maxLength: 3 }),
    restarting: fc.subarray(names, { maxLength: 2 }),
    passedOver: fc.subarray(names, { maxLength: 2 }),
    open: fc.option(fc.tuple(fc.constantFrom("add-learner", "promote", "remove"), fc.constantFrom(...names), durations), {
      freq: 8,
    }),
    leaderForMs: fc.constantFrom(0, 9_999, 10_000, 3_600_000),
  } as const)
  .map(({ members, raftLeader, volunteers, unseated, lost, unfinished, open, passedOver, ...rest }) => {
    const voters = members.filter((m) => m.role === "voter" && m.answers);
    const chosen = voters[raftLeader % Math.max(1, voters.length)]?.id;
    const nominations: NominationSeen[] = names
      .filter((agent) => unseated.includes(agent) || (members.some((m) => m.agent === agent) && !lost.includes(agent)))
      .map((agent) => {
        const seat = members.find((m) => m.agent === agent);
        return { agent, member: unfinished.includes(agent) ? undefined : seat?.id, standby: false };
      });
    const [op, agent, openForMs] = open ?? [];
    return {
      ...rest,
      planner: "h1",
      members: members.map((m) => ({ ...m, raftLeader: m.id === chosen, heard: m.id === chosen ? true : m.heard })),
      volunteers,
      nominations,
      passedOver: passedOver.map((name) => ({ agent: name, reason: "it did not start" })),
      paused: undefined,
      noSpace: false,
      openStep:
        op === undefined || agent === undefined || openForMs === undefined
          ? undefined
          : { op, agent, member: op === "add-learner" ? undefined : `id-${agent}`, openForMs },
    };
  });

const policies: fc.Arbitrary<ChooserPolicy> = fc
  .record({
    maxSeats: fc.constantFrom(1, 3, 5, 7, 7),
    standbys: fc.constantFrom<0 | 1>(0, 0, 1),
    evenVoters: fc.constantFrom(false, false, true),
    strictReconfigCheck: fc.constantFrom(false, false, true),
  })
  .map((some) => ({ ...defaultPolicy, ...some }));

const runs = { numRuns: Number(process.env["RUNS"] ?? 800) };
const takesPart = (m: MemberSeen): boolean => m.answers && m.heard !== false;
const votersOf = (seen: ClusterSnapshot): MemberSeen[] => seen.members.filter((m) => m.role === "voter");
const hasQuorum = (seen: ClusterSnapshot): boolean => keepsQuorum(votersOf(seen).length, votersOf(seen).filter(takesPart).length);

/** For every snapshot that leads to a step. */
function forEveryStep(check: (seen: ClusterSnapshot, step: Step, policy: ChooserPolicy) => void): void {
  fc.assert(
    fc.property(snapshots, policies, (seen, policy) => {
      const next = plan(seen, policy);
      if ("step" in next) check(seen, next.step, policy);
    }),
    runs,
  );
}

test("equal snapshots give equal plans, in whatever order their lists come", () => {
  const shuffled = snapshots.chain((seen) =>
    fc.record({
      seen: fc.constant(seen),
      other: fc
        .tuple(
          fc.shuffledSubarray([...seen.members], { minLength: seen.members.length }),
          fc.shuffledSubarray([...seen.volunteers], { minLength: seen.volunteers.length }),
          fc.shuffledSubarray([...seen.nominations], { minLength: seen.nominations.length }),
          fc.shuffledSubarray([...seen.leaving], { minLength: seen.leaving.length }),
        )
        .map(([members, volunteers, nominations, leaving]) => ({ ...seen, members, volunteers, nominations, leaving })),
    }),
  );
  fc.assert(
    fc.property(shuffled, policies, ({ seen, other }, policy) => {
      expect(plan(other, policy)).toEqual(plan(seen, policy));
      expect(plan(seen, policy)).toEqual(plan(structuredClone(seen), policy));
    }),
    runs,
  );
});

test("there is no step without a quorum of voters that take part, before it and after it", () => {
  forEveryStep((seen, step) => {
    expect(hasQuorum(seen)).toBe(true);
    expect(hasQuorum(apply(seen, step))).toBe(true);
  });
});

test("there is always a voter left that takes part", () => {
  forEveryStep((seen, step) => {
    expect(votersOf(apply(seen, step)).filter(takesPart).length).toBeGreaterThan(0);
  });
});

test("there is never a second learner by our doing", () => {
  forEveryStep((seen, step) => {
    const adds = step.kind === "add-learner" || (step.kind === "complete" && step.op === "add-learner" && step.send);
    if (adds) expect(seen.members.filter((m) => m.role === "learner")).toEqual([]);
  });
});

test("only a learner that takes part and is in sync becomes a voter", () => {
  forEveryStep((seen, step, policy) => {
    if (step.kind !== "promote") return;
    const learner = seen.members.find((m) => m.id === step.member);
    expect(learner).toMatchObject({ role: "learner", started: true, answers: true, agentLive: true });
    expect(learner?.lag).toBeLessThanOrEqual(policy.maxLag);
  });
});

test("failure tolerance only falls for the ideal size, a leave, or a removal that was recorded before", () => {
  const tolerance = (seen: ClusterSnapshot): number =>
    votersOf(seen).filter(takesPart).length - Math.floor(votersOf(seen).length / 2) - 1;
  forEveryStep((seen, step) => {
    const asked = (step.kind === "remove" && (step.cause === "surplus" || step.cause === "leaving")) || step.kind === "complete";
    if (!asked) expect(tolerance(apply(seen, step))).toBeGreaterThanOrEqual(tolerance(seen));
  });
});

test("a voter is removed only as surplus, as a leaver or when dead, and a stranger's never", () => {
  forEveryStep((seen, step) => {
    if (step.kind !== "remove") return;
    const member = seen.members.find((m) => m.id === step.member);
    if (member?.role !== "voter") return;
    expect(member.agent).toBeDefined();
    if (step.cause === "leaving") expect(seen.leaving).toContain(member.agent);
    if (step.cause === "dead") expect(member.answers || member.heard === true).toBe(false);
    expect(["leaving", "dead", "surplus"]).toContain(step.cause);
  });
});

test("only volunteers that passed the pre-flight are nominated or added, and none that leaves, was passed over or has a seat", () => {
  forEveryStep((seen, step) => {
    if (step.kind !== "nominate" && step.kind !== "add-learner") return;
    expect(seen.volunteers.find((v) => v.agent === step.agent)?.preflight).toEqual({ state: "passed" });
    expect(seen.leaving).not.toContain(step.agent);
    expect(seen.passedOver.map((p) => p.agent)).not.toContain(step.agent);
    expect(seen.members.map((m) => m.agent)).not.toContain(step.agent);
    if (step.kind === "add-learner") expect(seen.nominations.map((n) => n.agent)).toContain(step.agent);
  });
});

test("raft leadership only moves from the raft leader to a voter that takes part and stays", () => {
  forEveryStep((seen, step) => {
    if (step.kind !== "move-leader") return;
    expect(seen.members.find((m) => m.id === step.from)?.raftLeader).toBe(true);
    const to = seen.members.find((m) => m.id === step.to);
    expect(to?.role === "voter" && takesPart(to)).toBe(true);
    expect(seen.leaving).not.toContain(to?.agent ?? "");
  });
});

test("a plan that is carried out ends: it settles or waits after a bounded number of steps, and never loses quorum on the way", () => {
  fc.assert(
    fc.property(snapshots, policies, (first, policy) => {
      let seen = first;
      const story: string[] = [];
      for (;;) {
        const next = plan(seen, policy);
        story.push(JSON.stringify(next));
        if (!("step" in next)) return;
        if (story.length > 80) throw new Error(`It does not end:\n${story.slice(-6).join("\n")}`);
        seen = apply(seen, next.step);
        if (!hasQuorum(seen)) throw new Error(`It lost quorum:\n${story.slice(-6).join("\n")}`);
      }
    }),
    runs,
  );
});

test("a sound cluster with enough volunteers reaches its ideal size with an odd number of voters", () => {
  const sizes = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 7 }), fc.integer({ min: 0, max: 9 }));
  fc.assert(
    fc.property(sizes, ([ideal, voters, spares]) => {
      let seen = sound(ideal, voters, spares);
      for (let steps = 0; ; steps++) {
        expect(steps).toBeLessThan(80);
        const next = plan(seen, defaultPolicy);
        if (!("step" in next)) {
          const seats = Math.min(ideal, 7, voters + spares);
          expect(next).toMatchObject({
            settled: { voters: seats - (seats % 2 === 0 ? 1 : 0), learners: seats % 2 === 0 ? 1 : 0 },
          });
          return;
        }
        seen = apply(seen, next.step);
      }
    }),
  );
});

function sound(ideal: number, voters: number, spares: number): ClusterSnapshot {
  const seats = Array.from({ length: voters }, (_, i) => `v${i}`);
  const free = Array.from({ length: spares }, (_, i) => `s${i}`);
  const volunteer = (agent: string): VolunteerSeen => ({
    agent,
    zone: "",
    priority: 0,
    sinceRevision: 1,
    preflight: { state: "passed" },
  });
  return {
    planner: "v0",
    idealClusterSize: ideal,
    members: seats.map((agent, i) => ({
      id: `id-${agent}`,
      agent,
      role: "voter",
      started: true,
      raftLeader: i === 0,
      answers: true,
      heard: true,
      healthyForMs: 10_000,
      unansweredForMs: 0,
      knownForMs: 10_000,
      lag: 0,
      stalledForMs: 0,
      agentLive: true,
      report: undefined,
      zone: "",
      priority: 0,
      sinceRevision: i,
    })),
    volunteers: [...seats, ...free].map(volunteer),
    nominations: seats.map((agent) => ({ agent, member: `id-${agent}`, standby: false })),
    leaving: [],
    restarting: [],
    passedOver: [],
    paused: undefined,
    noSpace: false,
    openStep: undefined,
    leaderForMs: 10_000,
  };
}
