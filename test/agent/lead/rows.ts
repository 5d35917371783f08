import type { EndpointStatus, KeyValue, MemberRow, Membership } from "../../../src/etcd/index.ts";
import { keysUnder } from "../../../src/keys.ts";
import { readLook, type Look } from "../../../src/agent/lead/look.ts";

export const keys = keysUnder("/_mgmt");

/** `v1` is a voter, `l1` a learner; a `+` behind it has not started yet. */
export function row(word: string): MemberRow {
  const id = word.replace("+", "");
  const started = id === word;
  return {
    id,
    name: started ? `host-${id}` : "",
    peerUrls: [`http://${id}:2380`],
    clientUrls: started ? [`http://${id}:2379`] : [],
    learner: id.startsWith("l"),
  };
}

export function rows(words: string): MemberRow[] {
  return words.split(" ").filter(Boolean).map(row);
}

export function entry(key: string, value: string, more: Partial<KeyValue> = {}): KeyValue {
  return { key, value, createRevision: 5, modRevision: 6, version: 1, lease: "0", ...more };
}

export function membershipOf(members: readonly MemberRow[], entries: readonly KeyValue[] = []): Membership {
  return { clusterId: "c1", members, revision: 10, ranges: [entries], endpoint: "http://v1:2379" };
}

export function lookOf(members: readonly MemberRow[], ...entries: readonly KeyValue[]): Look {
  return readLook(membershipOf(members, entries), keys);
}

export function status(memberId: string, more: Partial<EndpointStatus> = {}): EndpointStatus {
  return {
    clusterId: "c1",
    memberId,
    version: "3.5.30",
    dbSize: 20_480,
    dbSizeInUse: 20_480,
    raftLeader: "v1",
    raftTerm: 2,
    raftIndex: 100,
    appliedIndex: 100,
    learner: memberId.startsWith("l"),
    revision: 10,
    errors: [],
    ...more,
  };
}

export const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
