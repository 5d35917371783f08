/** One that may be scheduled. */
export interface Candidate {
  readonly host: string;
  /** More than 0. */
  readonly weight: number;
  readonly load: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** What every strategy decides from. The candidates are in no order, and none is twice among them. */
export interface Choice {
  /** Of what is scheduled: who is chosen for one says nothing of another. */
  readonly name: string;
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
 * same for the same, whatever the order of the candidates, and it gives the same again where `former` is what it gave.
 */
export type Choose = (choice: Choice) => readonly string[];

/** The first `count` in that order. Cheaper than sorting all where few are wanted. */
export function foremost<T>(items: readonly T[], count: number, order: (a: T, b: T) => number): T[] {
  if (count <= 0) return [];
  if (count > 16 || count >= items.length) return items.toSorted(order).slice(0, count);
  const found: T[] = [];
  for (const item of items) {
    if (found.length === count && order(item, found[count - 1]!) >= 0) continue;
    let at = found.length;
    while (at > 0 && order(item, found[at - 1]!) < 0) at--;
    found.splice(at, 0, item);
    if (found.length > count) found.pop();
  }
  return found;
}

export function byName(a: Pick<Candidate, "host">, b: Pick<Candidate, "host">): number {
  return a.host < b.host ? -1 : a.host > b.host ? 1 : 0;
}

/** Those of the former ones that are candidates still, by rank, and the candidates that are none of them. */
export function keptAndOthers({ candidates, former }: Choice): { readonly kept: Candidate[]; readonly others: Candidate[] } {
  const ranks = new Map(former.map((host, rank) => [host, rank]));
  const kept: Candidate[] = [];
  const others: Candidate[] = [];
  for (const candidate of candidates) (ranks.has(candidate.host) ? kept : others).push(candidate);
  kept.sort((a, b) => ranks.get(a.host)! - ranks.get(b.host)!);
  return { kept, others };
}

export function hostsOf(candidates: readonly Candidate[]): string[] {
  return candidates.map(({ host }) => host);
}
