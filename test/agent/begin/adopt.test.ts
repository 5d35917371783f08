import { expect, onTestFinished, test } from "vitest";
import { pino } from "pino";
import { firstMarker } from "../../../src/agent/begin/first-keys.ts";
import { join } from "../../../src/agent/begin/join.ts";
import { thisMachine } from "../../../src/agent/machine.ts";
import { resolveOptions } from "../../../src/agent/resolve.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient, succeeds } from "../../../src/etcd/index.ts";
import { restoredFrom } from "../../support/backup.ts";
import { startEtcd } from "../../support/etcd-process.ts";

const log = pino({ level: "silent" });
const signal = new AbortController().signal;
const known = { clusterId: undefined, hasData: false, startFirst: [] };

test("a restored backup is refused as a seed; adopted, it is the successor of the cluster its data is of", async () => {
  await using etcd = await startEtcd(1);
  const first = EtcdClient.create({ endpoints: etcd.urls, clock });
  onTestFinished(() => first.close());
  await first.get("/");
  const expected = first.clusterId!;
  const { keys } = resolveOptions({ hostname: "h1" });
  await first.put(keys.cluster, firstMarker(expected, resolveOptions({ hostname: "h1" })));
  const restored = await restoredFrom(etcd.urls[0]!);
  const client = EtcdClient.create({ endpoints: restored.urls, clock });
  onTestFinished(() => client.close());
  const joining = (adopt: boolean): Promise<unknown> => {
    const options = resolveOptions({ hostname: "h2", seeds: restored.urls, adopt });
    return join({ client, machine: thisMachine, options, clock, log }, known, signal);
  };
  await expect(joining(false)).rejects.toMatchObject({
    code: "REFUSED",
    message: expect.stringContaining(`its data says cluster ${expected}`) as string,
    hint: expect.stringContaining(`what followed ${expected} follows it then`) as string,
  });
  await joining(true);
  const marker = (await client.get(keys.cluster)).entry!.value;
  expect(succeeds(marker, client.clusterId!, expected)).toBe(true);
  // What is once its own stays as it is.
  await joining(true);
  await joining(false);
  expect((await client.get(keys.cluster)).entry!.value).toBe(marker);
});
