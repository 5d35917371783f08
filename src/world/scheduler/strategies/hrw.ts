import { highest, hostsOf } from "./choice.ts";
import type { Candidate, Choice } from "./choice.ts";
import { hashOf, mixed } from "./hash.ts";

/**
 * Weighted rendezvous (highest random weight): each host has a score for each name, and the highest win. It remembers nothing: where a host
 * goes only its places move, where one comes it takes its share and nobody else moves. A host of twice the weight has twice the share.
 */
export function hrw({ name, candidates, places }: Choice): readonly string[] {
  return hostsOf(highest(candidates, places, scoresFor(name)));
}

/** The score of each for that name. */
export function scoresFor(name: string): (candidate: Candidate) => number {
  const from = hashOf(`${name}\0`);
  return ({ host, weight }) => -weight / Math.log(mixed(hashOf(host, from)));
}
