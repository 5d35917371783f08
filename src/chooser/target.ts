import type { ChooserPolicy } from "./policy.ts";

/** The size the rules steer to. */
export interface Target {
  /** Members, the parity learner included. At least 1. */
  readonly seats: number;
  /** How many of them vote. */
  readonly voters: number;
}

/**
 * The target for an ideal size and the agents that could hold a seat. An even number of voters survives no more deaths
 * than the odd one below it, so the even seat is a learner unless the policy says otherwise.
 */
export function targetOf(ideal: number, eligible: number, policy: ChooserPolicy): Target {
  const seats = Math.max(1, Math.min(ideal, policy.maxSeats, eligible));
  const even = seats % 2 === 0;
  return { seats, voters: even && !policy.evenVoters ? seats - 1 : seats };
}
