import type { CallOptions, ListEvent, Watch, WatchOptions } from "./common.ts";

/** One member of the etcd cluster. */
export interface Member {
  /** Empty until it has started once. */
  readonly name: string;
  /** Hex. */
  readonly id: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly role: "voter" | "learner";
  /** Of raft: it orders the cluster's writes. */
  readonly raftLeader: boolean;
  /** It answers, knows a raft leader, and reports no errors. */
  readonly healthy: boolean;
  /** Of its etcd; undefined where it does not answer. */
  readonly version: string | undefined;
}

export interface MembersWatchOptions extends WatchOptions<Member> {
  /** etcd tells nobody of changes: how often it is asked, in milliseconds. All watches of a World ask together, as often as the most curious. Default 2,000. */
  readonly everyMs?: number;
}

/** The members of the cluster. Nobody but the cluster itself knows them: reads are linearizable. */
export interface Members {
  /** Sorted by name. */
  get(options?: CallOptions): Promise<{ readonly members: readonly Member[]; readonly revision: number }>;
  /** An event only where something changed. While there is no quorum it tells that it is not live, and goes on. */
  watch(options?: MembersWatchOptions): Watch<ListEvent<Member>>;
}
