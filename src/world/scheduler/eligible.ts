import type { CandidateRecord } from "./records.ts";
import type { Rules } from "./rules.ts";
import { placeOf } from "./strategies/index.ts";
import type { Candidate } from "./strategies/index.ts";

/** Whether a candidate may be scheduled. */
export function isEligible({ host, weight, drain, labels }: CandidateRecord, { hostsFilter, selector }: Rules): boolean {
  if (drain || weight === 0 || hostsFilter?.has(host) === false) return false;
  return selector.every(([label, value]) => Object.hasOwn(labels, label) && labels[label] === value);
}

/** Those of them that may be scheduled, by name. */
export function eligibleOf(candidates: Iterable<CandidateRecord>, rules: Rules): Candidate[] {
  return [...candidates].filter((one) => isEligible(one, rules)).sort((a, b) => (a.host < b.host ? -1 : 1));
}

/** Takes what is there of a host out of such a list, and puts `now` in its place where there is one. */
export function exchange(eligible: Candidate[], host: string, now: Candidate | undefined): void {
  const at = placeOf(eligible, host);
  eligible.splice(at, Number(eligible[at]?.host === host), ...(now === undefined ? [] : [now]));
}
