import type { EtcdClient, EndpointStatus, KeyValue, MemberRow, Membership, Op } from "../../etcd/index.ts";
import { parseSize, parseUrls, quote, type Keys } from "../../keys.ts";
import { policySeen, type PolicySeen } from "../control/policy.ts";
import {
  isRefused,
  readRecord,
  type AgentRecord,
  type ClosedRecord,
  type Marker,
  type RecordKind,
  type RecordOf,
  type SeatRecord,
  type StepRecord,
} from "../control/records.ts";

export interface Held<T> {
  readonly value: T;
  readonly entry: KeyValue;
}

/** The control keys and the member list, from one linearizable read and the same endpoint; nothing of it is decided yet. */
export interface Look {
  readonly membership: Membership;
  readonly agents: ReadonlyMap<string, Held<AgentRecord>>;
  readonly seats: ReadonlyMap<string, Held<SeatRecord>>;
  /** Peer URLs of every nomination. */
  readonly nominated: ReadonlyMap<string, Held<readonly string[]>>;
  readonly volunteers: ReadonlyMap<string, Held<readonly string[]>>;
  readonly leaving: ReadonlySet<string>;
  /** The revision at which each of them asked to leave. */
  readonly leavingSince: ReadonlyMap<string, number>;
  readonly restarting: ReadonlySet<string>;
  readonly passedOver: ReadonlyMap<string, string>;
  readonly paused: string | undefined;
  readonly step: Held<StepRecord> | undefined;
  readonly policy: PolicySeen;
  readonly marker: Marker | undefined;
  readonly size: SizeSeen;
  /** What was written when the cluster was closed. */
  readonly closed: Held<ClosedRecord> | undefined;
  /** Somebody said yes to size 0, now or earlier. */
  readonly confirmed: boolean;
  /** Keys that could not be read as what they should be, each with the reason. Never fatal. */
  readonly refused: readonly string[];
}

export interface SizeSeen {
  /** The value of the size key; undefined when it is absent. */
  readonly asked: number | undefined;
  /** Why the size key's value is no size. */
  readonly refused: string | undefined;
  /** The last good value a leader saw. */
  readonly last: number | undefined;
  /** The revision of the size key's value; 0 when it is absent. */
  readonly revision: number;
  /** Who asked for this value with `quorate size 0`. */
  readonly confirmedBy: string | undefined;
}

/** More keys than this in one range are not read: somebody floods them. */
const mostKeys = 5_000;

/** The ranges one look reads, all at one revision. */
function ranges(keys: Keys): Op[] {
  return [...keys.ownWithoutEvents, keys.nominated, keys.volunteer]
    .map(({ start, end }): Op => ({ range: start, end, limit: mostKeys }))
    .concat({ range: keys.idealClusterSize });
}

export async function look(client: EtcdClient, keys: Keys, signal: AbortSignal): Promise<Look> {
  const membership = await client.readMembership({ signal, look: ranges(keys) });
  return readLook(membership, keys);
}

/** The reading of what a look brought, apart from the bringing. */
export function readLook(membership: Membership, keys: Keys): Look {
  const entries = membership.ranges.flat();
  const refused: string[] = [];
  const note = (key: string, why: string): undefined => {
    refused.push(`${quote(key)}: ${why}`);
    return undefined;
  };
  const record = <K extends RecordKind>(kind: K, entry: KeyValue): RecordOf<K> | undefined => {
    const read = readRecord(kind, entry.value);
    return isRefused(read) ? note(entry.key, read.refused) : read;
  };
  const one = (key: string): KeyValue | undefined => entries.find((entry) => entry.key === key);
  const all = <T>(family: Keys["agents"], read: (entry: KeyValue) => T | undefined): Map<string, Held<T>> => {
    const found = new Map<string, Held<T>>();
    for (const entry of entries) {
      if (!entry.key.startsWith(family.prefix)) continue;
      const name = family.nameIn(entry.key);
      if (name === undefined) {
        note(entry.key, "its name is not well encoded");
        continue;
      }
      const value = read(entry);
      if (value !== undefined) found.set(name, { value, entry });
    }
    return found;
  };
  const urls = (entry: KeyValue): readonly string[] | undefined => {
    const parsed = parseUrls(entry.value);
    return "urls" in parsed ? parsed.urls : note(entry.key, parsed.refused);
  };
  const single = <K extends RecordKind>(kind: K, key: string): Held<RecordOf<K>> | undefined => {
    const entry = one(key);
    const value = entry && record(kind, entry);
    return entry && value ? { entry, value } : undefined;
  };
  const reasons = (family: Keys["agents"]): Map<string, Held<string>> =>
    all(family, (entry) => {
      const read = readRecord("reason", entry.value);
      return isRefused(read) ? "no reason given" : read.reason;
    });
  const sizeEntry = one(keys.idealClusterSize);
  const size = sizeEntry && parseSize(sizeEntry.value);
  const lastEntry = one(keys.lastSize);
  const last = lastEntry && parseSize(lastEntry.value);
  const closing = single("closing", keys.closing);
  const counts = closing !== undefined && closing.entry.modRevision === sizeEntry?.modRevision;
  const leaving = reasons(keys.leaving);
  const passedOver = reasons(keys.passedOver);
  const pausedEntry = one(keys.paused);
  const paused = pausedEntry && readRecord("reason", pausedEntry.value);
  // What was cut off may be the open step, or the pause: nothing is decided from half a look.
  const cut = membership.ranges.some((range) => range.length >= mostKeys);
  const flooded = `there are more than ${mostKeys} keys in one family under ${keys.namespace}, so not all were read`;
  const policy = policySeen(one(keys.policy)?.value, one(keys.lastPolicy)?.value);
  if (policy.refused.length > 0) note(keys.policy, `${policy.refused.join(", ")}; what was good last stays in force`);
  return {
    membership,
    agents: all(keys.agents, (entry) => record("agentRecord", entry)),
    seats: all(keys.seats, (entry) => record("seat", entry)),
    nominated: all(keys.nominated, urls),
    volunteers: all(keys.volunteer, urls),
    leaving: new Set(leaving.keys()),
    leavingSince: new Map([...leaving].map(([host, { entry }]) => [host, entry.createRevision])),
    restarting: new Set(reasons(keys.restarting).keys()),
    passedOver: new Map([...passedOver].map(([host, held]) => [host, held.value])),
    paused: cut ? flooded : paused && (isRefused(paused) ? "no reason given" : paused.reason),
    step: single("step", keys.step),
    policy,
    marker: single("marker", keys.cluster)?.value,
    size: {
      asked: size && "size" in size ? size.size : undefined,
      refused: size && "refused" in size ? size.refused : undefined,
      last: last && "size" in last && last.size > 0 ? last.size : undefined,
      revision: sizeEntry?.modRevision ?? 0,
      confirmedBy: counts ? closing.value.by : undefined,
    },
    closed: single("closed", keys.closed),
    confirmed: closing !== undefined,
    refused,
  };
}

/**
 * The agent that holds a member: by the seat written for it, else by the name its server was given, else, while that has not started, by its
 * peer URLs. What has a name is nobody's of another name, whoever wrote its URLs into a key.
 */
export function agentOf(row: MemberRow, look: Look): string | undefined {
  for (const [host, seat] of look.seats) if (seat.value.member === row.id) return host;
  if (row.name !== "") {
    const isKnown = look.agents.has(row.name) || look.nominated.has(row.name) || look.volunteers.has(row.name);
    return isKnown ? row.name : undefined;
  }
  const own = [...row.peerUrls].sort().join();
  for (const [host, urls] of [...look.nominated, ...look.volunteers]) {
    if ([...urls.value].sort().join() === own) return host;
  }
  return undefined;
}

/** What a member's server says of itself, on whichever of its client URLs it answers first; undefined where it does not in time. */
export async function askMember(
  client: EtcdClient,
  row: MemberRow,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<EndpointStatus | undefined> {
  try {
    return await Promise.any(
      row.clientUrls.map(async (url) => {
        const status = await client.status(url, { signal, timeoutMs });
        // Another server on the address of this one is not this one.
        if (status.memberId !== row.id) throw new Error("another member answers there");
        return status;
      }),
    );
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** What all members that answer within the deadline say of themselves, by member id. */
export async function statuses(
  client: EtcdClient,
  members: readonly MemberRow[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, EndpointStatus>> {
  const found = new Map<string, EndpointStatus>();
  await Promise.all(
    members.map(async (row) => {
      const status = await askMember(client, row, timeoutMs, signal);
      if (status) found.set(row.id, status);
    }),
  );
  return found;
}
