/** What the chooser is asked to keep to. The cluster's, not the flag of whoever leads. */
export interface ChooserPolicy {
  /** Seats that are filled at most, whatever the ideal size. Default 7. */
  readonly maxSeats: number;
  /** Learners kept in sync beyond the ideal size. Default 0. */
  readonly standbys: 0 | 1;
  /** Fill an even target with voters, in place of a learner in the last seat. Default false. */
  readonly evenVoters: boolean;
  /** etcd runs with its own strict check, which refuses learner-first replacement with three voters. Default false. */
  readonly strictReconfigCheck: boolean;
  /** Entries a learner may be behind when it is promoted. Default 1,000. */
  readonly maxLag: number;
  /** A learner that has not started after this long is given up. Default 60,000. */
  readonly nomineeTimeoutMs: number;
  /** The same at failure tolerance 0, where giving up helps: with two voters, or with another spare at hand. Default 5,000. */
  readonly urgentNomineeTimeoutMs: number;
  /** A lagging learner that stands still for this long is given up. Default 60,000. */
  readonly stallTimeoutMs: number;
  /** A voter that does not answer for this long is dead although its agent lives. Default 60,000. */
  readonly unansweredTimeoutMs: number;
  /** Uninterrupted health of the others before a removal that nobody died for. Default 5,000. */
  readonly healthBeforeRemovalMs: number;
  /** How long a learner must have been healthy before it is promoted. Default 0. */
  readonly stabilizationMs: number;
  /** A new leader removes no surplus before it has led for this long: one session TTL. Default 10,000. */
  readonly settleMs: number;
  /** After this long a recorded member call that must not be sent again can no longer land either. Default 120,000. */
  readonly openStepTimeoutMs: number;
}

export const defaultPolicy: ChooserPolicy = {
  maxSeats: 7,
  standbys: 0,
  evenVoters: false,
  strictReconfigCheck: false,
  maxLag: 1_000,
  nomineeTimeoutMs: 60_000,
  urgentNomineeTimeoutMs: 5_000,
  stallTimeoutMs: 60_000,
  unansweredTimeoutMs: 60_000,
  healthBeforeRemovalMs: 5_000,
  stabilizationMs: 0,
  settleMs: 10_000,
  openStepTimeoutMs: 120_000,
};
