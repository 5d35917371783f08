import { highest, hostsOf, keptOf } from "./choice.ts";
import type { Candidate, Choice } from "./choice.ts";

/**
 * The least load for its weight. Who is scheduled stays unless somebody else has less by more than `hysteresis`, a share of its own load:
 * so loads that follow the places do not send them to and fro.
 */
export function least(hysteresis: number): (choice: Choice) => readonly string[] {
  return (choice) => {
    const { candidates, places } = choice;
    const staying = keptOf(choice).slice(0, places);
    const stays = new Set(hostsOf(staying));
    const waiting = highest(candidates, places, (one) => (stays.has(one.host) ? undefined : -loadOf(one)));
    const coming = waiting.splice(0, places - staying.length);
    // The most loaded of those that stay against the least loaded of those that wait, until that is no gain.
    for (const challenger of waiting) {
      const worst = staying.reduce<Candidate | undefined>(
        (w, one) => (w === undefined || byLoad(one, w) > 0 ? one : w),
        undefined,
      );
      if (worst === undefined || !(loadOf(challenger) < loadOf(worst) * (1 - hysteresis))) break;
      staying.splice(staying.indexOf(worst), 1);
      coming.push(challenger);
    }
    return hostsOf([...staying, ...coming.sort(byLoad)]);
  };
}

function loadOf({ load, weight }: Candidate): number {
  return load / weight;
}

function byLoad(a: Candidate, b: Candidate): number {
  return loadOf(a) - loadOf(b) || (a.host < b.host ? -1 : 1);
}
