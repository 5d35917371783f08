import type { ChooserPolicy } from "./policy.ts";
import type { AgentName, ClusterSnapshot, MemberId } from "./snapshot.ts";

/** The most one planning round may change. */
export type Step =
  /** Write the nomination: the agent is asked to hold a seat. */
  | { readonly kind: "nominate"; readonly agent: AgentName; readonly standby: boolean }
  /** Write the nomination of a voter again that has lost it. */
  | { readonly kind: "renominate"; readonly agent: AgentName; readonly member: MemberId }
  /** Delete a nomination that has neither member nor volunteer, or is not wanted any more. */
  | { readonly kind: "withdraw"; readonly agent: AgentName }
  | { readonly kind: "add-learner"; readonly agent: AgentName }
  | { readonly kind: "promote"; readonly agent: AgentName | undefined; readonly member: MemberId }
  | { readonly kind: "move-leader"; readonly from: MemberId; readonly to: MemberId }
  | {
      readonly kind: "remove";
      readonly agent: AgentName | undefined;
      readonly member: MemberId;
      readonly cause: "surplus" | "leaving" | "dead" | "failed-learner" | "unknown-learner";
      /** Its agent is not nominated again for a while. */
      readonly passOver: boolean;
    }
  /** A step that was recorded earlier: send it again, or see that it has happened, and close the record. */
  | { readonly kind: "complete" };

/** Why there is no step yet. Each names the thing that has to change first. */
export type Waiting =
  | { readonly on: "resume"; readonly wouldDo: Step | undefined }
  | { readonly on: "quorum"; readonly healthy: number; readonly voters: number }
  | { readonly on: "space" }
  | { readonly on: "learner"; readonly agent: AgentName | undefined; readonly member: MemberId }
  | { readonly on: "health"; readonly forMs: number }
  | { readonly on: "leadership"; readonly forMs: number }
  | { readonly on: "return"; readonly agents: readonly AgentName[] };

/** Nothing to do. `blockedBy` says what keeps the cluster from its ideal size, when something does. */
export interface Settled {
  readonly voters: number;
  readonly learners: number;
  /** How many more voters may die before quorum is lost. */
  readonly failureTolerance: number;
  readonly blockedBy: string | undefined;
}

/** Exactly one of `step`, `waiting` and `settled`. `because` is one sentence without running figures: what was seen and why this follows. */
export type Plan =
  | { readonly step: Step; readonly because: string }
  | { readonly waiting: Waiting; readonly because: string }
  | { readonly settled: Settled; readonly because: string };

/** Pure, total, and independent of the order of its inputs. */
export type Planner = (seen: ClusterSnapshot, policy: ChooserPolicy) => Plan;
