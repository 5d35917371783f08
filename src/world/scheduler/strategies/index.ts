import { all } from "./all.ts";
import { alpha } from "./alpha.ts";
import type { Choose } from "./choice.ts";
import { hrw } from "./hrw.ts";
import { least } from "./least.ts";
import { pin } from "./pin.ts";
import { random } from "./random.ts";
import { rr } from "./rr.ts";
import { spread } from "./spread.ts";

export { candidateOf, placeOf } from "./choice.ts";
export type { Candidate, Choice, Choose } from "./choice.ts";

/** A strategy by its name, with all that it takes. */
export type StrategyRule =
  | { readonly name: "rr" | "alpha" | "hrw" | "all" }
  | { readonly name: "least"; readonly hysteresis: number }
  | { readonly name: "spread"; readonly label: string }
  | { readonly name: "pin"; readonly hosts: readonly string[] }
  | { readonly name: "random"; readonly seed: number };

export function strategyOf(rule: StrategyRule): Choose {
  switch (rule.name) {
    case "rr":
      return rr;
    case "alpha":
      return alpha;
    case "hrw":
      return hrw;
    case "all":
      return all;
    case "least":
      return least(rule.hysteresis);
    case "spread":
      return spread(rule.label);
    case "pin":
      return pin(rule.hosts);
    case "random":
      return random(rule.seed);
  }
}
