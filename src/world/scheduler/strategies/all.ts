import { hostsOf } from "./choice.ts";
import type { Choice } from "./choice.ts";

/** All of them, by name. */
export function all({ candidates, places }: Choice): readonly string[] {
  return hostsOf(candidates.slice(0, places));
}
