/** The hostname an agent goes by. Unique in the cluster. */
export type AgentName = string;
/** etcd's member id in lower-case hex, as `etcdctl member list` prints it. */
export type MemberId = string;
export type MemberRole = "voter" | "learner";

/** One row of etcd's member list, joined with what the leader saw of it. Durations are on the leader's own clock. */
export interface MemberSeen {
  readonly id: MemberId;
  /** The agent that holds this seat; absent for a member no agent and no nomination is known for (a stranger's). */
  readonly agent: AgentName | undefined;
  readonly role: MemberRole;
  /** It has published itself: it ran at least once. */
  readonly started: boolean;
  readonly raftLeader: boolean;
  /** Its server answered in this look, names the cluster's raft leader, and reports no error. */
  readonly answers: boolean;
  /** Bytes from it reach the raft leader (true for the raft leader itself). Undefined when that could not be read. */
  readonly heard: boolean | undefined;
  /** Uninterrupted health as seen by this leader; 0 unless it answers now. A promotion does not interrupt it. */
  readonly healthyForMs: number;
  /** How long it has not answered; 0 when it answers now. */
  readonly unansweredForMs: number;
  /** How long this leader has known the seat. */
  readonly knownForMs: number;
  /** Log entries it is behind the raft leader; undefined when it did not answer. */
  readonly lag: number | undefined;
  /** How long neither its applied index nor the bytes from it moved although it lags; 0 while it moves or keeps up. */
  readonly stalledForMs: number;
  /** Its agent's session is alive, or was a moment ago while its server answers. */
  readonly agentLive: boolean;
  /** What its agent says of it. */
  readonly report: "failed" | "lost-data" | undefined;
  readonly zone: string;
  readonly priority: number;
  /** Orders seats by age: the store revision at which the seat was nominated (0 for founders). */
  readonly sinceRevision: number;
}

/** An agent whose volunteer key is alive, with a seat or without. */
export interface VolunteerSeen {
  readonly agent: AgentName;
  readonly zone: string;
  readonly priority: number;
  /** Store revision at which it volunteered: lower means longer stable. */
  readonly sinceRevision: number;
  /**
   * Its URLs were proved to be its own, its port can be bound, its etcd fits. `pending` is the time before the first
   * verdict, which comes in bounded time: leavers and surplus voters wait for it. Irrelevant while it holds a seat.
   */
  readonly preflight:
    { readonly state: "passed" } | { readonly state: "pending" } | { readonly state: "failed"; readonly reason: string };
}

export interface NominationSeen {
  readonly agent: AgentName;
  /** The seat it was written for; absent until the member is added. */
  readonly member: MemberId | undefined;
  readonly standby: boolean;
}

/** A member call that was recorded before it was sent (`/quorate/step`). */
export interface OpenStep {
  readonly op: "add-learner" | "promote" | "remove";
  readonly agent: AgentName | undefined;
  /** Absent for an add. */
  readonly member: MemberId | undefined;
  /** How long this leader has seen it open. */
  readonly openForMs: number;
}

/** What a chooser asked for, as it was understood. Part of the snapshot: `plan` asks nobody. */
export type Wish =
  | {
      readonly by: string;
      /** Agents that are there, each once, best first. */
      readonly seats: readonly AgentName[];
      /** What was wrong with the answer, and was passed over. */
      readonly faults: readonly string[];
    }
  /** No answer that could be used: no seat changes hands for it. */
  | {
      readonly by: string;
      readonly failed: "late" | "threw" | "no-list" | "unknown";
      /** The same in words, with what it threw. */
      readonly why: string;
    };
/** Size 0 is written at the size key: the cluster is to be shut down in good order. */
export interface Closing {
  /** How long this leader has seen it stand there. */
  readonly askedForMs: number;
  /** The agent that ends last and keeps the data, once that is written. */
  readonly closed: AgentName | undefined;
}

/** Everything one planning round may know. Gathered first, never re-read. The order of the lists means nothing. */
export interface ClusterSnapshot {
  /** The agent running this plan. */
  readonly planner: AgentName;
  /** The last good value of the size key, 1 or more. */
  readonly idealClusterSize: number;
  /** Undefined unless the size key says 0. */
  readonly closing: Closing | undefined;
  readonly members: readonly MemberSeen[];
  readonly volunteers: readonly VolunteerSeen[];
  readonly nominations: readonly NominationSeen[];
  /** Agents that asked to leave, and are still there. */
  readonly leaving: readonly AgentName[];
  /** Agents that announced a restart and keep their seat meanwhile. */
  readonly restarting: readonly AgentName[];
  /** Withdrawn for cause a short while ago: keys on leases, so that etcd forgets them for us. */
  readonly passedOver: readonly { readonly agent: AgentName; readonly reason: string }[];
  /** The reason somebody paused the chooser with. */
  readonly paused: string | undefined;
  /** etcd raised NOSPACE. */
  readonly noSpace: boolean;
  /** A step that an earlier leader recorded, or this one whose outcome is not known. */
  readonly openStep: OpenStep | undefined;
  /** How long this agent has been the leader. */
  readonly leaderForMs: number;
  /** What the cluster's chooser wished for when it was shown the rest; absent where that is the built-in one, which `plan` asks itself. */
  readonly wish?: Wish;
}
