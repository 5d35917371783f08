import { expect, onTestFinished, test } from "vitest";
import { carryOut, type CarryOutDeps } from "../../../src/agent/lead/carry-out.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { hearDeadlineMs, metricsOf } from "../../../src/agent/lead/gate.ts";
import { sendingTo, whyHanging } from "../../../src/agent/lead/hanging.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import type { EtcdClient } from "../../../src/etcd/index.ts";
import { startEtcd, type EtcdNode } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import { leading, never, see, silent, type Leading } from "./leader.ts";

interface Scene {
  readonly leader: Leading;
  readonly raftLeader: string;
  readonly member: string;
  readonly node: EtcdNode;
}

/** Three voters, and one of them that is not the raft leader. */
async function open(): Promise<Scene> {
  const etcd = await startEtcd(3, { flags: ["--strict-reconfig-check=false"] });
  onTestFinished(() => etcd.stop());
  const leader = await leading(etcd.urls);
  const { look, raftLeader } = await eventually("there is a raft leader", async () => {
    const seen = await see(leader);
    return seen.raftLeader !== undefined && { look: seen.look, raftLeader: seen.raftLeader };
  });
  const row = look.membership.members.find(({ id }) => id !== raftLeader);
  const node = etcd.nodes.find(({ name }) => name === row?.name);
  if (!row || !node) throw new Error("There is no follower");
  return { leader, raftLeader, member: row.id, node };
}

/** As if the raft leader's counters were these. */
function counting({ client }: Leading, change: (metrics: string) => string): EtcdClient {
  return new Proxy(client, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (name === "metrics") return async (url: string) => change(await target.metrics(url));
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

/** The counter of what was sent to one stands still, as it does while a write hangs. */
const standing =
  (member: string) =>
  (metrics: string): string =>
    metrics.replace(new RegExp(`^(etcd_network_peer_sent_bytes_total\\{To="0*${member}"\\}) .*$`, "gm"), "$1 1234");

test(
  "to a peer that is well a raft leader sends on and on; one that was killed is known to be lost",
  { timeout: 60_000 },
  async () => {
    const { leader, raftLeader, member, node } = await open();
    const { client } = leader;
    const rows = (await client.readMembership()).members;
    const ask = async (): ReturnType<typeof metricsOf> => metricsOf(client, rows, raftLeader, never);
    const first = sendingTo(member, (await ask()) ?? "");
    expect(first.active).toBe(true);
    await eventually("it sends more", async () => sendingTo(member, (await ask()) ?? "").bytes > first.bytes);
    expect(await whyHanging({ client, clock }, { rows, raftLeader, member }, never)).toBeUndefined();
    await node.kill();
    await eventually("it is lost", async () => !sendingTo(member, (await ask()) ?? "").active);
    expect(await whyHanging({ client, clock }, { rows, raftLeader, member }, never)).toBeUndefined();
  },
);

test(
  "a member is not removed while the raft leader hangs on a connection to it: nothing is recorded",
  { timeout: 60_000 },
  async () => {
    const { leader, member } = await open();
    const client = counting(leader, standing(member));
    const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
    const deps: CarryOutDeps = { ...leader, client, clock, log: silent, events, passOverMs: 60_000 };
    const step = { kind: "remove", agent: undefined, member, cause: "surplus", passOver: false } as const;
    const startMs = clock.nowMs();
    const outcome = await carryOut(deps, step, "because of the test", await see(leader), never);
    expect(outcome).toEqual({ held: `the raft leader hangs on a connection to member ${member}; it gives that up within 5 s` });
    expect(clock.nowMs() - startMs).toBeGreaterThanOrEqual(hearDeadlineMs);
    const { look } = await see(leader);
    expect(look.step).toBeUndefined();
    expect(look.membership.members).toHaveLength(3);

    const lost = counting(leader, (metrics) =>
      standing(member)(metrics).replace(/^(etcd_network_active_peers\{.*\}) .*$/gm, "$1 0"),
    );
    // Whatever the one that is removed still answers, if it is the one that is asked.
    await carryOut({ ...deps, client: lost }, step, "because of the test", await see(leader), never);
    await eventually("it is removed", async () => (await see(leader)).look.membership.members.length === 2);
  },
);

test("counters that cannot be read, and the raft leader's own seat, hold nothing up", { timeout: 60_000 }, async () => {
  const { leader, raftLeader, member } = await open();
  const { client } = leader;
  const rows = (await client.readMembership()).members;
  const unread = counting(leader, () => {
    throw new Error("no counters");
  });
  expect(await whyHanging({ client: unread, clock }, { rows, raftLeader, member }, never)).toBeUndefined();
  const still = counting(leader, standing(raftLeader));
  expect(await whyHanging({ client: still, clock }, { rows, raftLeader, member: raftLeader }, never)).toBeUndefined();
});
