import { highest, keptOf } from "./choice.ts";
import type { Candidate, Choice } from "./choice.ts";
import { scoresFor } from "./hrw.ts";

/**
 * As evenly as can be over the values of a label: no value has two more than another one that could have more. Who is scheduled stays where
 * that leaves it even; free places of a value go by weighted rendezvous. Hosts without the label are of one value.
 */
export function spread(label: string): (choice: Choice) => readonly string[] {
  const valueOf = ({ labels }: Candidate): string => (Object.hasOwn(labels, label) ? labels[label]! : "");
  return (choice) => {
    const { candidates, name } = choice;
    const groups = new Map<string, Group>();
    for (const one of candidates) {
      const value = valueOf(one);
      const group = groups.get(value);
      if (group === undefined) groups.set(value, { value, size: 1, kept: [], places: 0 });
      else group.size++;
    }
    const kept = keptOf(choice);
    for (const one of kept) groups.get(valueOf(one))!.kept.push(one);
    share([...groups.values()], Math.min(choice.places, candidates.length));
    const staying = new Set<string>();
    const rounds: string[][] = [];
    for (const { value, kept: own, places } of [...groups.values()].sort(byValue)) {
      for (const { host } of own.slice(0, places)) staying.add(host);
      if (own.length >= places) continue;
      const [has, scoreOf] = [new Set(own), scoresFor(name)];
      const best = highest(candidates, places - own.length, (one) =>
        valueOf(one) === value && !has.has(one) ? scoreOf(one) : undefined,
      );
      best.forEach(({ host }, round) => (rounds[round] ??= []).push(host));
    }
    return [...kept.map(({ host }) => host).filter((host) => staying.has(host)), ...rounds.flat()];
  };
}

interface Group {
  readonly value: string;
  readonly kept: Candidate[];
  size: number;
  places: number;
}

function byValue(a: Group, b: Group): number {
  return a.value < b.value ? -1 : 1;
}

/** Gives each group its places: one after the other as long as all that have room get one, what is left first where it is in use. */
function share(groups: readonly Group[], places: number): void {
  let left = places;
  let open = [...groups];
  let level = 0;
  for (;;) {
    open = open.filter((group) => group.size > level);
    if (open.length === 0 || left < open.length) break;
    const lowest = Math.min(...open.map(({ size }) => size));
    const up = Math.min(lowest - level, Math.floor(left / open.length));
    for (const group of open) group.places += up;
    left -= up * open.length;
    level += up;
  }
  const wanting = open.sort((a, b) => Number(b.kept.length > level) - Number(a.kept.length > level) || byValue(a, b));
  for (const group of wanting.slice(0, left)) group.places++;
}
