import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { writeRecord } from "../../src/agent/control/records.ts";
import { defaultClusterPolicy } from "../../src/agent/control/policy.ts";
import { systemClock } from "../../src/clock.ts";
import { EtcdClient, type KeyValue, type MemberRow } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import { agentRecord } from "../agent/lead/leader.ts";
import { quorate } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";

const keys = keysUnder("/_mgmt");
let etcd: TestCluster;
let client: EtcdClient;
let endpoints = "";
let rows: readonly MemberRow[] = [];
beforeAll(async () => {
  etcd = await startEtcd(2);
  endpoints = `--endpoints=${etcd.urls.join(",")}`;
  client = EtcdClient.create({ endpoints: etcd.urls, clock: systemClock });
  rows = (await client.readMembership()).members;
});
afterAll(async () => {
  await client.close();
  await etcd.stop();
});
beforeEach(async () => {
  await client.txn({ then: [{ del: "/_mgmt/", end: "/_mgmt0" }] });
  await client.put(keys.cluster, writeRecord("marker", { schema: 1, clusterId: "c1", foundedBy: "n1" }));
  await client.put(keys.idealClusterSize, "3");
  await client.put(keys.policy, writeRecord("policy", { schema: 1, ...defaultClusterPolicy }));
  for (const [i, row] of rows.entries()) {
    await client.put(keys.agents.key(row.name), agentRecord(i + 1, { server: "serving", member: row.id }));
    await client.put(keys.nominated.key(row.name), row.peerUrls.join(","));
    const instance = `00000000-0000-4000-8000-00000000010${i + 1}`;
    const seat = { schema: 1, instance, member: row.id, role: "voter", standby: false } as const;
    await client.put(keys.seats.key(row.name), writeRecord("seat", seat));
  }
});

const entryOf = async (key: string): Promise<KeyValue | undefined> => (await client.get(key)).entry;

describe("quorate size 0", () => {
  test("asks at the terminal, and names who is to be started first; yes is written with the size, in one txn", async () => {
    let asked = "";
    const ask = (question: string): Promise<string> => {
      asked = question;
      return Promise.resolve("Yes ");
    };
    const { code, out, err } = await quorate(`size 0 ${endpoints}`, { ask });
    expect({ code, out }).toEqual({ code: 0, out: "0 (shutting down)\n" });
    expect(asked).toContain("Size 0 shuts the whole cluster down: n1 and n2 and every other agent will stop.");
    expect(asked).toMatch(/As things are, n[12] keeps the data: start it first afterwards/);
    expect(err).toContain("note: all agents stop in good order once that has stood for 10 s; `quorate size 3` takes it back\n");
    expect(err).toMatch(/note: n[12] will have the data, as things are: start it first/);
    const size = await entryOf(keys.idealClusterSize);
    const yes = await entryOf(keys.closing);
    expect(size?.value).toBe("0");
    expect(yes?.modRevision).toBe(size?.modRevision);
    expect(JSON.parse(yes?.value ?? "")).toMatchObject({ schema: 1, by: expect.stringMatching(/./) as string });
  });

  test.each(["no", "", "0"])("the answer %j is no yes: nothing is changed, exit 6", async (answer) => {
    const { code, out, err } = await quorate(`size 0 ${endpoints}`, { ask: () => Promise.resolve(answer) });
    expect({ code, out }).toEqual({ code: 6, out: "" });
    expect(err).toContain("error: Cannot set the size to 0: the answer was not yes");
    expect((await entryOf(keys.idealClusterSize))?.value).toBe("3");
  });

  test("without a terminal it has to be said with --yes", async () => {
    const refused = await quorate(`size 0 ${endpoints}`);
    expect(refused.code).toBe(6);
    expect(refused.err).toContain("there is no terminal to ask at");
    expect(refused.err).toContain("hint: add --yes if that is meant; `quorate plan --size 0` shows what would be done");
    expect((await entryOf(keys.idealClusterSize))?.value).toBe("3");
    const { code, out } = await quorate(`size 0 --yes -o json ${endpoints}`);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      idealClusterSize: 0,
      startFirst: expect.stringMatching(/^n[12]$/) as string,
      closed: false,
    });
    expect((await entryOf(keys.idealClusterSize))?.value).toBe("0");
  });

  test("is refused where a voter is not Quorate's to stop", async () => {
    await client.txn({
      then: ["n1"].flatMap((host) => [
        { del: keys.agents.key(host) },
        { del: keys.nominated.key(host) },
        { del: keys.seats.key(host) },
      ]),
    });
    const { code, err } = await quorate(`size 0 --yes ${endpoints}`);
    expect(code).toBe(6);
    expect(err).toContain("is a member that Quorate did not add and never stops");
    expect((await entryOf(keys.idealClusterSize))?.value).toBe("3");
  });

  test("--wait ends when the cluster is closed, with the host to start first", async () => {
    const waiting = quorate(`size 0 --yes --wait --timeout 20s ${endpoints}`);
    await expect.poll(async () => (await entryOf(keys.idealClusterSize))?.value).toBe("0");
    await client.put(keys.closed, writeRecord("closed", { schema: 1, host: "n2", formerSize: 3 }));
    expect(await waiting).toMatchObject({ code: 0, out: "0 (shut down; start n2 first)\n" });
  });

  test("--wait says so when it is taken back, and when its time is up", async () => {
    const waiting = quorate(`size 0 --yes --wait --timeout 20s ${endpoints}`);
    await expect.poll(async () => (await entryOf(keys.idealClusterSize))?.value).toBe("0");
    await client.put(keys.idealClusterSize, "3");
    const { code, err } = await waiting;
    expect(code).toBe(1);
    expect(err).toContain("the shutdown was taken back, the size is 3");
    expect((await quorate(`size 0 --yes --wait --timeout 300ms ${endpoints}`)).code).toBe(5);
  });
});
