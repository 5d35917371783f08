import { expect, test } from "vitest";
import { startEtcd } from "../../support/etcd-process.ts";
import { full } from "../../support/full.ts";
import { freePorts } from "../../support/ports.ts";
import { clientTo, eventually, nameOf, replicaFolder, replicaOf, textOf } from "./fixture.ts";

const readers: readonly (readonly [string, boolean])[] = [
  ["a replica", true],
  ["direct reads", false],
];

test.each(full ? readers : readers.slice(0, 1))(
  "%s: a seed that is a learner is left out, is used once it votes, and is left out again when it is removed",
  { timeout: 90_000 },
  async (_, replica) => {
    await using etcd = await startEtcd(1);
    const [voter = ""] = etcd.urls;
    const direct = clientTo([voter]);
    const [client, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${port}`) as [string, string];
    const { id } = await direct.addLearner([peer]);
    const second = await etcd.join("n2", { client, peer }, [
      { name: "n1", peerUrl: etcd.nodes[0]!.peerUrl },
      { name: "n2", peerUrl: peer },
    ]);
    await direct.put(nameOf("a"), "1");
    const reader = await replicaOf({
      endpoints: [client, voter],
      ...(replica ? { folder: await replicaFolder() } : { replica }),
    });
    // A learner refuses, so that another is asked.
    expect(textOf((await reader.get(nameOf("a"))).entry)).toBe("1");
    const used = (): readonly string[] => [...reader.client.endpoints.urls()].toSorted();
    await eventually("the learner is left out", () => used().join() === voter, 20_000);
    expect(reader.status.endpoints).toEqual([voter]);
    await eventually(
      "it votes",
      () =>
        direct
          .promote(id)
          .then(() => true)
          .catch(() => false),
      20_000,
    );
    await eventually("it is used", () => used().join() === [client, voter].toSorted().join(), 20_000);
    await direct.removeMember(id);
    await eventually("it is left out again", () => used().join() === voter, 20_000);
    expect(textOf((await reader.get(nameOf("a"), { read: "linearizable" })).entry)).toBe("1");
    await second.kill();
  },
);
