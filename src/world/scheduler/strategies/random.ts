import { highest, hostsOf } from "./choice.ts";
import type { Choice } from "./choice.ts";
import { hashOf, mixed } from "./hash.ts";

/** As the seed throws it: each seed gives another order, and the same seed always the same. Weights count for nothing. */
export function random(seed: number): (choice: Choice) => readonly string[] {
  return ({ name, candidates, places }) => {
    const from = hashOf(`${seed}\0${name}\0`);
    return hostsOf(highest(candidates, places, ({ host }) => mixed(hashOf(host, from))));
  };
}
