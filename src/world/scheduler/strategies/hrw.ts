import { byName, foremost } from "./choice.ts";
import type { Candidate, Choice } from "./choice.ts";
import { hashOf, mixed } from "./hash.ts";

/**
 * Weighted rendezvous (highest random weight): each host has a score for each name, and the highest win. It remembers nothing: where a host
 * goes only its places move, where one comes it takes its share and nobody else moves. A host of twice the weight has twice the share.
 */
export function hrw({ name, candidates, places }: Choice): readonly string[] {
  return foremost(scored(name, candidates), places, byScore).map(({ host }) => host);
}

export interface Scored {
  readonly host: string;
  readonly score: number;
}

/** Candidates with their scores for that name. */
export function scored(name: string, candidates: readonly Candidate[]): Scored[] {
  const from = hashOf(`${name}\0`);
  return candidates.map(({ host, weight }) => ({ host, score: -weight / Math.log(mixed(hashOf(host, from))) }));
}

/** The highest first. */
export function byScore(a: Scored, b: Scored): number {
  return b.score - a.score || byName(a, b);
}
