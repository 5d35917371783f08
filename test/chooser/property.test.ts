import fc from "fast-check";
import { expect, test } from "vitest";
import {
  defaultPolicy,
  keepsQuorum,
  plan,
  type ChooserPolicy,
  type ClusterSnapshot,
  type MemberSeen,
  type Step,
  type VolunteerSeen,
} from "../../src/chooser/index.ts";
import { apply } from "../support/model.ts";
import { policies, snapshots } from "../support/snapshots.ts";

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
    closing: undefined,
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
