import type { AgentRecord, Marker, PlanRecord, SeatRecord } from "../agent/control/records.ts";
import { policySeen } from "../agent/control/policy.ts";
import { isRefused, readRecord } from "../agent/control/records.ts";
import { messageOf, QuorateError } from "../errors.ts";
import {
  isCandidate,
  type EndpointStatus,
  type EtcdClient,
  type KeyValue,
  type MemberRow,
  type Membership,
} from "../etcd/index.ts";
import { inWords } from "./report.ts";
import { parseSize, type Family, type Keys } from "../keys.ts";

/** How one server answered. */
export type Answer = { readonly status: EndpointStatus } | { readonly refused: string };

/** One host of the cluster: an agent, a member, or (mostly) both. */
export interface Host {
  /** The agent's name; for a member no agent is known for, the name it gave itself, or its id. */
  readonly name: string;
  readonly agent: AgentRecord | undefined;
  readonly member: MemberRow | undefined;
  /** Undefined without a member. */
  readonly answer: Answer | undefined;
  readonly volunteers: boolean;
  readonly nominated: boolean;
  readonly leaving: boolean;
  readonly restarting: boolean;
  /** Why it is not nominated for a while. */
  readonly passedOver: string | undefined;
}

/** One look at a whole cluster. Everything from etcd's store is of one revision; the servers answered for themselves. */
export interface ClusterView {
  readonly clusterId: string;
  readonly revision: number;
  /** The endpoint that was asked. */
  readonly endpoint: string;
  /** Absent where Quorate did not found or adopt the cluster. */
  readonly marker: Marker | undefined;
  /** The text of the size key; undefined where there is none. */
  readonly sizeText: string | undefined;
  /** The size in force, as far as it can be known: the leader's word, else the key's. */
  readonly ideal: number | undefined;
  /** The agent that leads. */
  readonly leader: string | undefined;
  readonly plan: PlanRecord | undefined;
  readonly evenVoters: boolean;
  /** Learners that are kept beyond the size. */
  readonly standbys: number;
  readonly maxSeats: number;
  /** The name of the chooser: only agents that have it may lead. */
  readonly chooser: string;
  readonly paused: string | undefined;
  /** The host that ends last and is to be started first, once the cluster is closed. */
  readonly closed: string | undefined;
  /** Members first, then spares, each by name. */
  readonly hosts: readonly Host[];
}

/** What of the keys a look needs, from one txn. */
const families = ["volunteer", "nominated", "agents", "seats", "leader", "passedOver", "leaving", "restarting"] as const;
type FamilyName = (typeof families)[number];
const singles = ["idealClusterSize", "cluster", "plan", "policy", "lastPolicy", "paused", "closed"] as const;
type SingleName = (typeof singles)[number];

interface Found {
  readonly families: Readonly<Record<FamilyName, ReadonlyMap<string, KeyValue>>>;
  readonly singles: Readonly<Record<SingleName, string | undefined>>;
}

/**
 * Looks at the cluster: a linearizable read of Quorate's keys and the member list on one endpoint, then every member's own status.
 * The client's endpoints follow the member list from then on.
 *
 * @throws QuorateError UNREACHABLE (nobody answers), NO_QUORUM (somebody does, but cannot commit), or etcd's refusal.
 */
export async function lookAtCluster(client: EtcdClient, keys: Keys, signal: AbortSignal): Promise<ClusterView> {
  const given = client.endpoints.urls();
  let membership: Membership;
  try {
    membership = await client.readMembership({
      signal,
      look: [
        ...families.map((name) => ({ range: keys[name].start, end: keys[name].end })),
        ...singles.map((name) => ({ range: keys[name] })),
      ],
    });
  } catch (error) {
    throw await whyNoAnswer(client, given, error, signal);
  }
  const answers = new Map<string, Answer>();
  await Promise.all(
    membership.members.map(async (member) => {
      answers.set(member.id, await ask(client, member, signal));
    }),
  );
  follow(client, given, membership);
  return assemble(membership, sort(membership, keys), answers);
}

async function ask(client: EtcdClient, member: MemberRow, signal: AbortSignal): Promise<Answer> {
  if (member.clientUrls.length === 0) return { refused: "it has not started yet" };
  let refused = "";
  for (const url of member.clientUrls) {
    try {
      const status = await client.status(url, { signal, timeoutMs: 1_000 });
      if (status.memberId === member.id) return { status };
      refused = `another member (${status.memberId}) answers at ${url}`;
    } catch (error) {
      signal.throwIfAborted();
      refused = `${url}: ${briefly(error)}`;
    }
  }
  return { refused };
}

/** What was given stays: it may be the only address that can be reached from here. */
function follow(client: EtcdClient, given: readonly string[], membership: Membership): void {
  const voters = membership.members.filter((member) => !member.learner).flatMap((member) => member.clientUrls);
  const wanted = [...new Set([...given, ...voters])];
  if (wanted.length !== given.length) client.endpoints.set(wanted);
}

/** Tells a cluster that cannot commit from one that is not there: servers without a raft leader answer for themselves still. */
export async function whyNoAnswer(
  client: EtcdClient,
  endpoints: readonly string[],
  error: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  if (!(error instanceof QuorateError) || !["UNREACHABLE", "DEADLINE", "NO_QUORUM", "ETCD_REFUSED"].includes(error.code))
    return error;
  if (error.code === "ETCD_REFUSED" && !error.retryable) return error;
  const asked = await Promise.all(
    endpoints.map(async (endpoint) => {
      try {
        return { endpoint, status: await client.status(endpoint, { signal, timeoutMs: 1_000 }) };
      } catch (cause) {
        return { endpoint, cause };
      }
    }),
  );
  signal.throwIfAborted();
  const alive = asked.flatMap((one) => (one.status ? [one] : []));
  if (alive.length === 0) {
    const causes = asked.map((one) => new Error(`${one.endpoint}: ${briefly(one.cause)}`));
    return new QuorateError(
      "UNREACHABLE",
      `Cannot reach the cluster: ${endpoints.length === 1 ? "the endpoint does" : "the endpoints do"} not answer`,
      {
        retryable: true,
        cause: new AggregateError(causes),
        hint: "start an agent with `quorate run`, or name another endpoint with --endpoints=http://HOST:PORT",
      },
    );
  }
  const leaderless = alive.every((one) => one.status.raftLeader === "0");
  const causes = alive.map(
    (one) =>
      new Error(
        `${one.endpoint}: answers (etcd ${one.status.version}), ${one.status.raftLeader === "0" ? "sees no raft leader" : "but commits nothing"}`,
      ),
  );
  return new QuorateError(
    "NO_QUORUM",
    `Cannot read the cluster: ${leaderless ? "it has no raft leader" : "it does not commit"}`,
    {
      retryable: true,
      cause: new AggregateError(causes),
      hint: "start the missing servers again; `quorate status --endpoints-health` shows who answers",
    },
  );
}

/** The innermost cause: what the system said. */
export function briefly(error: unknown): string {
  let at = error;
  for (let i = 0; i < 3 && at instanceof Error && at.cause instanceof Error; i++) at = at.cause;
  return inWords(messageOf(at));
}

function sort(membership: Membership, keys: Keys): Found {
  const byName = (family: Family, entries: readonly KeyValue[]): ReadonlyMap<string, KeyValue> =>
    new Map(
      entries.flatMap((entry) =>
        family.nameIn(entry.key) === undefined ? [] : [[family.nameIn(entry.key) as string, entry] as const],
      ),
    );
  const at = (i: number): readonly KeyValue[] => membership.ranges[i] ?? [];
  return {
    families: Object.fromEntries(families.map((name, i) => [name, byName(keys[name], at(i))])) as Found["families"],
    singles: Object.fromEntries(singles.map((name, i) => [name, at(families.length + i)[0]?.value])) as Found["singles"],
  };
}

function record<K extends Parameters<typeof readRecord>[0]>(
  kind: K,
  value: string | undefined,
): Extract<ReturnType<typeof readRecord<K>>, { schema: 1 }> | undefined {
  if (value === undefined) return undefined;
  const read = readRecord(kind, value);
  return isRefused(read) ? undefined : (read as Extract<ReturnType<typeof readRecord<K>>, { schema: 1 }>);
}

/** Joins what the keys, the member list and the servers say. Pure. */
export function assemble(membership: Membership, found: Found, answers: ReadonlyMap<string, Answer>): ClusterView {
  const { families: keyed, singles: single } = found;
  const seats = new Map<string, SeatRecord>();
  for (const [host, entry] of keyed.seats) {
    const seat = record("seat", entry.value);
    if (seat) seats.set(host, seat);
  }
  const holder = new Map<string, string>();
  for (const [host, seat] of seats) if (seat.member !== undefined) holder.set(seat.member, host);
  const plan = record("planRecord", single.plan);
  const { inForce: policy } = policySeen(single.policy, single.lastPolicy);
  const members = new Map<string, MemberRow>();
  for (const member of membership.members) {
    members.set(holder.get(member.id) ?? hostOf(member, keyed) ?? (member.name === "" ? member.id : member.name), member);
  }
  const names = new Set([...members.keys(), ...keyed.agents.keys(), ...keyed.volunteer.keys()]);
  const hosts = [...names].map((name): Host => {
    const member = members.get(name);
    const passed = keyed.passedOver.get(name);
    return {
      name,
      agent: record("agentRecord", keyed.agents.get(name)?.value),
      member,
      answer: member && answers.get(member.id),
      volunteers: keyed.volunteer.has(name),
      nominated: keyed.nominated.has(name),
      leaving: keyed.leaving.has(name),
      restarting: keyed.restarting.has(name),
      passedOver: passed && reasonOf(passed.value),
    };
  });
  const size = single.idealClusterSize === undefined ? undefined : parseSize(single.idealClusterSize);
  const candidates = [...keyed.leader].flatMap(([name, entry]) => (isCandidate({ ...entry, key: name }, "") ? [entry] : []));
  const elected = candidates.sort((a, b) => a.createRevision - b.createRevision)[0];
  return {
    clusterId: membership.clusterId,
    revision: membership.revision,
    endpoint: membership.endpoint,
    marker: record("marker", single.cluster),
    sizeText: single.idealClusterSize,
    ideal: size && "size" in size ? size.size : plan?.ideal,
    leader: elected?.value,
    plan,
    evenVoters: policy.evenVoters,
    standbys: policy.standbys,
    maxSeats: policy.maxSeats,
    chooser: policy.chooser,
    paused: single.paused === undefined ? undefined : reasonOf(single.paused),
    closed: record("closed", single.closed)?.host,
    hosts: hosts.sort((a, b) => Number(!a.member) - Number(!b.member) || compareNames(a.name, b.name)),
  };
}

/** The agent of a member whose seat is not written (yet): it goes by the agent's name, or has its peer URLs. */
function hostOf(member: MemberRow, keyed: Found["families"]): string | undefined {
  if (member.name !== "" && keyed.agents.has(member.name)) return member.name;
  const urls = [...member.peerUrls].sort().join(",");
  for (const [host, entry] of keyed.nominated) if (entry.value.split(",").sort().join(",") === urls) return host;
  return undefined;
}

function reasonOf(value: string): string {
  const read = readRecord("reason", value);
  return isRefused(read) ? value : read.reason;
}

/** h2 before h10. */
export function compareNames(a: string, b: string): number {
  const parts = (text: string): readonly string[] => text.match(/[0-9]+|[^0-9]+/g) ?? [];
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const [l = "", r = ""] = [left[i], right[i]];
    const byNumber = /^[0-9]/.test(l) && /^[0-9]/.test(r) ? Number(l) - Number(r) : 0;
    if (byNumber !== 0) return byNumber;
    if (l !== r) return l < r ? -1 : 1;
  }
  return left.length - right.length;
}
