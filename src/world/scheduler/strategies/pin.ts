import type { Choice } from "./choice.ts";

/** Those of a list that are there, in its order. */
export function pin(hosts: readonly string[]): (choice: Choice) => readonly string[] {
  return ({ candidates, places }) => {
    const there = new Set(candidates.map(({ host }) => host));
    return hosts.filter((host) => there.has(host)).slice(0, places);
  };
}
