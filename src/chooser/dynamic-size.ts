import { byNomination, byRemoval, crowdOf } from "./rank.ts";
import type { ClusterSnapshot, MemberSeen, VolunteerSeen } from "./snapshot.ts";

/**
 * What a cluster should look like: how many seats, who gets one first and who loses one first. Wishes only: when a step
 * may be taken, and whether at all, is decided by the rules, so that no choice made here can cost quorum.
 */
export interface Wants {
  readonly size: number;
  /** Total orders, best nominee first and first to go first. */
  readonly byNomination: (a: VolunteerSeen, b: VolunteerSeen) => number;
  readonly byRemoval: (a: MemberSeen, b: MemberSeen) => number;
}

/** From what was seen, and those members that live and stay. */
export type Chooser = (seen: ClusterSnapshot, staying: readonly MemberSeen[]) => Wants;

/** The built-in chooser: the size written at the size key, spread over zones. */
export const dynamicSize: Chooser = (seen, staying) => ({
  size: seen.idealClusterSize,
  byNomination: byNomination(crowdOf(staying)),
  byRemoval: byRemoval(crowdOf(staying.filter((m) => m.role === "voter"))),
});
