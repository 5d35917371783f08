import { isDeepStrictEqual } from "node:util";
import { dynamicSize, plan, type Chooser, type ChooserPolicy, type ClusterSnapshot } from "../../../src/chooser/index.ts";
import type { Random } from "../random.ts";
import { violation } from "./invariants.ts";

export type ChooserKind = "dynamic" | "random" | "flapping" | "throwing" | "silent";

/** A chooser that wishes as it likes until there is peace, and looks at every snapshot it is given. */
export function chooserOf(kind: ChooserKind, random: Random, isPeace: () => boolean): Chooser {
  let turn = 0;
  return {
    name: kind,
    choose: (seen, policy) => {
      checkOrder(seen, policy, random);
      const wanted = dynamicSize.choose(seen, policy);
      if (isPeace() || kind === "dynamic") return wanted;
      const everybody = [
        ...new Set([...wanted, ...seen.members.flatMap((m) => m.agent ?? []), ...seen.volunteers.map((v) => v.agent)]),
      ];
      switch (kind) {
        case "random":
          return random.shuffled(everybody).slice(random.between(0, everybody.length));
        case "flapping":
          return ++turn % 2 === 0 ? everybody : everybody.toReversed();
        case "throwing":
          if (random.chance(0.5)) throw new Error("no idea");
          return wanted;
        case "silent":
          return random.chance(0.3) ? new Promise<never>(() => undefined) : wanted;
      }
    },
  };
}

/** Equal snapshots give equal plans, in whatever order their lists are. */
function checkOrder(seen: ClusterSnapshot, policy: ChooserPolicy, random: Random): void {
  const shuffled = {
    ...seen,
    members: random.shuffled(seen.members),
    volunteers: random.shuffled(seen.volunteers),
    nominations: random.shuffled(seen.nominations),
    leaving: random.shuffled(seen.leaving),
    restarting: random.shuffled(seen.restarting),
  };
  if (!isDeepStrictEqual(plan(shuffled, policy), plan(seen, policy))) violation("the plan depends on the order of its inputs");
}
