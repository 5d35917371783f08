import { baseIndex, type Member, type Server } from "./cluster.ts";
import { RpcError } from "./link.ts";
import type { ServerStream } from "./streams.ts";
import { txn, rangeResponse, type RangeRequest, type TxnRequest } from "./txn.ts";

export interface Header {
  readonly cluster_id: string;
  readonly member_id: string;
  readonly revision: string;
  readonly raft_term: string;
}

export type Reply = (error: RpcError | undefined, response: unknown) => void;

function refusal(code: number, text: string): RpcError {
  return new RpcError(code, `etcdserver: ${text}`);
}

export function headerOf(server: Server, revision = server.cluster.revisionSeenBy(server)): Header {
  const { cluster } = server;
  return {
    cluster_id: cluster.wireId,
    member_id: server.wireId,
    revision: String(revision),
    raft_term: String(server.view.term),
  };
}

/** One unary call, as etcd answers it. `givenUp`: its caller waits no more, and it is dropped where it waits itself. */
export function handle(
  server: Server,
  service: string,
  method: string,
  request: unknown,
  requireLeader: boolean,
  givenUp: () => boolean,
  reply: Reply,
  nowMs: number,
): void {
  const { cluster } = server;
  if (service === "Maintenance" && method === "status") {
    reply(undefined, status(server));
    return;
  }
  if (requireLeader && !cluster.knowsLeader(server)) {
    reply(refusal(14, "no leader"), undefined);
    return;
  }
  if (isLearner(server)) {
    reply(refusal(14, "rpc not supported for learner"), undefined);
    return;
  }
  const run = agreed[method];
  if (!run) throw new Error(`The model has no ${service}.${method}`);
  const fail = (): void => {
    reply(refusal(14, "request timed out"), undefined);
  };
  let waited = false;
  cluster.whenReady(
    server,
    () => {
      if (!waited || !givenUp()) run(server, request as never, reply, nowMs);
    },
    fail,
  );
  waited = true;
}

function isLearner(server: Server): boolean {
  return server.cluster.configSeenBy(server).some((m) => m.id === server.id && m.learner);
}

function status(server: Server): unknown {
  const { cluster } = server;
  const known = cluster.knowsLeader(server);
  return {
    header: headerOf(server),
    version: "3.5.30",
    dbSize: "20480",
    leader: known ? server.view.leader : "0",
    raftIndex: String(baseIndex + (server === cluster.leader ? cluster.log.length : server.applied)),
    raftTerm: String(server.view.term),
    raftAppliedIndex: String(server.applied === 0 ? 0 : baseIndex + server.applied),
    errors: known ? [] : ["etcdserver: no leader"],
    dbSizeInUse: "20480",
    isLearner: isLearner(server),
  };
}

function wire({ wireId, name, peerUrls, clientUrls, learner }: Member): unknown {
  return { ID: wireId, name, peerURLs: [...peerUrls], clientURLs: [...clientUrls], isLearner: learner };
}

type Handler = (server: Server, request: never, reply: Reply, nowMs: number) => void;

/** What needs the agreement of the cluster, run when there is one. */
const agreed: Readonly<Record<string, Handler>> = {
  range: (server, request: RangeRequest, reply) => {
    const { store } = server.cluster;
    reply(undefined, { header: headerOf(server, store.revision), ...rangeResponse(store, request) });
  },
  txn: (server, request: TxnRequest, reply) => {
    const { succeeded, responses, refused, revision } = txn(server.cluster, request);
    if (refused !== undefined) reply(refusal(5, refused), undefined);
    else reply(undefined, { header: headerOf(server, revision), succeeded, responses });
  },
  put: (server, request: { key: Buffer; value: Buffer; lease?: string }, reply) => {
    const { refused, revision } = txn(server.cluster, { compare: [], success: [{ request_put: request }], failure: [] });
    if (refused !== undefined) reply(refusal(5, refused), undefined);
    else reply(undefined, { header: headerOf(server, revision) });
  },
  memberList: (server, _request: unknown, reply) => {
    reply(undefined, { header: headerOf(server), members: server.cluster.config.map(wire) });
  },
  leaseGrant: (server, { ID, TTL }: { ID: string; TTL: number }, reply) => {
    const { cluster } = server;
    if (cluster.store.leases.has(ID)) {
      reply(refusal(9, "lease already exists"), undefined);
      return;
    }
    const seconds = Math.max(2, TTL);
    cluster.commit(() => {
      cluster.grant(ID, seconds * 1_000);
    });
    reply(undefined, { header: headerOf(server), ID, TTL: String(seconds), error: "" });
  },
  leaseRevoke: (server, { ID }: { ID: string }, reply) => {
    const { cluster } = server;
    if (!cluster.store.leases.has(ID)) {
      reply(refusal(5, "requested lease not found"), undefined);
      return;
    }
    cluster.revoke(ID);
    reply(undefined, { header: headerOf(server) });
  },
  leaseTimeToLive: (server, { ID }: { ID: string }, reply, nowMs) => {
    const lease = server.cluster.store.leases.get(ID);
    const TTL = lease ? String(Math.trunc((lease.expiresAtMs - nowMs) / 1_000)) : "-1";
    reply(undefined, { header: headerOf(server), ID, TTL, grantedTTL: String((lease?.ttlMs ?? 0) / 1_000), keys: [] });
  },
  moveLeader: (server, { targetID }: { targetID: string }, reply) => {
    const { cluster } = server;
    const target = cluster.config.find((m) => m.wireId === targetID);
    const to = target && cluster.servers.get(target.id);
    if (cluster.leader !== server) reply(refusal(9, "not leader"), undefined);
    else if (!target || target.learner) reply(refusal(9, "bad leader transferee"), undefined);
    else if (!to || to.applied < cluster.log.length || !cluster.canLead(to))
      reply(refusal(14, "request timed out, leader transfer took too long"), undefined);
    else {
      cluster.lead(to);
      reply(undefined, { header: headerOf(server) });
    }
  },
  memberAdd: (server, { peerURLs, isLearner: learner }: { peerURLs: string[]; isLearner: boolean }, reply, nowMs) => {
    const { cluster } = server;
    const why = cluster.config.some((m) => m.peerUrls.some((url) => peerURLs.includes(url)))
      ? "Peer URLs already exists"
      : learner && cluster.config.some((m) => m.learner)
        ? "too many learner members in cluster"
        : server.strict && !connectedFully(server, nowMs)
          ? "unhealthy cluster"
          : undefined;
    if (why !== undefined) {
      reply(refusal(9, why), undefined);
      return;
    }
    const id = cluster.newId();
    const row: Member = { id, wireId: BigInt(`0x${id}`).toString(), peerUrls: peerURLs, clientUrls: [], name: "", learner };
    cluster.change("add-learner", id, [...cluster.config, row]);
    reply(undefined, { header: headerOf(server), member: wire(row), members: cluster.config.map(wire) });
  },
  memberPromote: (server, { ID }: { ID: string }, reply) => {
    const { cluster } = server;
    const row = cluster.config.find((m) => m.wireId === ID);
    const its = row && cluster.servers.get(row.id);
    const started = cluster.voters().filter((m) => m.name !== "").length;
    if (!row) reply(refusal(5, "member not found"), undefined);
    else if (!row.learner) reply(refusal(9, "can only promote a learner member"), undefined);
    // The raft leader remembers how far a learner was, also when that is dead by now.
    else if ((its?.data.persisted ?? cluster.reached.get(row.id) ?? 0) === 0)
      reply(refusal(9, "can only promote a learner member which is in sync with leader"), undefined);
    else if (server.strict && started + 1 < Math.floor((cluster.voters().length + 1) / 2) + 1)
      reply(refusal(9, "re-configuration failed due to not enough started members"), undefined);
    else {
      cluster.change(
        "promote",
        row.id,
        cluster.config.map((m) => (m === row ? { ...m, learner: false } : m)),
      );
      reply(undefined, { header: headerOf(server), members: cluster.config.map(wire) });
    }
  },
  memberRemove: (server, { ID }: { ID: string }, reply) => {
    const { cluster } = server;
    const row = cluster.config.find((m) => m.wireId === ID);
    if (!row) {
      reply(refusal(5, "member not found"), undefined);
      return;
    }
    const voters = cluster.voters();
    if (!row.learner && voters.length === 1) {
      reply(refusal(9, "re-configuration failed due to not enough started members"), undefined);
      return;
    }
    const active = voters.filter((m) => cluster.servers.get(m.id)?.linkedSinceMs !== undefined).length;
    const isDown = cluster.servers.get(row.id)?.linkedSinceMs === undefined;
    if (server.strict && !row.learner && !isDown && active - 1 < 1 + Math.floor((voters.length - 1) / 2)) {
      reply(refusal(14, "unhealthy cluster"), undefined);
      return;
    }
    cluster.change(
      "remove",
      row.id,
      cluster.config.filter((m) => m !== row),
    );
    reply(undefined, { header: headerOf(server), members: cluster.config.map(wire) });
  },
};

/** etcd's strict check: every voter has been connected for five seconds. */
function connectedFully({ cluster }: Server, nowMs: number): boolean {
  return cluster.voters().every(({ id }) => {
    const sinceMs = cluster.servers.get(id)?.linkedSinceMs;
    return sinceMs !== undefined && nowMs - sinceMs >= 5_000;
  });
}

/** A stream has come. */
export function openStream(server: Server, stream: ServerStream): void {
  const { cluster, streams } = server;
  if (server.owner.dead || !streams) return;
  streams.open.add(stream);
  if (stream.requireLeader && !cluster.knowsLeader(server)) stream.end(refusal(14, "no leader"));
  else if (isLearner(server)) stream.end(refusal(14, "rpc not supported for learner"));
}

interface WatchRequest {
  readonly create_request?: {
    readonly key: Buffer;
    readonly range_end: Buffer;
    readonly start_revision: number;
    readonly watch_id: number;
  };
  readonly cancel_request?: { readonly watch_id: number };
}

export function takeStream(server: Server, stream: ServerStream, request: unknown, nowMs: () => number): void {
  const { cluster, streams } = server;
  if (!streams?.open.has(stream)) return;
  if (stream.service === "Watch") {
    const { create_request: create, cancel_request: cancel } = request as WatchRequest;
    if (create) {
      const { key, range_end, start_revision, watch_id } = create;
      streams.watch(stream, String(watch_id), key.toString(), range_end.toString(), start_revision);
    } else if (cancel) stream.watchers.delete(String(cancel.watch_id));
    return;
  }
  const { ID } = request as { readonly ID: string };
  cluster.whenReady(
    server,
    () => {
      const lease = cluster.store.leases.get(ID);
      if (lease) lease.expiresAtMs = nowMs() + lease.ttlMs;
      stream.send({ header: headerOf(server), ID, TTL: lease ? String(lease.ttlMs / 1_000) : "0" });
    },
    () => undefined,
  );
}
