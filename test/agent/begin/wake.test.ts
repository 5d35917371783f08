import { afterAll, beforeAll, expect, test } from "vitest";
import { wakeUp } from "../../../src/agent/begin/wake.ts";
import { resolveOptions } from "../../../src/agent/resolve.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient } from "../../../src/etcd/index.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { never, silent } from "../lead/leader.ts";

let etcd: TestCluster;
let client: EtcdClient;
beforeAll(async () => {
  etcd = await startEtcd(1);
  client = EtcdClient.create({ endpoints: etcd.urls, clock });
});
afterAll(async () => {
  await client.close();
  await etcd.stop();
});

let namespaces = 0;

/** What becomes of the size key and of the note that the cluster is closed. */
async function woken(size: string | undefined, closed: string | undefined): Promise<object> {
  const options = resolveOptions({ hostname: "h1", namespace: `/wake${++namespaces}` });
  const { keys } = options;
  if (size !== undefined) await client.put(keys.idealClusterSize, size);
  if (closed !== undefined) await client.put(keys.closed, closed);
  await wakeUp({ client, options, clock, log: silent }, never);
  const value = async (key: string): Promise<string | undefined> => (await client.get(key)).entry?.value;
  const events = (await client.range(keys.events)).entries.map((entry) => (JSON.parse(entry.value) as { what: string }).what);
  return { size: await value(keys.idealClusterSize), closed: await value(keys.closed), events };
}

const note = '{"schema":1,"host":"h1","formerSize":5}';
const told = ["the cluster goes on: the size is 5 again"];

test.each([
  ["a cluster that was closed goes on at its former size", "0", note, { size: "5", closed: undefined, events: told }],
  ["one that was not is left as it is", "3", undefined, { size: "3", closed: undefined, events: [] }],
  ["a shutdown that is only asked for stays asked for", "0", undefined, { size: "0", closed: undefined, events: [] }],
  ["a size that was written meanwhile stands, and the note goes", "3", note, { size: "3", closed: undefined, events: [] }],
  ["a note that nobody can read goes", "0", "banana", { size: "0", closed: undefined, events: [] }],
  ["a size that was deleted is the leader's to write again", undefined, note, { size: undefined, closed: undefined, events: [] }],
] as const)("%s", async (_, size, closed, expected) => {
  expect(await woken(size, closed)).toEqual(expected);
});
