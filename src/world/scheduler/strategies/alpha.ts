import { hostsOf } from "./choice.ts";
import type { Choice } from "./choice.ts";

/** The first by name, also where that takes a place away from somebody. */
export function alpha({ candidates, places }: Choice): readonly string[] {
  return hostsOf(candidates.slice(0, places));
}
