import type { ChooserPolicy } from "./policy.ts";
import type { AgentName, ClusterSnapshot, MemberId, OpenStep } from "./snapshot.ts";

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
  | {
      readonly kind: "move-leader";
      readonly from: MemberId;
      readonly fromAgent: AgentName | undefined;
      readonly to: MemberId;
      readonly toAgent: AgentName | undefined;
    }
  | {
      readonly kind: "remove";
      readonly agent: AgentName | undefined;
      readonly member: MemberId;
      readonly cause: "surplus" | "leaving" | "dead" | "failed-learner" | "unknown-learner";
      /** Its agent is not nominated again for a while. */
      readonly passOver: boolean;
    }
  /** Write that the cluster is closed: every agent ends, and this one, which has the only seat, ends last and keeps the data. */
  | { readonly kind: "close"; readonly agent: AgentName; readonly member: MemberId; readonly formerSize: number }
  /**
   * A step that was recorded earlier: with `send`, send it again and close the record once it has happened; without,
   * only close the record: it has happened, has become impossible, or does no harm if it still lands.
   */
  | {
      readonly kind: "complete";
      readonly op: OpenStep["op"];
      readonly agent: AgentName | undefined;
      readonly member: MemberId | undefined;
      readonly send: boolean;
    };

/** Why there is no step yet. Each names the thing that has to change first. */
export type Waiting =
  | { readonly on: "resume"; readonly wouldDo: Step | undefined }
  | { readonly on: "quorum"; readonly healthy: number; readonly voters: number }
  | { readonly on: "space" }
  /** A recorded member call that may still land, and must not be sent again as things are. */
  | {
      readonly on: "open-step";
      readonly op: OpenStep["op"];
      readonly agent: AgentName | undefined;
      readonly member: MemberId | undefined;
    }
  | { readonly on: "learner"; readonly agent: AgentName | undefined; readonly member: MemberId }
  /** Somebody has to have been healthy, or silent, for so long. */
  | { readonly on: "health"; readonly forMs: number }
  | { readonly on: "leadership"; readonly forMs: number }
  /** Members that do not take part (by agent, or by member id where no agent is known). */
  | { readonly on: "return"; readonly agents: readonly string[] }
  /** Volunteers whose pre-flight has no verdict yet, and would change the plan. */
  | { readonly on: "preflight"; readonly agents: readonly AgentName[] }
  /** A chooser of one's own that gave no wish. */
  | { readonly on: "chooser"; readonly chooser: string }
  /** Everybody leaves: nobody is removed, the last one keeps its seat. */
  | { readonly on: "stayer"; readonly leaving: readonly AgentName[] }
  /** Size 0 has to stand for so long, and can be taken back meanwhile by writing this size. */
  | { readonly on: "take-back"; readonly forMs: number; readonly size: number }
  /** Size 0 can not stop voters that Quorate did not add. */
  | { readonly on: "strangers"; readonly members: readonly MemberId[] }
  /** The cluster is closed: the agents end, this one last. */
  | { readonly on: "end"; readonly last: AgentName };

/**
 * Nothing to do. `blockedBy` says what keeps the cluster from its ideal size, when something does, and `next` what is done once the
 * first of that has changed.
 */
export interface Settled {
  readonly voters: number;
  readonly learners: number;
  /** How many more voters may die before quorum is lost. */
  readonly failureTolerance: number;
  readonly next: string | undefined;
  readonly blockedBy: string | undefined;
}

/** Exactly one of `step`, `waiting` and `settled`. `because` is one sentence without running figures: what was seen and why this follows. */
export type Plan =
  | { readonly step: Step; readonly because: string }
  | { readonly waiting: Waiting; readonly because: string }
  | { readonly settled: Settled; readonly because: string };

/** Pure, total, and independent of the order of its inputs. */
export type Planner = (seen: ClusterSnapshot, policy: ChooserPolicy) => Plan;
