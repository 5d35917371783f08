import { byName, foremost } from "./choice.ts";
import type { Choice } from "./choice.ts";
import { hashOf, mixed } from "./hash.ts";

/** As the seed throws it: each seed gives another order, and the same seed always the same. Weights count for nothing. */
export function random(seed: number): (choice: Choice) => readonly string[] {
  return ({ name, candidates, places }) => {
    const from = hashOf(`${seed}\0${name}\0`);
    const thrown = candidates.map(({ host }) => ({ host, at: mixed(hashOf(host, from)) }));
    return foremost(thrown, places, (a, b) => a.at - b.at || byName(a, b)).map(({ host }) => host);
  };
}
