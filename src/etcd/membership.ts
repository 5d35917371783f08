import type { IStatusResponse } from "etcd3";
import type { Caller, CallKind } from "./caller.ts";
import { fromHex, memberRow, rangesIn, revisionOf, toHex, toNumber, txnRequest } from "./codec.ts";
import type { CallOptions, EndpointStatus, Membership, Op } from "./types.ts";

/** A key that is never written: reading it costs nothing but the agreement on the revision. */
const absent: Op = { range: "\u0000quorate-barrier" };

export function readMembership(caller: Caller, options: CallOptions & { readonly look?: readonly Op[] }): Promise<Membership> {
  const look = options.look ?? [];
  const request = txnRequest({ then: look.length > 0 ? look : [absent] });
  return caller.run(
    { what: "read the member list", repeatable: true, writes: false },
    options,
    async ({ kv, cluster }, endpoint) => {
      const read = await kv.txn(request);
      const list = await cluster.memberList({ linearizable: true });
      return {
        clusterId: toHex(list.header.cluster_id),
        members: list.members.map(memberRow),
        revision: revisionOf(read.header),
        ranges: look.length > 0 ? rangesIn(read.responses) : [],
        endpoint,
      };
    },
  );
}

export function status(caller: Caller, endpoint: string, options: CallOptions): Promise<EndpointStatus> {
  const kind = { what: `read the status of ${endpoint}`, repeatable: true, writes: false, requireLeader: false };
  return caller.run(kind, { ...options, endpoint }, async ({ maintenance }) => {
    const seen = (await maintenance.status()) as IStatusResponse & {
      readonly isLearner: boolean;
      readonly dbSizeInUse: string;
    };
    return {
      clusterId: toHex(seen.header.cluster_id),
      memberId: toHex(seen.header.member_id),
      version: seen.version,
      dbSize: toNumber(seen.dbSize),
      dbSizeInUse: toNumber(seen.dbSizeInUse),
      raftLeader: toHex(seen.leader),
      raftTerm: toNumber(seen.raftTerm),
      raftIndex: toNumber(seen.raftIndex),
      appliedIndex: toNumber(seen.raftAppliedIndex),
      learner: seen.isLearner,
      revision: revisionOf(seen.header),
      errors: seen.errors,
    };
  });
}

export function addLearner(
  caller: Caller,
  peerUrls: readonly string[],
  options: CallOptions,
): Promise<{ id: string; membership: Membership }> {
  return caller.run(once(`add a learner at ${peerUrls.join(",")}`), options, async ({ cluster }, endpoint) => {
    const added = await cluster.memberAdd({ peerURLs: [...peerUrls], isLearner: true });
    const clusterId = toHex(added.header.cluster_id);
    const members = added.members.map(memberRow);
    return {
      id: toHex(added.member.ID),
      membership: { clusterId, members, revision: revisionOf(added.header), ranges: [], endpoint },
    };
  });
}

export async function promote(caller: Caller, id: string, options: CallOptions): Promise<void> {
  const ID = fromHex(id);
  await caller.run(once(`promote member ${id}`), options, ({ cluster }) => cluster.memberPromote({ ID }));
}

export async function removeMember(caller: Caller, id: string, options: CallOptions): Promise<void> {
  const ID = fromHex(id);
  await caller.run(once(`remove member ${id}`), options, ({ cluster }) => cluster.memberRemove({ ID }));
}

export async function updateMember(caller: Caller, id: string, peerUrls: readonly string[], options: CallOptions): Promise<void> {
  const ID = fromHex(id);
  const what = `change the peer URLs of member ${id} to ${peerUrls.join(",")}`;
  await caller.run(once(what), options, ({ cluster }) => cluster.memberUpdate({ ID, peerURLs: [...peerUrls] }));
}

export async function moveLeader(caller: Caller, endpoint: string, to: string, options: CallOptions): Promise<void> {
  const targetID = fromHex(to);
  await caller.run(once(`move raft leadership to ${to}`), { ...options, endpoint }, ({ maintenance }) =>
    maintenance.moveLeader({ targetID }),
  );
}

/** Member calls are not fenced by anything: one that was given up must not happen later (seen: 14.8 s later). */
function once(what: string): CallKind {
  return { what, repeatable: false, writes: true, resetWhenLate: true };
}
