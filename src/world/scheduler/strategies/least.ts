import { byName, foremost, hostsOf, keptAndOthers } from "./choice.ts";
import type { Candidate, Choice } from "./choice.ts";

/**
 * The least load for its weight. Who is scheduled stays unless somebody else has less by more than `hysteresis`, a share of its own load:
 * so loads that follow the places do not send them to and fro.
 */
export function least(hysteresis: number): (choice: Choice) => readonly string[] {
  return (choice) => {
    const { places } = choice;
    const { kept, others } = keptAndOthers(choice);
    const staying = kept.slice(0, places);
    const waiting = [...kept.slice(places), ...others].sort(byLoad);
    const coming = waiting.splice(0, places - staying.length);
    // The most loaded of those that stay against the least loaded of those that wait, until that is no gain.
    for (const challenger of foremost(waiting, staying.length, byLoad)) {
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
  return loadOf(a) - loadOf(b) || byName(a, b);
}
