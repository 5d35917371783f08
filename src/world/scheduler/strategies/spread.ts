import { foremost, keptAndOthers } from "./choice.ts";
import type { Candidate, Choice } from "./choice.ts";
import { byScore, scored } from "./hrw.ts";

/**
 * As evenly as can be over the values of a label: no value has two more than another one that could have more. Who is scheduled stays where
 * that leaves it even; free places of a value go by weighted rendezvous. Hosts without the label are of one value.
 */
export function spread(label: string): (choice: Choice) => readonly string[] {
  return (choice) => {
    const { kept, others } = keptAndOthers(choice);
    const groups = new Map<string, Group>();
    const groupOf = ({ labels }: Candidate): Group => {
      const value = Object.hasOwn(labels, label) ? labels[label]! : "";
      let group = groups.get(value);
      if (group === undefined) groups.set(value, (group = { value, kept: [], others: [], places: 0 }));
      return group;
    };
    for (const one of kept) groupOf(one).kept.push(one);
    for (const one of others) groupOf(one).others.push(one);
    share([...groups.values()], Math.min(choice.places, choice.candidates.length));
    const staying = new Set<string>();
    const rounds: string[][] = [];
    for (const group of [...groups.values()].sort(byValue)) {
      for (const { host } of group.kept.slice(0, group.places)) staying.add(host);
      const free = group.places - Math.min(group.places, group.kept.length);
      if (free === 0) continue;
      const best = foremost(scored(choice.name, group.others), free, byScore);
      best.forEach(({ host }, round) => (rounds[round] ??= []).push(host));
    }
    return [...kept.map(({ host }) => host).filter((host) => staying.has(host)), ...rounds.flat()];
  };
}

interface Group {
  readonly value: string;
  readonly kept: Candidate[];
  readonly others: Candidate[];
  places: number;
}

function sizeOf({ kept, others }: Group): number {
  return kept.length + others.length;
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
    open = open.filter((group) => sizeOf(group) > level);
    if (open.length === 0 || left < open.length) break;
    const lowest = Math.min(...open.map(sizeOf));
    const up = Math.min(lowest - level, Math.floor(left / open.length));
    for (const group of open) group.places += up;
    left -= up * open.length;
    level += up;
  }
  const wanting = open.sort((a, b) => Number(b.kept.length > level) - Number(a.kept.length > level) || byValue(a, b));
  for (const group of wanting.slice(0, left)) group.places++;
}
