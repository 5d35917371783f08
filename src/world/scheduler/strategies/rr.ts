import { byName, foremost, hostsOf, keptAndOthers } from "./choice.ts";
import type { Candidate, Choice } from "./choice.ts";

/** Sticky round robin: who is scheduled stays; a free place goes to the next host by name behind the one that got a place last. */
export function rr(choice: Choice): readonly string[] {
  const { places, cursor } = choice;
  const { kept, others } = keptAndOthers(choice);
  const staying = hostsOf(kept.slice(0, places));
  if (staying.length === places) return staying;
  const turn = (a: Candidate, b: Candidate): number => {
    const [aheadA, aheadB] = [cursor === undefined || a.host > cursor, cursor === undefined || b.host > cursor];
    return aheadA === aheadB ? byName(a, b) : aheadA ? -1 : 1;
  };
  return [...staying, ...hostsOf(foremost(others, places - staying.length, turn))];
}
