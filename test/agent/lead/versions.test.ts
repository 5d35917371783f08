import { describe, expect, onTestFinished, test } from "vitest";
import { carryOut, type Outcome } from "../../../src/agent/lead/carry-out.ts";
import { hear } from "../../../src/agent/lead/gate.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import type { Step } from "../../../src/chooser/decision.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import type { EtcdClient } from "../../../src/etcd/index.ts";
import { testEtcd } from "../../support/etcd.ts";
import { startEtcd, type EtcdNode, type TestCluster } from "../../support/etcd-process.ts";
import { serverOptions, startServer } from "../../support/etcd-server.ts";
import { eventually } from "../../support/eventually.ts";
import { freePorts } from "../../support/ports.ts";
import { FaultyProxy } from "../../support/proxy.ts";
import { leading, never, see, silent, type Leading } from "./leader.ts";

// The gate is only as good as what etcd tells. `npm run test:full` asks it on every etcd of the store.
const { binary, version } = testEtcd();
const flags = ["--strict-reconfig-check=false"];

function step(leader: Leading, what: Step): Promise<Outcome> {
  const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
  return see(leader).then((seen) =>
    carryOut({ ...leader, clock, log: silent, events, passOverMs: 60_000 }, what, "because of the test", seen, never),
  );
}

const promote = (member: string): Step => ({ kind: "promote", agent: undefined, member });
const letGo = (member: string): Step => ({ kind: "remove", agent: undefined, member, cause: "surplus", passOver: false });

/** Waits until a step goes through: whatever held it back is over. */
const goesThrough = (what: string, leader: Leading, next: Step): Promise<unknown> =>
  eventually(what, async () => "done" in (await step(leader, next)), 20_000);

async function voters(client: EtcdClient): Promise<string[]> {
  const { members } = await client.readMembership();
  return members.filter(({ learner }) => !learner).map(({ id }) => id);
}

/** The followers of a static cluster, with their member ids. */
async function followers(etcd: TestCluster, { client }: Leading): Promise<{ node: EtcdNode; id: string }[]> {
  const { members } = await client.readMembership();
  const { raftLeader } = await client.status(etcd.urls[0] ?? "");
  return etcd.nodes.flatMap((node) => {
    const id = members.find(({ name }) => name === node.name)?.id ?? "";
    return id === raftLeader ? [] : [{ node, id }];
  });
}

describe(`on etcd ${version.text}`, { timeout: 90_000 }, () => {
  test("a learner that is stopped or dead is not promoted, however well it was a moment ago; back again it is", async () => {
    await using etcd = await startEtcd(1, { binary, flags });
    const leader = await leading(etcd.urls);
    const [client, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${port}`) as [string, string];
    const { id } = await leader.client.addLearner([peer]);
    const [first] = etcd.nodes as [EtcdNode];
    const learner = await etcd.join("n2", { client, peer }, [
      { name: "n1", peerUrl: first.peerUrl },
      { name: "n2", peerUrl: peer },
    ]);
    await eventually("it has published itself", async () =>
      (await leader.client.readMembership()).members.some((row) => row.name === "n2"),
    );
    onTestFinished(() => learner.resume());
    learner.pause();
    for (let i = 0; i < 2; i++) expect(await step(leader, promote(id))).toEqual({ held: `member ${id} does not take part yet` });
    learner.resume();
    await learner.kill();
    expect(await step(leader, promote(id))).toEqual({ held: `member ${id} does not take part yet` });
    expect(await voters(leader.client)).toHaveLength(1);
    await leader.client.put("/still", "written");
    await learner.restart();
    await goesThrough("it is promoted", leader, promote(id));
    expect(await voters(leader.client)).toContain(id);
  });

  test("nobody is let go while another voter is stopped: the two that were left would be one", async () => {
    await using etcd = await startEtcd(3, { binary, flags });
    const leader = await leading(etcd.urls);
    const [stopped, other] = (await followers(etcd, leader)) as [{ node: EtcdNode; id: string }, { node: EtcdNode; id: string }];
    onTestFinished(() => stopped.node.resume());
    stopped.node.pause();
    expect(await step(leader, letGo(other.id))).toEqual({
      held: "only 1 of the 2 voters there would be take part, 2 are needed",
    });
    await leader.client.put("/still", "written");
    expect(await voters(leader.client)).toHaveLength(3);
    stopped.node.resume();
    await goesThrough("the shrink goes on", leader, letGo(other.id));
    expect(await voters(leader.client)).toHaveLength(2);
  });

  test("nobody is let go while the raft leader is deaf to a voter that follows it and says that all is well", async () => {
    await using etcd = await startEtcd(1, { binary, flags });
    const [first] = etcd.nodes as [EtcdNode];
    const leader = await leading(etcd.urls);
    const { client } = leader;
    const links: FaultyProxy[] = [];
    const ids: string[] = [];
    for (const name of ["n2", "n3"]) {
      const own = await serverOptions(name, { binary, heartbeatMs: 100, electionMs: 1_000, strictReconfigCheck: false });
      const link = await FaultyProxy.start(own.listenPeerUrls[0] ?? "");
      onTestFinished(() => link[Symbol.asyncDispose]());
      const { id } = await client.addLearner([link.url]);
      const members = [
        { name: "n1", peerUrls: [first.peerUrl] },
        ...[...links, link].map((one, i) => ({ name: `n${i + 2}`, peerUrls: [one.url] })),
      ];
      const boot = { state: "existing", token: "joins", initialCluster: async () => members } as const;
      await startServer({ ...own, advertisePeerUrls: [link.url], boot });
      await goesThrough(`${name} is promoted`, leader, promote(id));
      links.push(link);
      ids.push(id);
    }
    const [, deafTo] = links as [FaultyProxy, FaultyProxy];
    const [other = "", third = ""] = ids;
    const raftLeader = (await client.status(first.clientUrl)).memberId;
    const { members } = await client.readMembership();
    const thirdUrl = members.find(({ id }) => id === third)?.clientUrls[0] ?? "";

    // What a peer sends is fetched from its URL: this link carries what the raft leader hears of the third, and nothing of what that hears.
    deafTo.stall();
    await eventually("what was under way has arrived", async () => {
      const before = await hear(client, members, raftLeader, never);
      await clock.sleep(300, never); // Three heartbeats.
      return before?.get(third) === (await hear(client, members, raftLeader, never))?.get(third);
    });
    expect(await client.status(thirdUrl)).toMatchObject({ raftLeader, errors: [] });
    for (let i = 0; i < 2; i++) {
      expect(await step(leader, letGo(other))).toEqual({ held: "only 1 of the 2 voters there would be take part, 2 are needed" });
    }
    await client.put("/still", "written");
    expect(await voters(client)).toHaveLength(3);
    deafTo.heal();
    await goesThrough("the shrink goes on", leader, letGo(other));
    expect(await voters(client)).toEqual(expect.arrayContaining([raftLeader, third]));
  });
});
