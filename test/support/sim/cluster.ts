import type { Random } from "../random.ts";
import { Store, type StoreEvent } from "./store.ts";
import type { TxnRequest } from "./txn.ts";
import type { Host, Network } from "./network.ts";
import { newOwner, type Owner, type Timeline } from "./timeline.ts";
import type { ServerStreams } from "./streams.ts";

/** A row of the member list. Ids in hex, and in decimal as the wire has them. */
export interface Member {
  readonly id: string;
  readonly wireId: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  /** Empty until it has started. */
  readonly name: string;
  readonly learner: boolean;
}

interface LogEntry {
  readonly revision: number;
  readonly events: readonly StoreEvent[];
  readonly config: readonly Member[];
}

/** What a server keeps on its disk. */
export interface DataDir {
  readonly cluster: Cluster;
  readonly member: string;
  /** Entries of the log that are on this disk. */
  persisted: number;
  damaged: boolean;
}

/** One etcd process. */
export class Server {
  readonly owner: Owner = newOwner();
  readonly host: Host;
  readonly data: DataDir;
  /** Its member id in decimal, as the wire has it. */
  readonly wireId: string;
  readonly strict: boolean;
  readonly startedMs: number;
  streams: ServerStreams | undefined;
  /** Entries it has applied. */
  applied: number;
  /** When it will have caught up for the first time. */
  syncAtMs: number;
  /** Since when it hears nothing of a raft leader. */
  lostSinceMs: number | undefined = 0;
  /** The raft leader it heard of last, as the wire names it, and its term. */
  view = { leader: "0", term: 1 };
  /** Since when it and the raft leader reach each other. */
  linkedSinceMs: number | undefined;
  pumping = false;
  serving = false;
  onExit: (exit: { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly removed: boolean }) => void =
    () => undefined;
  /** What others have sent it while it leads: bytes, and since when they come. */
  readonly received = new Map<string, { bytes: number; sinceMs: number | undefined }>();

  constructor(host: Host, data: DataDir, strict: boolean, nowMs: number, syncAtMs: number) {
    this.host = host;
    this.data = data;
    this.wireId = BigInt(`0x${data.member}`).toString();
    this.strict = strict;
    this.startedMs = nowMs;
    this.syncAtMs = syncAtMs;
    this.applied = data.persisted;
  }

  get cluster(): Cluster {
    return this.data.cluster;
  }

  get id(): string {
    return this.data.member;
  }
}

interface Waiter {
  readonly server: Server;
  readonly run: () => void;
  readonly fail: () => void;
  readonly untilMs: number;
}

/** Indexes start high, as in a cluster that has lived: so a new member is far behind. */
export const baseIndex = 100_000;
/** A server notices after this long that it has no raft leader any more. */
export const electionMs = 1_000;
const requestTimeoutMs = 7_000;
const heartbeatMs = 100;
const heartbeatBytes = 60;

export type MemberOp = "add-learner" | "promote" | "remove";

export interface ClusterHooks {
  /** Something that must never happen. */
  readonly violation: (what: string) => never;
  readonly onCommit: (cluster: Cluster, events: readonly StoreEvent[]) => void;
  readonly onElected: (cluster: Cluster) => void;
  /** Before a transaction that writes is applied. */
  readonly onTxn: (cluster: Cluster, request: TxnRequest, succeeded: boolean) => void;
  /** The configuration has changed by a member call. */
  readonly onChange: (cluster: Cluster, op: MemberOp, member: string, before: readonly Member[]) => void;
}

/**
 * What raft makes of several servers: one log. An entry is committed at one moment, while the raft leader and a quorum of voters reach
 * each other; each server has it on disk and applied at a time of its own.
 */
export class Cluster {
  readonly id: string;
  readonly wireId: string;
  readonly store = new Store();
  readonly log: LogEntry[] = [];
  readonly servers = new Map<string, Server>();
  /** Members that have ever served. */
  readonly everStarted = new Set<string>();
  /** How far those that are down had come. */
  readonly reached = new Map<string, number>();
  config: readonly Member[];
  leader: Server | undefined;
  term = 2;
  readonly #timeline: Timeline;
  readonly #network: Network;
  readonly #random: Random;
  readonly #hooks: ClusterHooks;
  #waiters: Waiter[] = [];
  #electing = false;

  constructor(id: string, first: Member, timeline: Timeline, network: Network, random: Random, hooks: ClusterHooks) {
    this.id = id;
    this.wireId = BigInt(`0x${id}`).toString();
    this.config = [first];
    this.#timeline = timeline;
    this.#network = network;
    this.#random = random;
    this.#hooks = hooks;
    this.log.push({ revision: 1, events: [], config: this.config });
  }

  newId(): string {
    const high = this.#random.between(0x1000_0000, 0xffff_fffe).toString(16);
    return high + this.#random.between(0x1000_0000, 0xffff_fffe).toString(16);
  }

  onTxn(request: TxnRequest, succeeded: boolean): void {
    this.#hooks.onTxn(this, request, succeeded);
  }

  /** A member call takes effect. */
  change(op: MemberOp, member: string, config: readonly Member[]): void {
    const before = this.config;
    this.commit(() => undefined, config);
    this.#hooks.onChange(this, op, member, before);
    this.check();
  }

  /** A server tells its name and where it serves. */
  publish(server: Server): void {
    const { id, host } = server;
    this.everStarted.add(id);
    const config = this.config.map((m) => (m.id === id ? { ...m, name: host.name, clientUrls: [host.clientUrl] } : m));
    this.commit(() => undefined, config);
  }

  voters(config: readonly Member[] = this.config): readonly Member[] {
    return config.filter((m) => !m.learner);
  }

  row(id: string): Member | undefined {
    return this.config.find((m) => m.id === id);
  }

  configSeenBy(server: Server): readonly Member[] {
    return this.log[Math.max(1, server.applied) - 1]?.config ?? this.config;
  }

  revisionSeenBy(server: Server): number {
    return this.log[server.applied - 1]?.revision ?? 1;
  }

  /** Whether a member's server works, apart from the network. */
  runs(id: string): boolean {
    const server = this.servers.get(id);
    return server !== undefined && !server.owner.paused;
  }

  /** The members that would follow this one as raft leader. */
  followers(center: Server, config: readonly Member[] = this.config): number {
    let found = 0;
    for (const { id, learner } of config) {
      const server = this.servers.get(id);
      if (!learner && server && !server.owner.paused && this.#network.linked(center.host, server.host)) found++;
    }
    return found;
  }

  canLead(server: Server, config: readonly Member[] = this.config): boolean {
    if (server.owner.paused || server.owner.dead) return false;
    const voters = this.voters(config);
    return voters.some((m) => m.id === server.id) && this.followers(server, config) * 2 > voters.length;
  }

  /** Whether some voter of this configuration could lead it now. */
  hasQuorum(config: readonly Member[] = this.config): boolean {
    return config.some(({ id, learner }) => {
      const server = learner ? undefined : this.servers.get(id);
      return server !== undefined && this.canLead(server, config);
    });
  }

  /** Whether a request that needs agreement goes through this server now. */
  ready(server: Server): boolean {
    const { leader } = this;
    if (leader === undefined || server.owner.paused || !this.canLead(leader)) return false;
    return server === leader || (this.#network.linked(server.host, leader.host) && server.applied > 0);
  }

  /** Runs it as soon as this server and the cluster can agree; fails it after etcd's own patience. */
  whenReady(server: Server, run: () => void, fail: () => void): void {
    if (this.ready(server)) {
      run();
      return;
    }
    const waiter: Waiter = { server, run, fail, untilMs: this.#timeline.nowMs + requestTimeoutMs };
    this.#waiters.push(waiter);
    this.#timeline.at(waiter.untilMs, server.owner, () => {
      if (!this.#waiters.includes(waiter)) return;
      this.#waiters = this.#waiters.filter((one) => one !== waiter);
      fail();
    });
  }

  /** One entry of the log. Only while {@link ready}. */
  commit(change: (revision: number, events: StoreEvent[]) => void, config: readonly Member[] = this.config): number {
    const leader = this.leader!;
    const events: StoreEvent[] = [];
    const voters = this.voters();
    change(this.store.revision + 1, events);
    if (events.length > 0) this.store.revision++;
    this.config = config;
    this.log.push({ revision: this.store.revision, events, config });
    this.#persist(leader);
    let have = 1;
    for (const { id } of this.#random.shuffled(voters)) {
      if (have * 2 > voters.length) break;
      const server = this.servers.get(id);
      if (!server || server === leader || server.owner.paused || !this.#network.linked(leader.host, server.host)) continue;
      this.#persist(server);
      have++;
    }
    leader.applied = this.log.length;
    for (const server of this.servers.values()) this.#pumpSoon(server);
    this.#hooks.onCommit(this, events);
    return this.store.revision;
  }

  #persist(server: Server): void {
    server.data.persisted = this.log.length;
  }

  #pumpSoon(server: Server): void {
    if (server.pumping || server.owner.dead) return;
    server.pumping = true;
    const { nowMs } = this.#timeline;
    const slow = this.#network.slowness();
    const dueMs = nowMs < server.syncAtMs ? server.syncAtMs : nowMs + 0.2 + slow;
    if (dueMs === Infinity) return;
    this.#timeline.at(dueMs, server.owner, () => {
      server.pumping = false;
      this.#pump(server);
    });
  }

  /** Brings a server up to date, if its raft leader reaches it. */
  #pump(server: Server): void {
    const { leader } = this;
    const reached = leader === server || (leader && !leader.owner.paused && this.#network.open(leader.host, server.host));
    if (reached === true && (leader === server || this.canLead(leader))) {
      const isFirst = server.applied === 0;
      server.applied = this.log.length;
      this.#persist(server);
      if (isFirst) this.check();
    }
    server.streams?.push();
    if (!this.configSeenBy(server).some((m) => m.id === server.id)) {
      this.#timeline.in(this.#random.between(2, 40), server.owner, () => {
        this.end(server, { code: 0, signal: null, removed: true });
      });
    }
  }

  /** A process is there. */
  add(server: Server): void {
    this.servers.set(server.id, server);
    server.lostSinceMs = this.#timeline.nowMs;
    this.check();
  }

  /** A process is gone. */
  end(
    server: Server,
    exit: { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly removed: boolean },
  ): void {
    if (server.owner.dead) return;
    server.owner.dead = true;
    if (this.servers.get(server.id) === server) this.servers.delete(server.id);
    this.reached.set(server.id, server.data.persisted);
    this.#waiters = this.#waiters.filter((waiter) => waiter.server !== server);
    server.host.server = undefined;
    this.#network.closed(server);
    server.onExit(exit);
    this.check();
  }

  /** SIGTERM: a raft leader hands over to a voter that is up to date. */
  stop(server: Server): void {
    if (server.owner.dead) return;
    const heirs = this.voters().flatMap(({ id }) => this.servers.get(id) ?? []);
    const heir = heirs.find((one) => one !== server && one.applied === this.log.length && this.canLead(one));
    if (server === this.leader && heir && this.#network.linked(server.host, heir.host)) this.lead(heir);
    this.end(server, { code: null, signal: "SIGTERM", removed: false });
  }

  /** Who hears whom has changed. */
  check(): void {
    const { nowMs } = this.#timeline;
    const { leader } = this;
    const leads = leader !== undefined && this.canLead(leader);
    if (!leads) this.#electSoon();
    for (const server of this.servers.values()) {
      const heard =
        leader !== undefined &&
        !leader.owner.dead &&
        !leader.owner.paused &&
        this.row(leader.id)?.learner === false &&
        (server === leader ? leads : this.#network.open(leader.host, server.host));
      if (heard) {
        server.lostSinceMs = undefined;
        server.view = { leader: this.#wireId(leader.id), term: this.term };
        if (server.applied < this.log.length) this.#pumpSoon(server);
      } else if (server.lostSinceMs === undefined) {
        server.lostSinceMs = nowMs;
        this.#timeline.in(electionMs + 50, server.owner, () => {
          if (!this.knowsLeader(server)) server.streams?.leaderless();
        });
      }
      const linked = heard && this.#network.linked(leader.host, server.host);
      server.linkedSinceMs = linked ? (server.linkedSinceMs ?? nowMs) : undefined;
    }
    this.#count();
    const { length } = this.#waiters;
    if (length === 0) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    const still: Waiter[] = [];
    for (const waiter of waiters) {
      if (this.ready(waiter.server)) waiter.run();
      else still.push(waiter);
    }
    this.#waiters.push(...still);
  }

  #wireId(id: string): string {
    return this.row(id)?.wireId ?? BigInt(`0x${id}`).toString();
  }

  /** Whether a server still thinks that there is a raft leader. */
  knowsLeader(server: Server): boolean {
    return (
      server.lostSinceMs === undefined || (server.view.leader !== "0" && this.#timeline.nowMs - server.lostSinceMs < electionMs)
    );
  }

  /** etcd's `etcd_network_peer_received_bytes_total`, as one server counts it. */
  receivedBy(server: Server): ReadonlyMap<string, number> {
    const { nowMs } = this.#timeline;
    const counts = new Map<string, number>();
    for (const [id, { bytes, sinceMs }] of server.received) {
      counts.set(id, bytes + (sinceMs === undefined ? 0 : Math.floor((nowMs - sinceMs) / heartbeatMs) * heartbeatBytes));
    }
    return counts;
  }

  #count(): void {
    const { nowMs } = this.#timeline;
    for (const server of this.servers.values()) {
      for (const { id } of this.config) {
        const from = this.servers.get(id);
        if (id === server.id) continue;
        const comes =
          server === this.leader &&
          from !== undefined &&
          !server.owner.paused &&
          !from.owner.paused &&
          this.#network.linked(from.host, server.host);
        const count = server.received.get(id);
        if (comes) {
          if (!count) server.received.set(id, { bytes: 0, sinceMs: nowMs - this.#random.between(0, 99) });
          else count.sinceMs ??= nowMs - this.#random.between(0, 99);
        } else if (count?.sinceMs !== undefined) {
          count.bytes += Math.floor((nowMs - count.sinceMs) / heartbeatMs) * heartbeatBytes;
          count.sinceMs = undefined;
        }
      }
    }
  }

  #electSoon(): void {
    if (this.#electing) return;
    this.#electing = true;
    this.#timeline.in(electionMs + this.#random.between(50, 900), undefined, () => {
      this.#electing = false;
      if (this.leader !== undefined && this.canLead(this.leader)) this.check();
      else this.#elect();
    });
  }

  #elect(): void {
    const able = this.voters().flatMap(({ id }) => {
      const server = this.servers.get(id);
      return server && server.applied > 0 && this.canLead(server) && this.#isVotedFor(server) ? [server] : [];
    });
    if (able.length > 0) this.lead(this.#random.pick(able));
    else if (this.servers.size > 0) this.#electSoon();
  }

  /** Raft's rule: nobody votes for one whose log is behind its own. */
  #isVotedFor(candidate: Server): boolean {
    const voters = this.voters();
    let votes = 0;
    for (const { id } of voters) {
      const server = this.servers.get(id);
      if (!server || server.owner.paused || !this.#network.linked(candidate.host, server.host)) continue;
      if (server.data.persisted <= candidate.data.persisted) votes++;
    }
    return votes * 2 > voters.length;
  }

  /** Makes a server the raft leader, who counts every lease anew, and an election timeout more. */
  lead(server: Server): void {
    if (server.data.persisted < this.log.length) {
      this.#hooks.violation(
        `acknowledged writes are lost: ${server.host.name} leads, and lacks ${this.log.length - server.data.persisted}`,
      );
    }
    this.leader = server;
    this.term++;
    server.applied = this.log.length;
    for (const other of this.servers.values()) other.received.clear();
    for (const lease of this.store.leases.values()) lease.expiresAtMs = this.#timeline.nowMs + 1_000 + lease.ttlMs;
    this.check();
    this.#hooks.onElected(this);
  }

  grant(id: string, ttlMs: number): void {
    this.store.leases.set(id, { id, ttlMs, expiresAtMs: this.#timeline.nowMs + ttlMs, keys: new Set() });
    this.#expireAt(id, this.#timeline.nowMs + ttlMs);
  }

  revoke(id: string): void {
    const lease = this.store.leases.get(id);
    if (!lease) return;
    this.commit((revision, events) => {
      for (const key of [...lease.keys].sort()) this.store.delete(key, revision, events);
      this.store.leases.delete(id);
    });
  }

  #expireAt(id: string, atMs: number): void {
    this.#timeline.at(atMs, undefined, () => {
      const lease = this.store.leases.get(id);
      if (!lease) return;
      const { leader } = this;
      const { nowMs } = this.#timeline;
      if (lease.expiresAtMs > nowMs) this.#expireAt(id, lease.expiresAtMs);
      else if (leader === undefined || !this.canLead(leader)) this.#expireAt(id, nowMs + 500);
      else this.revoke(id);
    });
  }
}
