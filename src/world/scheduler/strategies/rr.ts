import { hostsOf, keptOf, placeOf } from "./choice.ts";
import type { Choice } from "./choice.ts";

/** Sticky round robin: who is scheduled stays; a free place goes to the next host by name behind the one that got a place last. */
export function rr(choice: Choice): readonly string[] {
  const { candidates, places, cursor } = choice;
  const chosen = new Set(hostsOf(keptOf(choice).slice(0, places)));
  const from = cursor === undefined ? 0 : placeOf(candidates, `${cursor}\0`);
  for (let i = 0; i < candidates.length && chosen.size < places; i++)
    chosen.add(candidates[(from + i) % candidates.length]!.host);
  return [...chosen];
}
