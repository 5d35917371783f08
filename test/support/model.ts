import { apply, defaultPolicy, rehearse, type ChooserPolicy } from "../../src/chooser/index.ts";
import { brief, cluster } from "./cluster.ts";

export { apply };

/** Every step from one line of notation on, and what it ends with. Stops after 60 steps, which no story needs. */
export function play(line: string, policy: Partial<ChooserPolicy> = {}): string[] {
  const { steps, ends } = rehearse(cluster(line), { ...defaultPolicy, ...policy }, 60);
  const story = steps.map(brief);
  if (ends === undefined) throw new Error(`Cannot end the story of ${line}: ${story.slice(-8).join(", ")}`);
  return [...story, brief(ends)];
}
