import { keysUnder } from "../../../src/keys.ts";
import { isRefused, readRecord, type StepRecord } from "../../../src/agent/control/records.ts";
import type { Cluster, ClusterHooks, Member, MemberOp } from "./cluster.ts";
import type { MemberCall } from "./link.ts";
import type { Host, Network } from "./network.ts";
import type { Timeline } from "./timeline.ts";
import type { TxnRequest } from "./txn.ts";

export const keys = keysUnder("/_mgmt");

/** A member call may still land this long after it was sent. */
const landsWithinMs = 15_000;

/** A leader that has recorded a step is done with it by then. */
const spoiltForMs = 5_000;

/** What must never happen, watched from outside: it knows everything at once, as no agent can. */
export class Invariants {
  readonly hooks: ClusterHooks;
  /** What is written now is somebody's with etcdctl, who keeps to no rule. */
  byOperator = false;
  /** Member calls that have landed. */
  changes = 0;
  /** A step is being recorded, which the gate is to look at next. */
  onRecord: (record: StepRecord) => void = () => undefined;
  readonly #timeline: Timeline;
  readonly #network: Network;
  readonly #note: (what: string) => void;
  #calls: MemberCall[] = [];
  /** By operation and member: what was asked for when the step was recorded. */
  readonly #recorded = new Map<string, { readonly asked: boolean; readonly alive: ReadonlySet<string> }>();
  /** Members whose agents have said that their data is lost. */
  readonly #lost = new Set<string>();
  /** When an agent's word that it leaves was last gone: a leader may have looked just before that, and records what it saw. */
  readonly #stayedMs = new Map<string, number>();
  /** When somebody last took away the record of a step, or all keys. */
  #spoiltMs = -Infinity;
  /** Fate has taken what no cluster can bear: until there is a quorum again, nothing is anybody's fault. */
  #excused = false;
  readonly #excusedCalls = new Set<MemberCall>();

  constructor(timeline: Timeline, network: Network, note: (what: string) => void) {
    this.#timeline = timeline;
    this.#network = network;
    this.#note = note;
    this.hooks = {
      violation,
      onCommit: (_cluster, events) => {
        for (const { type, key } of events) {
          const host = type === "Delete" ? keys.leaving.nameIn(key) : undefined;
          if (host !== undefined) this.#stayedMs.set(host, timeline.nowMs);
        }
      },
      onElected: (cluster) => {
        note(`${cluster.leader?.host.name ?? "?"} is the raft leader of term ${cluster.term}`);
        this.#excused = false;
      },
      onTxn: (cluster, request, succeeded) => {
        if (succeeded && !this.byOperator) this.#onTxn(cluster, request);
      },
      onChange: (cluster, op, member, before) => {
        this.#onChange(cluster, op, member, before);
      },
    };
  }

  onMemberCall(call: MemberCall): void {
    const { nowMs } = this.#timeline;
    this.#calls = this.#calls.filter((one) => one.state === "sent" && nowMs - one.sentMs < landsWithinMs);
    const { cluster } = call.server;
    const record = openStep(cluster);
    const name = nameOf(call);
    this.#note(`${call.from.name} sends ${name} through ${call.server.host.name}`);
    // Nothing fences the call of a leader that was deposed, and has not heard of it: what it recorded may be closed by then.
    const stands = leads(cluster, call.from.name)
      ? record !== undefined && recordName(record) === name
      : this.#recorded.has(name);
    if (nowMs - this.#spoiltMs > spoiltForMs && !stands) {
      violation(`${call.from.name} sends ${name}, and what is recorded is ${record ? recordName(record) : "nothing"}`);
    }
    if (this.#isWeighty(cluster, call)) {
      const other = this.#calls.find(
        (one) =>
          !this.#excusedCalls.has(one) && this.#isWeighty(cluster, one) && nameOf(one).split(" ")[1] !== name.split(" ")[1],
      );
      if (other) violation(`${name} is sent while ${nameOf(other)} may still land`);
    }
    this.#calls.push(call);
  }

  /** Calls that were sent, and may still land. */
  get inFlight(): number {
    const { nowMs } = this.#timeline;
    return this.#calls.filter((one) => one.state === "sent" && nowMs - one.sentMs < landsWithinMs).length;
  }

  /** It changes who votes. */
  #isWeighty(cluster: Cluster, call: MemberCall): boolean {
    if (call.method === "memberAdd") return false;
    const { ID } = call.request as { readonly ID: string };
    // A member that is gone is neither promoted nor removed any more.
    return cluster.config.some((m) => m.wireId === ID && m.learner === (call.method === "memberPromote"));
  }

  /** What the configuration may become by what was sent or recorded. */
  pending(cluster: Cluster): readonly (readonly Member[])[] {
    const { nowMs } = this.#timeline;
    const { config } = cluster;
    const after: (readonly Member[])[] = [];
    const add = (op: string, id: string | undefined): void => {
      if (op === "promote") after.push(config.map((m) => (m.id === id ? { ...m, learner: false } : m)));
      if (op === "remove") after.push(config.filter((m) => m.id !== id));
    };
    for (const call of this.#calls) {
      if (call.state !== "sent" || nowMs - call.sentMs >= landsWithinMs) continue;
      const [op = "", id] = nameOf(call).split(" ");
      add(op, id);
    }
    const record = openStep(cluster);
    if (record) add(record.op, record.member);
    return after;
  }

  /** Fate takes more than can be borne, or what was remembered. */
  excuse(quorum: boolean): void {
    if (!quorum) this.#spoiltMs = this.#timeline.nowMs;
    if (quorum) this.#excused = true;
    for (const call of this.#calls) this.#excusedCalls.add(call);
  }

  #onChange(cluster: Cluster, op: MemberOp, member: string, before: readonly Member[]): void {
    this.changes++;
    const name = `${op} ${member}`;
    const hosts = (config: readonly Member[]): string =>
      config
        .map((m) => `${hostOf(this.#network, m)?.name ?? "?"}${m.learner ? "(l)" : ""}${cluster.runs(m.id) ? "" : "!"}`)
        .join(" ");
    this.#note(`${name} lands: [${hosts(before)}] -> [${hosts(cluster.config)}]`);
    const voters = cluster.voters();
    if (voters.length === 0) violation("no voter is left");
    if (op === "add-learner") return;
    const call = this.#calls.find((one) => nameOf(one) === name);
    const excused = this.#excused || (call !== undefined && this.#excusedCalls.has(call));
    if (excused) return;
    if (!cluster.hasQuorum()) violation(`${name} has cost the quorum: [${hosts(before)}] -> [${hosts(cluster.config)}]`);
    const recorded = this.#recorded.get(name);
    const now = this.alive(cluster);
    if (recorded?.asked === true) return;
    const lower = (alive: ReadonlySet<string>): boolean =>
      tolerance(cluster.voters(), alive) < tolerance(cluster.voters(before), alive);
    if (lower(now) && (!recorded || lower(recorded.alive))) {
      violation(
        `${name} lowers the failure tolerance, and nobody asked for it: [${hosts(before)}] -> [${hosts(cluster.config)}]`,
      );
    }
  }

  /** Members whose servers work and reach the raft leader. */
  alive(cluster: Cluster): ReadonlySet<string> {
    const { leader } = cluster;
    const found = new Set<string>();
    for (const { id } of cluster.config) {
      const server = cluster.servers.get(id);
      if (server && leader && !server.owner.paused && this.#network.linked(server.host, leader.host)) found.add(id);
    }
    return found;
  }

  #onTxn(cluster: Cluster, { compare, success }: TxnRequest): void {
    for (const op of success)
      if ("request_put" in op) this.#onPut(op.request_put.key.toString(), op.request_put.value.toString());
    const ofLeader = success.flatMap((op) => {
      const key =
        "request_put" in op ? op.request_put.key : "request_delete_range" in op ? op.request_delete_range.key : undefined;
      const text = key?.toString();
      return text !== undefined && isLeaders(text) ? [text] : [];
    });
    if (ofLeader.length === 0) return;
    const fence = compare.find((one) => one.target === "Create" && one.key.toString().startsWith(keys.leader.prefix));
    if (!fence) {
      // A founder writes its own seat before anybody can lead: where it has none.
      const absent = compare
        .filter((one) => one.target === "Create" && Number(one.create_revision) === 0)
        .map((one) => one.key.toString());
      if (ofLeader.every((key) => absent.includes(key))) return;
      violation(`${ofLeader.join(" and ")} is written without a fence`);
    }
    const [first] = cluster.store.range(keys.leader.start, keys.leader.end).sort((a, b) => a.createRevision - b.createRevision);
    if (first?.key !== fence.key.toString()) violation(`${ofLeader.join(" and ")} is written by an agent that does not lead`);
    for (const op of success) {
      if ("request_put" in op && op.request_put.key.toString() === keys.step)
        this.#onRecord(cluster, op.request_put.value.toString());
    }
  }

  #onPut(key: string, value: string): void {
    if (keys.agents.nameIn(key) === undefined) return;
    const record = readRecord("agentRecord", value);
    if (!isRefused(record) && record.server === "lost-data" && record.member !== undefined) this.#lost.add(record.member);
  }

  #onRecord(cluster: Cluster, value: string): void {
    const record = readRecord("step", value);
    if (isRefused(record)) violation(`a step is recorded that nobody can read: ${record.refused}`);
    this.onRecord(record);
    const before = openStep(cluster);
    const name = recordName(record);
    if (before && recordName(before) === name) return;
    const alive = this.alive(cluster);
    const voters = cluster.voters();
    const row = cluster.row(record.member ?? "");
    const size = Number(cluster.store.get(keys.idealClusterSize)?.value ?? cluster.store.get(keys.lastSize)?.value ?? Number.NaN);
    const surplus = !(voters.length <= size);
    const leaving = record.agent !== undefined && this.#leaves(cluster, record.agent);
    this.#recorded.set(name, { asked: surplus || leaving || this.#isShrinking(cluster), alive });
    this.#note(`records ${name} (${record.agent ?? "?"})`);
    if (record.op !== "remove" || !row || row.learner) return;
    const restarting = record.agent !== undefined && cluster.store.get(keys.restarting.key(record.agent)) !== undefined;
    if (restarting && !leaving && !this.#lost.has(row.id)) {
      violation(`a voter that restarts is to be removed: ${name} (${record.agent ?? "?"})`);
    }
  }

  #leaves(cluster: Cluster, agent: string): boolean {
    if (cluster.store.get(keys.leaving.key(agent))) return true;
    return this.#timeline.nowMs - (this.#stayedMs.get(agent) ?? -Infinity) < spoiltForMs;
  }

  /** Fewer voters are wanted than there are: also by a maximum, or by an even size. */
  #isShrinking(cluster: Cluster): boolean {
    const policy = readRecord("policy", cluster.store.get(keys.policy)?.value ?? cluster.store.get(keys.lastPolicy)?.value ?? "");
    const size = Number(cluster.store.get(keys.idealClusterSize)?.value ?? cluster.store.get(keys.lastSize)?.value ?? Number.NaN);
    const even = !isRefused(policy) && policy.evenVoters;
    const eligible = cluster.config.length + cluster.store.range(keys.volunteer.start, keys.volunteer.end).length;
    const seats = Math.min(size, isRefused(policy) ? 7 : policy.maxSeats, eligible);
    return Number.isNaN(seats) || cluster.voters().length > (even || seats % 2 === 1 ? seats : seats - 1);
  }
}

let first: Error | undefined;

/** Ends the life. Whoever catches the error, as an agent does that takes it for a failed call, does not make it undone. */
export function violation(what: string): never {
  first ??= new Error(what);
  throw first;
}

/** The first one since it was last asked. */
export function takeViolation(): Error | undefined {
  const found = first;
  first = undefined;
  return found;
}

export function openStep(cluster: Cluster): StepRecord | undefined {
  const entry = cluster.store.get(keys.step);
  const record = entry && readRecord("step", entry.value);
  return record && !isRefused(record) ? record : undefined;
}

/** Holds the oldest of the candidates' keys. */
function leads(cluster: Cluster, host: string): boolean {
  const [oldest] = cluster.store
    .range(keys.leader.start, keys.leader.end)
    .toSorted((a, b) => a.createRevision - b.createRevision);
  return oldest?.value === host;
}

function recordName(record: StepRecord): string {
  return `${record.op} ${record.member ?? record.peerUrls?.join() ?? ""}`;
}

/** `promote 8e9e05c52164694d`. */
function nameOf({ method, request }: MemberCall): string {
  const { ID, peerURLs } = request as { readonly ID?: string; readonly peerURLs?: readonly string[] };
  if (method === "memberAdd") return `add-learner ${peerURLs?.join() ?? ""}`;
  const id = BigInt(ID ?? 0).toString(16);
  return `${method === "memberPromote" ? "promote" : "remove"} ${id}`;
}

function tolerance(voters: readonly Member[], alive: ReadonlySet<string>): number {
  return voters.filter(({ id }) => alive.has(id)).length - Math.floor(voters.length / 2) - 1;
}

const leaders = [keys.nominated.prefix, keys.seats.prefix, keys.events.prefix, keys.passedOver.prefix];
const leadersKeys = new Set([keys.step, keys.plan, keys.lastSize, keys.lastPolicy]);

function isLeaders(key: string): boolean {
  return leadersKeys.has(key) || leaders.some((prefix) => key.startsWith(prefix));
}

export function hostOf(network: Network, { peerUrls }: Member): Host | undefined {
  return network.hosts.find((host) => peerUrls.includes(host.serverUrl));
}
