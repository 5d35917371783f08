import { pino } from "pino";
import { onTestFinished } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import { campaign, EtcdClient, Session, type Leadership } from "../../../src/etcd/index.ts";
import { look, statuses, type Look } from "../../../src/agent/lead/look.ts";
import { raftLeaderOf } from "../../../src/agent/lead/memory.ts";
import { writeRecord, type AgentRecord } from "../../../src/agent/control/records.ts";
import { keysUnder, type Keys } from "../../../src/keys.ts";
import { uuid } from "./rows.ts";

export const never = new AbortController().signal;
export const silent = pino({ level: "silent" });

export interface Leading {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly leadership: Leadership;
}

let namespaces = 0;

/** A client and a real leader in a namespace of its own, so that tests can share a server. */
export async function leading(urls: readonly string[], keys: Keys = keysUnder(`/test${++namespaces}`)): Promise<Leading> {
  const client = EtcdClient.create({ endpoints: urls, clock });
  onTestFinished(() => client.close());
  const session = await Session.open(client, { ttlMs: 10_000, clock }, never);
  onTestFinished(() => session.close());
  const leadership = await campaign({ client, session, prefix: keys.leader.prefix, value: "h1", clock }, never);
  return { client, keys, leadership };
}

/** The leader as it is when it was paused, and has not noticed yet that another one leads. */
export function unaware({ key, revision }: Leadership): Leadership {
  return { key, revision, signal: never, fence: () => ({ key, createRevision: revision }), resign: async () => undefined };
}

export interface Seen {
  readonly look: Look;
  readonly raftLeader: string | undefined;
}

export async function see({ client, keys }: Pick<Leading, "client" | "keys">): Promise<Seen> {
  const seen = await look(client, keys, never);
  const { members } = seen.membership;
  return { look: seen, raftLeader: raftLeaderOf(members, await statuses(client, members, 1_000, never)) };
}

export function agentRecord(n: number, more: Partial<AgentRecord> = {}): string {
  return writeRecord("agentRecord", {
    schema: 1,
    identity: uuid(n),
    instance: uuid(100 + n),
    quorate: "0.1.0",
    zone: "",
    priority: 0,
    volunteering: true,
    server: "none",
    proof: `secret ${n}`,
    ...more,
  });
}
