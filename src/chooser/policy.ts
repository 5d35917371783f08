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
  /** A learner that the raft leader hears, but that has not started after this long, is given up. Default 600,000. */
  readonly syncTimeoutMs: number;
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
  /** Size 0 has to stand for this long before anybody is removed for it. Default 10,000. */
  readonly closeAfterMs: number;
}

export const defaultPolicy: ChooserPolicy = {
  maxSeats: 7,
  standbys: 0,
  evenVoters: false,
  strictReconfigCheck: false,
  maxLag: 1_000,
  nomineeTimeoutMs: 60_000,
  urgentNomineeTimeoutMs: 5_000,
  syncTimeoutMs: 600_000,
  stallTimeoutMs: 60_000,
  unansweredTimeoutMs: 60_000,
  healthBeforeRemovalMs: 5_000,
  stabilizationMs: 0,
  settleMs: 10_000,
  openStepTimeoutMs: 120_000,
  closeAfterMs: 10_000,
};

/** What a field may be: a switch, or a whole number within bounds. */
export type Bound = "switch" | readonly [least: number, most: number];

/** What each field may be. */
export const policyBounds = {
  maxSeats: [1, 15],
  standbys: [0, 1],
  evenVoters: "switch",
  strictReconfigCheck: "switch",
  maxLag: [0, 1_000_000_000],
  nomineeTimeoutMs: [1_000, 86_400_000],
  urgentNomineeTimeoutMs: [1_000, 86_400_000],
  syncTimeoutMs: [1_000, 86_400_000],
  stallTimeoutMs: [1_000, 86_400_000],
  unansweredTimeoutMs: [1_000, 86_400_000],
  healthBeforeRemovalMs: [0, 86_400_000],
  stabilizationMs: [0, 86_400_000],
  settleMs: [0, 86_400_000],
  openStepTimeoutMs: [1_000, 86_400_000],
  closeAfterMs: [0, 86_400_000],
} as const satisfies Readonly<Record<keyof ChooserPolicy, Bound>>;

/**
 * Reads a policy as anyone may have written it, over `base`. A field that is missing, or is not what it must be, keeps
 * the value of `base`; the latter is said in `refused`. Fields of a later version are ignored.
 */
export function readPolicy(
  given: unknown,
  base: ChooserPolicy = defaultPolicy,
): { readonly policy: ChooserPolicy; readonly refused: readonly string[] } {
  if (typeof given !== "object" || given === null || Array.isArray(given))
    return { policy: base, refused: ["it is not an object"] };
  const { read, refused } = readFields(new Map(Object.entries(given)), policyBounds);
  return { policy: { ...base, ...(read as Partial<ChooserPolicy>) }, refused };
}

/** The fields that are within their bounds, and why the others are not. What is missing is neither. */
export function readFields(
  given: ReadonlyMap<string, unknown>,
  bounds: Readonly<Record<string, Bound>>,
): { readonly read: Readonly<Record<string, unknown>>; readonly refused: readonly string[] } {
  const read: Record<string, unknown> = {};
  const refused: string[] = [];
  for (const [field, bound] of Object.entries(bounds)) {
    const value = given.get(field);
    if (value === undefined) continue;
    const why = whyNotWithin(value, bound);
    if (why === undefined) read[field] = value;
    else refused.push(`${field} ${why}`);
  }
  return { read, refused };
}

/** Why a value is not what its field may be; undefined when it is. */
export function whyNotWithin(value: unknown, bound: Bound): string | undefined {
  if (bound === "switch") return typeof value === "boolean" ? undefined : "is not true or false";
  const [least, most] = bound;
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return undefined;
  return `is not a whole number from ${least} to ${most}`;
}
