import { isLeaving, isLost } from "./dead.ts";
import type { ChooserPolicy } from "./policy.ts";
import { byNomination, byRemoval, crowdOf } from "./rank.ts";
import type { AgentName, ClusterSnapshot } from "./snapshot.ts";
import type { Chooser } from "./wish.ts";

/**
 * The built-in chooser: every agent there is, so that the cluster has the size written at the size key. Whoever has a seat keeps it
 * before others get one; seats are spread over zones, then go by priority, then to those that are there longest.
 */
export const dynamicSize = {
  name: "dynamicsize",
  choose: (seen: ClusterSnapshot, policy: ChooserPolicy): readonly AgentName[] => {
    const staying = seen.members.filter((m) => !isLeaving(m, seen) && !isLost(m, seen, policy));
    const firstToGo = byRemoval(crowdOf(staying.filter((m) => m.role === "voter")));
    const holders = seen.members.toSorted(
      (a, b) => Number(a.role === "learner") - Number(b.role === "learner") || firstToGo(b, a),
    );
    const others = seen.volunteers.toSorted(byNomination(crowdOf(staying)));
    return [...new Set([...holders.flatMap((m) => m.agent ?? []), ...others.map((v) => v.agent)])];
  },
} as const satisfies Chooser;
