import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
import { FaultyProxy } from "../support/proxy.ts";

function clientOf(endpoints: readonly string[]): EtcdClient {
  const client = EtcdClient.create({ endpoints, clock });
  onTestFinished(() => client.close());
  return client;
}

describe("membership", () => {
  test("a learner is added, joins, is promoted, leads and is removed; ids are those of etcd's own tools", async () => {
    await using etcd = await startEtcd(1, { flags: ["--strict-reconfig-check=false"] });
    const first = etcd.urls[0]!;
    const client = clientOf([first]);
    await client.put("/look", "1");
    const [clientPort, peerPort] = await freePorts(2);
    const urls = { client: `http://127.0.0.1:${clientPort}`, peer: `http://127.0.0.1:${peerPort}` };
    const { id, membership } = await client.addLearner([urls.peer]);
    expect(membership.members.find((member) => member.id === id)).toEqual({
      id,
      name: "",
      peerUrls: [urls.peer],
      clientUrls: [],
      learner: true,
    });
    expect(id).toMatch(/^[1-9a-f][0-9a-f]*$/);
    await expect(client.promote(id)).rejects.toMatchObject({ code: "ETCD_REFUSED", retryable: true });
    await expect(client.addLearner(["http://127.0.0.1:1"])).rejects.toMatchObject({ code: "ETCD_REFUSED", retryable: true });

    const members = [
      { name: "n1", peerUrl: etcd.nodes[0]!.peerUrl },
      { name: "n2", peerUrl: urls.peer },
    ];
    await etcd.join("n2", urls, members);
    expect(await client.status(urls.client)).toMatchObject({ learner: true, memberId: id });
    // A learner answers nothing linearizable: the call goes elsewhere.
    const viaLearner = clientOf([urls.client, first]);
    expect(await viaLearner.get("/look")).toMatchObject({ entry: { value: "1" } });

    await eventually("it is in sync", () =>
      client.promote(id).then(
        () => true,
        () => false,
      ),
    );
    const seen = await client.readMembership({ look: [{ range: "/look" }, { range: "/none" }] });
    expect(seen.members.map((member) => member.learner)).toEqual([false, false]);
    expect(seen.ranges.map((range) => range.length)).toEqual([1, 0]);
    expect(seen.clusterId).toBe((await client.status(first)).clusterId);

    const leads = await client.status(first);
    await client.moveLeader(first, id);
    const moved = await eventually("it leads", async () => {
      const now = await client.status(urls.client);
      return now.raftLeader === id && now;
    });
    expect(moved.raftTerm).toBeGreaterThan(leads.raftTerm);
    await expect(client.moveLeader(first, id)).rejects.toMatchObject({ code: "ETCD_REFUSED", data: { reason: "not leader" } });
    await client.moveLeader(urls.client, leads.memberId);
    await eventually("the first leads", async () => (await client.status(first)).raftLeader === leads.memberId);
    await client.removeMember(id);
    expect((await client.readMembership()).members).toHaveLength(1);
    await expect(client.removeMember(id)).rejects.toMatchObject({ code: "ETCD_REFUSED", retryable: false });
  });

  test("a member call that was given up does not happen later", async () => {
    await using etcd = await startEtcd(1);
    await using proxy = await FaultyProxy.start(etcd.urls[0]!);
    const client = clientOf([proxy.url]);
    const direct = clientOf(etcd.urls);
    await client.put("/a", "1");
    const [port] = await freePorts(1);
    proxy.stall();
    const failed = client.addLearner([`http://127.0.0.1:${port}`], { timeoutMs: 300 });
    await expect(failed).rejects.toMatchObject({ code: "DEADLINE", data: { outcome: "unknown" } });
    // The reset takes the request with it, also where it had not left this machine.
    await eventually("the connection was reset", () => proxy.resets === 1);
    proxy.heal();
    await client.put("/a", "2");
    expect((await direct.readMembership()).members).toHaveLength(1);
  });

  test("a cut-off server's member list is not taken for the membership", async () => {
    await using etcd = await startEtcd(3);
    const client = clientOf([etcd.urls[2]!]);
    await client.readMembership();
    await etcd.nodes[0]!.kill();
    await etcd.nodes[1]!.kill();
    await expect(client.readMembership({ timeoutMs: 1_500 })).rejects.toMatchObject({ retryable: true });
  });
});
