import type { AgentState } from "../begin/state.ts";
import type { SeatRecord } from "../control/records.ts";
import type { MemberRow, Membership } from "../../etcd/index.ts";

/** What the server supervisor is to bring about. */
export type Role =
  /** Start, or leave running, the server of the seat the data folder belongs to. */
  | { readonly kind: "run"; readonly memberId: string }
  /** Start a new server for a member that was added for this instance and has never run. */
  | { readonly kind: "join"; readonly memberId: string; readonly members: readonly MemberRow[] }
  /** The cluster does not list this seat any more: stop, and keep the data aside. */
  | { readonly kind: "give-up"; readonly memberId: string }
  /** The seat is listed and its data is gone: never start, let the leader replace it. */
  | { readonly kind: "lost-data"; readonly because: string }
  /** Membership has to be read before anything can be decided. */
  | { readonly kind: "look"; readonly because: string }
  | { readonly kind: "idle"; readonly because: string };

export interface RoleInput {
  readonly state: Pick<AgentState, "instance" | "seat" | "clusterId">;
  readonly data: "absent" | "empty" | "has-data" | "damaged";
  readonly running: boolean;
  /** The leader's word for this host, if there is one. */
  readonly nomination: SeatRecord | undefined;
  /** Read linearizably since the last thing that could have changed it; undefined when not read. */
  readonly membership: Membership | undefined;
}

/**
 * Whether this host's server should run. A nomination starts a server and never stops one: only absence from a membership that was
 * read linearizably, of the cluster this host belongs to, stops it. A server never runs for a member that ran before on data that
 * is gone (a wiped voter under its old id can forget acknowledged writes).
 */
export function serverRole({ state, data, running, nomination, membership }: RoleInput): Role {
  const { seat } = state;
  const ours = membership?.clusterId === state.clusterId ? membership : undefined;
  if (seat) {
    if (ours && !ours.members.some((m) => m.id === seat.memberId)) return { kind: "give-up", memberId: seat.memberId };
    if (running || data === "has-data") return { kind: "run", memberId: seat.memberId };
    const row = ours?.members.find((m) => m.id === seat.memberId);
    if (!row) return { kind: "look", because: `the data of member ${seat.memberId} is ${data}` };
    // Added and never started: nothing can have been acknowledged under this id, so it may still begin.
    if (row.name === "" && nomination?.instance === state.instance && nomination.member === row.id && data !== "damaged") {
      return { kind: "join", memberId: row.id, members: ours?.members ?? [] };
    }
    return { kind: "lost-data", because: `member ${seat.memberId} has run, and its data is ${data}` };
  }
  if (!nomination) return { kind: "idle", because: "not nominated" };
  // etcd continues from any data it finds, under the member id in it, whatever it is asked to join.
  if (data === "has-data" || data === "damaged") {
    return { kind: "lost-data", because: "the data folder holds data of a server this agent knows nothing of: move it aside" };
  }
  const { member } = nomination;
  if (member === undefined) return { kind: "idle", because: "nominated; the member is not added yet" };
  if (!ours) return { kind: "look", because: `nominated as member ${member}` };
  const row = ours.members.find((m) => m.id === member);
  if (!row) return { kind: "idle", because: `member ${member} is not in the member list` };
  if (nomination.instance !== state.instance) {
    return { kind: "lost-data", because: `member ${member} was added for an earlier instance of this host` };
  }
  if (row.name !== "") return { kind: "lost-data", because: `member ${member} has run, and this host has no data of it` };
  return { kind: "join", memberId: member, members: ours.members };
}
