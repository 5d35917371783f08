import fc from "fast-check";
import {
  defaultPolicy,
  type ChooserPolicy,
  type ClusterSnapshot,
  type MemberSeen,
  type NominationSeen,
  type VolunteerSeen,
} from "../../src/chooser/index.ts";

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

/** Half of the clusters have a chooser of their own, which wishes for anything, or for nothing. */
const wishes: fc.Arbitrary<Pick<ClusterSnapshot, "wish">> = fc.oneof(
  { weight: 5, arbitrary: fc.constant({}) },
  {
    weight: 4,
    arbitrary: fc
      .shuffledSubarray([...names])
      .map((seats): Pick<ClusterSnapshot, "wish"> => ({ wish: { by: "mine", seats, faults: [] } })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("late" as const, "threw" as const, "no-list" as const, "unknown" as const)
      .map((failed): Pick<ClusterSnapshot, "wish"> => ({ wish: { by: "mine", failed, why: "it failed" } })),
  },
);

/** Anything a leader could come to see, and much that it could not. */
export const snapshots: fc.Arbitrary<ClusterSnapshot> = fc
  .record({
    members: fc.subarray(names, { minLength: 1, maxLength: 8 }).chain((some) => fc.tuple(...some.map(memberOf))),
    raftLeader: fc.nat(),
    volunteers: fc.subarray(names).chain((some) => fc.tuple(...some.map(volunteerOf))),
    unseated: fc.subarray(names, { maxLength: 2 }),
    lost: fc.subarray(names, { maxLength: 1 }),
    unfinished: fc.subarray(names, { maxLength: 1 }),
    idealClusterSize: fc.integer({ min: 1, max: 9 }),
    closing: fc.option(
      fc.record({
        askedForMs: fc.constantFrom(0, 9_999, 10_000),
        closed: fc.constantFrom(undefined, undefined, undefined, "h1"),
      }),
      { freq: 6, nil: undefined },
    ),
    leaving: fc.subarray(names, { maxLength: 3 }),
    restarting: fc.subarray(names, { maxLength: 2 }),
    passedOver: fc.subarray(names, { maxLength: 2 }),
    open: fc.option(fc.tuple(fc.constantFrom("add-learner", "promote", "remove"), fc.constantFrom(...names), durations), {
      freq: 8,
    }),
    leaderForMs: fc.constantFrom(0, 9_999, 10_000, 3_600_000),
    wish: wishes,
  } as const)
  .map(({ members, raftLeader, volunteers, unseated, lost, unfinished, open, passedOver, wish, ...rest }) => {
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
      ...wish,
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

/** Policies that matter to the rules. */
export const policies: fc.Arbitrary<ChooserPolicy> = fc
  .record({
    maxSeats: fc.constantFrom(1, 3, 5, 7, 7),
    standbys: fc.constantFrom<0 | 1>(0, 0, 1),
    evenVoters: fc.constantFrom(false, false, true),
    strictReconfigCheck: fc.constantFrom(false, false, true),
  })
  .map((some) => ({ ...defaultPolicy, ...some }));
