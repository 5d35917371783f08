/** One that may be scheduled. */
export interface Candidate {
  readonly host: string;
  /** More than 0. */
  readonly weight: number;
  readonly load: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** What every strategy decides from. */
export interface Choice {
  /** Of what is scheduled: who is chosen for one says nothing of another. */
  readonly name: string;
  /** By name, each once. */
  readonly candidates: readonly Candidate[];
  /** How many are wanted at most; may be Infinity. */
  readonly places: number;
  /** Who is scheduled now, by rank: some of them may be no candidates any more. */
  readonly former: readonly string[];
  /** The host that got a place last; undefined where none has yet. */
  readonly cursor: string | undefined;
}

/**
 * A strategy: the hosts that are to be scheduled, by rank, each once, all of them candidates, `places` at most. It is a pure function: the
 * same for the same, and it gives the same again where `former` is what it gave.
 */
export type Choose = (choice: Choice) => readonly string[];

/** Where a host is among candidates, or would be: the first of no lower name. */
export function placeOf(candidates: readonly Pick<Candidate, "host">[], host: string): number {
  let [from, to] = [0, candidates.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (candidates[middle]!.host < host) from = middle + 1;
    else to = middle;
  }
  return from;
}

export function candidateOf(candidates: readonly Candidate[], host: string): Candidate | undefined {
  const found = candidates[placeOf(candidates, host)];
  return found?.host === host ? found : undefined;
}

/** Those of the former ones that are candidates still, by rank. */
export function keptOf({ candidates, former }: Choice): Candidate[] {
  return former.flatMap((host) => candidateOf(candidates, host) ?? []);
}

/** The `count` with the highest scores, the highest first; of those with the same the first by name. Undefined: it is left out. */
export function highest(
  candidates: readonly Candidate[],
  count: number,
  scoreOf: (candidate: Candidate) => number | undefined,
): Candidate[] {
  const found: { readonly candidate: Candidate; readonly score: number }[] = [];
  if (count <= 0) return [];
  // One by one into their places where few are wanted, which costs less than to sort them all.
  const few = count <= 16 ? count : Infinity;
  for (const candidate of candidates) {
    const score = scoreOf(candidate);
    if (score === undefined || (found.length >= few && score <= found[few - 1]!.score)) continue;
    let at = found.length;
    if (few !== Infinity) while (at > 0 && score > found[at - 1]!.score) at--;
    if (found.length === few) found.pop();
    found.splice(at, 0, { candidate, score });
  }
  if (few === Infinity) found.sort((a, b) => b.score - a.score);
  return found.slice(0, count).map(({ candidate }) => candidate);
}

export function hostsOf(candidates: readonly Candidate[]): string[] {
  return candidates.map(({ host }) => host);
}
