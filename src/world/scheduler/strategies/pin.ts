import { candidateOf } from "./choice.ts";
import type { Choice } from "./choice.ts";

/** Those of a list that are there, in its order. */
export function pin(hosts: readonly string[]): (choice: Choice) => readonly string[] {
  return ({ candidates, places }) => hosts.filter((host) => candidateOf(candidates, host) !== undefined).slice(0, places);
}
