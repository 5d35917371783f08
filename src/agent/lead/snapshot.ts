import type { ClusterSnapshot, VolunteerSeen } from "../../chooser/index.ts";
import type { EndpointStatus } from "../../etcd/index.ts";
import type { Look } from "./look.ts";
import { volunteersSeen, type Heard, type Memory } from "./memory.ts";

/** One look at everything, on the clock of who looked. */
export interface Sight {
  readonly look: Look;
  readonly answers: ReadonlyMap<string, EndpointStatus>;
  readonly heard: Heard;
  readonly nowMs: number;
}

/** Who looks, and what it knows from before. */
export interface Onlooker {
  readonly name: string;
  readonly memory: Memory;
  /** The size in force where the keys tell none. */
  readonly size: number;
  readonly preflightOf: (host: string, look: Look) => VolunteerSeen["preflight"];
}

/** What the chooser is to decide from. */
export function snapshotOf({ look, answers, heard, nowMs }: Sight, by: Onlooker): ClusterSnapshot {
  return {
    planner: by.name,
    idealClusterSize: idealOf(look, by.size),
    closing: by.memory.closing(look, nowMs),
    members: by.memory.members({ nowMs, look, statuses: answers, heard }),
    volunteers: volunteersSeen(look, by.preflightOf),
    nominations: [...look.nominated.keys()].map((agent) => {
      const seat = look.seats.get(agent)?.value;
      return { agent, member: seat?.member, standby: seat?.standby ?? false };
    }),
    leaving: [...look.leaving],
    restarting: [...look.restarting],
    passedOver: [...look.passedOver].map(([agent, reason]) => ({ agent, reason })),
    paused: look.paused,
    noSpace: [...answers.values()].some((status) => status.errors.some((error) => error.includes("NOSPACE"))),
    openStep: by.memory.openStep(look, nowMs),
    leaderForMs: by.memory.leaderForMs(nowMs),
  };
}

/** The size in force: what the size key says, else the last good one. */
export function idealOf({ size }: Look, otherwise: number): number {
  if (size.asked !== undefined && size.asked > 0) return size.asked;
  return size.last ?? otherwise;
}
