import type { CandidateRecord } from "./records.ts";
import type { Rules } from "./rules.ts";
import { strategyOf } from "./strategies/index.ts";
import { candidateOf } from "./strategies/index.ts";
import type { Candidate } from "./strategies/index.ts";

/** One namespace at one revision. */
export interface Seen {
  readonly name: string;
  readonly rules: Rules | { readonly refused: string };
  readonly candidates: ReadonlyMap<string, CandidateRecord>;
  /** Of these those that may be scheduled by the rules, by name. */
  readonly eligible: readonly Candidate[];
  /** What is published; no hosts where nothing is. */
  readonly former: Published;
  /** Hosts that count themselves as scheduled, or may. */
  readonly active: ReadonlySet<string>;
}

export interface Published {
  readonly hosts: readonly string[];
  readonly cursor: string | undefined;
  readonly problem: string | undefined;
}

export interface Planned extends Published {
  /** Hosts that must not be active when this is published: others are put in their places. */
  readonly proofs: readonly string[];
}

/** Of one publication: each is a condition of its transaction. */
const mostProofs = 20;

/**
 * What is to be published next: as many steps towards what the strategy says as may be taken at once.
 *
 * A place is free when no listed host has it and nobody is active in it: a host that is taken off the list keeps its place until it has let
 * go, or its session's lease is gone. So there are never more hosts active than there are places (see INVARIANTS.md), and whoever is to come
 * in place of one that lives comes with a later publication than that one goes.
 */
export function plan(seen: Seen): Planned {
  const { rules, candidates, eligible, former, active } = seen;
  const living = former.hosts.filter((host) => candidates.has(host));
  if ("refused" in rules) return { hosts: living, cursor: former.cursor, problem: rules.refused, proofs: [] };
  const places = rules.maxCount;
  const wanted = strategyOf(rules.strategy)({
    name: seen.name,
    candidates: eligible,
    places,
    former: former.hosts,
    cursor: former.cursor,
  });
  const postponed = postponedMoves(seen, rules, living, wanted);
  const before = new Set(living);
  const staying = new Set([...wanted.filter((host) => before.has(host)), ...postponed]);
  const gone = former.hosts.filter((host) => !staying.has(host) && !active.has(host));
  const proofs = gone.slice(0, mostProofs);
  // Of whom it is not proved that they are not active hold their places for another round.
  const taken = new Set([...staying, ...active, ...gone.slice(mostProofs)]);
  const coming: string[] = [];
  for (const host of wanted) {
    if (staying.has(host)) continue;
    if (!taken.has(host) && taken.size >= places) continue;
    taken.add(host);
    coming.push(host);
  }
  const came = new Set(coming);
  return {
    hosts: [...wanted.filter((host) => staying.has(host) || came.has(host)), ...postponed],
    cursor: coming.at(-1) ?? former.cursor,
    problem: undefined,
    proofs: coming.length === 0 || places === Infinity ? [] : proofs,
  };
}

/** Of the living hosts that are to go those that have to wait, as enough others are on their way: the higher their rank, the longer. */
function postponedMoves(
  { former, active, eligible }: Seen,
  { maxMoves, maxCount }: Rules,
  living: readonly string[],
  wanted: readonly string[],
): readonly string[] {
  const isWanted = new Set(wanted);
  const going = living.filter((host) => !isWanted.has(host));
  if (going.length === 0 || maxMoves === Infinity) return [];
  const listed = new Set(former.hosts);
  const coming = living.filter((host) => isWanted.has(host) && !active.has(host)).length;
  const leaving = [...active].filter((host) => !listed.has(host)).length;
  // Free places are filled first.
  const missing = wanted.filter((host) => !listed.has(host)).length;
  const free = Math.max(0, Math.min(missing, maxCount - new Set([...living, ...active]).size));
  const most = Math.max(0, maxMoves - coming - leaving - free);
  // Who may not be scheduled any more goes first.
  const mayStay = (host: string): boolean => candidateOf(eligible, host) !== undefined;
  const inTurn = [...going.filter(mayStay), ...going.filter((host) => !mayStay(host))];
  const waiting = new Set(inTurn.slice(0, Math.max(0, inTurn.length - most)));
  return going.filter((host) => waiting.has(host));
}

/** Whether that says the same as what is published. */
export function isSame(a: Published, b: Published): boolean {
  return (
    a.cursor === b.cursor &&
    a.problem === b.problem &&
    a.hosts.length === b.hosts.length &&
    a.hosts.every((host, rank) => host === b.hosts[rank])
  );
}
