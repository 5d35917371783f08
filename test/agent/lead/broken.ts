import { onTestFinished } from "vitest";
import { startEtcd, type EtcdNode, type TestCluster } from "../../support/etcd-process.ts";
import { freePorts } from "../../support/ports.ts";
import { leading, type Leading } from "./leader.ts";

export interface Broken {
  readonly leader: Leading;
  readonly dead: string;
  readonly deadNode: EtcdNode | undefined;
  readonly learner: string;
  readonly learnerNode: EtcdNode;
}

/** Three voters, one of them dead, and a learner in sync. */
export async function broken(): Promise<Broken> {
  const etcd: TestCluster = await startEtcd(3, { flags: ["--strict-reconfig-check=false"] });
  onTestFinished(() => etcd.stop());
  const leader = await leading(etcd.urls);
  const { client } = leader;
  const [url = ""] = etcd.urls;
  const { raftLeader } = await client.status(url);
  const rows = (await client.readMembership()).members;
  const victim = rows.find(({ id }) => id !== raftLeader);
  const node = etcd.nodes.find(({ name }) => name === victim?.name);
  const [clientUrl, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${port}`) as [string, string];
  const { id } = await client.addLearner([peer]);
  const members = [...etcd.nodes.map(({ name, peerUrl }) => ({ name, peerUrl })), { name: "n4", peerUrl: peer }];
  const learnerNode = await etcd.join("n4", { client: clientUrl, peer }, members);
  await node?.kill();
  return { leader, dead: victim?.id ?? "", deadNode: node, learner: id, learnerNode };
}
