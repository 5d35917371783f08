import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { defaultPolicy } from "../../src/chooser/index.ts";
import { readSaved, writeSaved } from "../../src/agent/lead/saved.ts";
import { writeRecord } from "../../src/agent/control/records.ts";
import { defaultClusterPolicy } from "../../src/agent/control/policy.ts";
import { systemClock } from "../../src/clock.ts";
import { EtcdClient, type MemberRow } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import { agentRecord } from "../agent/lead/leader.ts";
import { cluster } from "../support/cluster.ts";
import { quorate } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { freePorts } from "../support/ports.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "quorate-plan-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A file with this cluster in it. */
async function saved(line: string, policy = {}): Promise<string> {
  const file = join(folder, "seen.json");
  await writeFile(file, writeSaved({ snapshot: cluster(line), policy: { ...defaultPolicy, ...policy } }, new Date(0)));
  return file;
}

describe("from a file", () => {
  test("every step comes with its reason and what it does to the tolerance, until all is settled", async () => {
    const { code, out, err } = await quorate(`plan --from ${await saved("ideal 3 | voters h1 | spares h2 h3")}`);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out.split("\n")).toEqual([
      "as things are: 1 voter, h1; 2 spares, h2 and h3; size 3; can lose 0",
      " 1. nominate h2",
      "    because 1 seat of 3; h2 is the first of the spares",
      " 2. add h2 as learner",
      "    because 1 seat of 3; h2 is nominated and joins as a learner",
      " 3. promote h2",
      "    because 1 voter of 3, and learner h2 is in sync",
      " 4. nominate h3",
      "    because 2 seats of 3; h3 is the first of the spares",
      " 5. add h3 as learner",
      "    because 2 seats of 3; h3 is nominated and joins as a learner",
      " 6. promote h3 (can lose 0 -> 1)",
      "    because 2 voters of 3, and learner h3 is in sync",
      "then settled: 3 voters, can lose 1",
      "",
    ]);
  });

  test("--size asks what if, and a wait says for what", async () => {
    const file = await saved("ideal 3 | voters h1 h2 h3! | spares");
    const asked = await quorate(`plan --from ${file} --size 1`);
    expect(asked.out).toContain("if the size were 1: 3 voters, h1, h2 and h3 (gone); no spare; size 1; can lose 0");
    expect(asked.out).toContain("then settled: 1 voter, can lose 0");
    const asIs = await quorate(`plan --from ${file}`);
    expect(asIs.out.trimEnd().split("\n").at(-1)).toBe(
      "waiting: h3 is gone with its agent and there is no spare, so it keeps its seat",
    );
  });

  test("--size 0 shows how it would be shut down, and who would end last", async () => {
    const file = await saved("ideal 3 | voters h1 h2 h3 | spares h4");
    const { out } = await quorate(`plan --from ${file} --size 0`);
    expect(out.split("\n")).toEqual([
      "if the size were 0: 3 voters, h1, h2 and h3; 1 spare, h4; size 0; can lose 1",
      " 1. remove h3 (can lose 1 -> 0)",
      "    because the size is 0, and one member is kept for the end, so voter h3 is let go",
      " 2. remove h2",
      "    because the size is 0, and one member is kept for the end, so voter h2 is let go",
      " 3. close the cluster: every agent ends, h1 last",
      "    because the size is 0, and h1 is the only member left: it ends last and keeps the data",
      "then waiting: the cluster is closed: every agent ends, and h1 is the one to start first",
      "",
    ]);
    const json = JSON.parse((await quorate(`plan --from ${file} --size 0 -o json`)).out) as { steps: unknown[] };
    expect(json).toMatchObject({
      idealClusterSize: 0,
      assumed: true,
      ends: { kind: "waiting", waiting: { on: "end", last: "h1" } },
    });
    expect(json.steps.at(-1)).toMatchObject({ step: { kind: "close", formerSize: 3 } });
  });

  test("a size that is held, or taken back, is planned for as it is", async () => {
    const file = await saved("ideal 3 | closing 500 | voters h1 h2 h3");
    expect((await quorate(`plan --from ${file}`)).out).toContain("waiting: the size is 0: all agents stop in good order once");
    expect((await quorate(`plan --from ${file} --size 3`)).out).toContain("settled: 3 voters, can lose 1");
  });

  test("what keeps it from its size comes with what is done once that has changed", async () => {
    const file = await saved("ideal 3 | voters h1 h2 h3", {});
    const json = async (size: number): Promise<unknown> =>
      JSON.parse((await quorate(`plan --from ${file} --size ${size} -o json`)).out);
    const next = "nominate the next agent that volunteers and passes the pre-flight";
    expect(await json(5)).toMatchObject({
      ends: { settled: { blockedBy: "2 more volunteers are needed for the ideal size of 5", next } },
    });
    expect(await json(3)).toMatchObject({ ends: { settled: { failureTolerance: 1 } } });
    expect((await quorate(`plan --from ${file} --size 5`)).out).toContain(`after that: ${next}\n`);
  });

  test("a cluster without quorum waits for it, a paused one says what it would do", async () => {
    const lost = await quorate(`plan --from ${await saved("ideal 3 | voters h1 h2! h3!")}`);
    expect(lost.out).toContain("no quorum\nwaiting: 1 of 3 voters take part, which is no quorum\n");
    const paused = await quorate(`plan --from ${await saved("ideal 3 | voters h1 h2 | learners h3 | paused upgrade")}`);
    expect(paused.out).toContain("waiting: the chooser is paused: upgrade\nwould: promote h3\n");
  });

  test("the wish of a chooser of one's own is in the file, and counts", async () => {
    const { out } = await quorate(`plan --from ${await saved("ideal 3 | voters h1 h2 h3 | spares h4 | wish h1 h2 h4")}`);
    expect(out).toContain(" 1. nominate h4\n    because the chooser mine wishes for h4 in place of h3\n");
    expect(out).toContain(" 4. remove h3\n");
    const late = await quorate(`plan --from ${await saved("ideal 3 | voters h1 | spares h2 h3 | no-wish late")}`);
    expect(late.out).toContain("waiting: the chooser mine did not answer in time, so nobody gains or loses a seat\n");
  });

  test("the policy in the file counts", async () => {
    const { out } = await quorate(`plan --from ${await saved("ideal 5 | voters h1 h2 h3 | spares h4 h5", { maxSeats: 3 })}`);
    expect(out).toContain("settled: 3 voters, can lose 1\nblocked by: at most 3 seats are filled (max seats)");
  });

  test("for programs, in JSON and YAML", async () => {
    const file = await saved("ideal 3 | voters h1 h2 | learners h3");
    const json = JSON.parse((await quorate(`plan --from ${file} -o json`)).out) as unknown;
    expect(json).toMatchObject({
      idealClusterSize: 3,
      assumed: false,
      facts: { toleranceBefore: 0, members: [{ name: "h1" }, { name: "h2" }, { name: "h3", role: "learner" }] },
      steps: [{ what: "promote h3", step: { kind: "promote", agent: "h3" }, failureTolerance: 1 }],
      ends: { kind: "settled", settled: { voters: 3 }, lines: ["settled: 3 voters, can lose 1"] },
    });
    expect((await quorate(`plan --from ${file} --size 2 -o yaml`)).out).toContain("idealClusterSize: 2\nassumed: true\n");
  });

  test.each([
    ["no JSON", "banana", 'Cannot read the snapshot in FILE: "banana" is not JSON'],
    ["nothing", "", 'Cannot read the snapshot in FILE: "" is not JSON'],
    ["another schema", '{"schema":2}', "Cannot read the snapshot in FILE: schema: "],
    ["no snapshot", '{"schema":1}', "Cannot read the snapshot in FILE: snapshot: "],
  ])("%s is refused with exit 2 and the place in the file", async (_, text, error) => {
    const file = join(folder, "bad.json");
    await writeFile(file, text);
    const { code, out, err } = await quorate(`plan --from ${file}`);
    expect(err.replaceAll(file, "FILE")).toContain(error);
    expect(err).toContain("hint: `quorate plan --save FILE` writes one");
    expect({ code, out }).toEqual({ code: 2, out: "" });
  });

  test.each([
    ["snapshot.members.1.role", { role: "king" }],
    ["snapshot.members.1.healthyForMs", { healthyForMs: -1 }],
    ["stands in it twice", { id: "id-h1" }],
    ["more than one member is the raft leader", { raftLeader: true }],
  ])("a member that is not right is refused: %s", (why, change) => {
    const seen = cluster("ideal 3 | voters h1 h2 h3");
    const members = seen.members.map((m, i) => (i === 1 ? { ...m, ...change } : m));
    const text = JSON.stringify({ schema: 1, snapshot: { ...seen, members } });
    expect(() => readSaved(text, "x")).toThrow(why);
  });

  test("a policy that is not right is refused, a missing one is the default", () => {
    const snapshot = cluster("ideal 3 | voters h1 h2 h3");
    expect(() => readSaved(JSON.stringify({ schema: 1, snapshot, policy: { maxSeats: 0 } }), "x")).toThrow(
      "policy: maxSeats is not a whole number from 1 to 15",
    );
    expect(readSaved(JSON.stringify({ schema: 1, snapshot }), "x").policy).toEqual(defaultPolicy);
  });

  test("what is saved is read back as it was, and whatever stands in a file is read or refused", () => {
    const snapshot = cluster(
      "ideal 3 | voters h1@a h2? m3^5 | learners h4f | spares h5 | refused h6 | leaving h2 | restarting h1 | passed-over h7 | open promote h4 5 | paused why",
    );
    const whole = { snapshot, policy: { ...defaultPolicy, standbys: 1 as const } };
    expect(readSaved(writeSaved(whole, new Date(0)), "x")).toEqual(whole);
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        expect(() => readSaved(text, "x")).toThrow("Cannot read the snapshot in x");
      }),
    );
  });

  test("a file that is not there, or cannot be written, says so", async () => {
    const { code, err } = await quorate(`plan --from ${folder}/none.json`);
    expect(code).toBe(2);
    expect(err).toContain(`error: Cannot read ${folder}/none.json: ENOENT`);
    expect(await quorate(`plan --from ${folder}/none.json --save x`)).toMatchObject({ code: 2, out: "" });
  });

  test.each(["-1", "many", "1001"])("the size %s is refused with exit 2", async (size) => {
    const { code, err } = await quorate(`plan --from ${await saved("ideal 3 | voters h1")} --size=${size}`);
    expect(code).toBe(2);
    expect(err).toContain("error: Cannot plan for that size: ");
  });
});

describe("scripts/plan", () => {
  const script = fileURLToPath(new URL("../../scripts/plan", import.meta.url));
  const run = promisify(execFile);

  test("plans from a file without any cluster, from any folder", async () => {
    await saved("ideal 3 | voters h1 h2 | learners h3");
    const { stdout } = await run(script, ["seen.json", "--size", "3"], { cwd: folder });
    expect(stdout).toContain("1. promote h3 (can lose 0 -> 1)");
    expect(stdout).toContain("then settled: 3 voters, can lose 1");
  });

  test("says how it is called", async () => {
    await expect(run(script, [])).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining("usage: scripts/plan FILE") as string,
    });
    await expect(run(script, ["/none"])).rejects.toMatchObject({ code: 2 });
  });
});

describe("of a real etcd", () => {
  const keys = keysUnder("/_mgmt");
  let etcd: TestCluster;
  let client: EtcdClient;
  let endpoints = "";
  let rows: readonly MemberRow[] = [];
  beforeAll(async () => {
    etcd = await startEtcd(3);
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
    const seats = rows.map((row, i) => ({ row, host: row.name, instance: `00000000-0000-4000-8000-00000000010${i + 1}` }));
    for (const { row, host, instance } of seats) {
      await client.put(keys.agents.key(host), agentRecord(rows.indexOf(row) + 1, { server: "serving", member: row.id }));
      await client.put(keys.nominated.key(host), row.peerUrls.join(","));
      const seat = { schema: 1, instance, member: row.id, role: "voter", standby: false } as const;
      await client.put(keys.seats.key(host), writeRecord("seat", seat));
    }
    for (const n of [4, 5]) {
      await client.put(keys.agents.key(`h${n}`), agentRecord(n));
      await client.put(keys.volunteer.key(`h${n}`), `http://127.0.0.1:${n}`);
    }
  });

  test("what is settled stays so, and a larger size takes the spares, one after the other", async () => {
    expect((await quorate(`plan ${endpoints}`)).out.split("\n")).toEqual([
      "as things are: 3 voters, n1, n2 and n3; 2 spares, h4 and h5; size 3; can lose 1",
      "settled: 3 voters, can lose 1",
      "",
    ]);
    const { code, out } = await quorate(`plan --size 5 -o json ${endpoints}`);
    expect(code).toBe(0);
    expect((JSON.parse(out) as { steps: { what: string }[] }).steps.map(({ what }) => what)).toEqual([
      "nominate h4",
      "add h4 as learner",
      "promote h4",
      "nominate h5",
      "add h5 as learner",
      "promote h5",
    ]);
  });

  test("a smaller size lets somebody go at once: a fresh look counts those that answer as healthy for long", async () => {
    const { out } = await quorate(`plan --size 1 ${endpoints}`);
    expect(out).toMatch(/1\. remove n[123]|1\. move raft leadership/);
    expect(out).toContain("then settled: 1 voter, can lose 0");
  });

  test("a volunteer that the leader found unfit is not counted on", async () => {
    const plan = {
      schema: 1,
      leader: "n1",
      ideal: 3,
      kind: "settled",
      because: "x",
      voters: 3,
      learners: 0,
    } as const;
    await client.put(
      keys.plan,
      writeRecord("planRecord", { ...plan, notices: [], unfit: [{ agent: "h4", reason: "its server URL does not answer" }] }),
    );
    const { out } = await quorate(`plan --size 5 ${endpoints}`);
    expect(out).toContain("1 spare, h5");
    expect(out).not.toContain(". nominate h4");
    expect(out).toContain("h4 failed the pre-flight: its server URL does not answer");
  });

  test("the cluster's policy counts, and what is saved plans the same without the cluster", async () => {
    await client.put(keys.policy, writeRecord("policy", { schema: 1, ...defaultClusterPolicy, standbys: 1 }));
    const file = join(folder, "real.json");
    const { code, out, err } = await quorate(`plan --save ${file} ${endpoints}`);
    expect(code).toBe(0);
    expect(out).toContain("1. nominate h4 as standby");
    expect(err).toContain(`note: what was seen is in ${file}`);
    expect((await quorate(`plan --from ${file}`)).out).toBe(out);
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ schema: 1, policy: { standbys: 1 } });
  });

  test("nothing is changed by it, not even the revision", async () => {
    const { revision } = await client.get("/absent");
    for (const argv of ["plan", "plan --size 7"]) await quorate(`${argv} ${endpoints}`);
    expect((await client.get("/absent")).revision).toBe(revision);
  });

  test("a stranger's cluster is exit 6, one that does not answer 3", async () => {
    await client.del(keys.cluster);
    const { code, err } = await quorate(`plan ${endpoints}`);
    expect(code).toBe(6);
    expect(err).toContain("this cluster is not Quorate's");
    const [port] = await freePorts(1);
    expect((await quorate(`plan --endpoints=127.0.0.1:${port}`)).code).toBe(3);
  });

  test("without quorum it is exit 4, and says who answers and what to do", async () => {
    const victims = etcd.nodes.filter(({ name }) => name !== "n1");
    for (const victim of victims) await victim.kill();
    try {
      const { code, out, err } = await quorate(`plan ${endpoints}`);
      expect({ code, out }).toEqual({ code: 4, out: "" });
      expect(err).toContain("error: Cannot read the cluster: it has no raft leader");
      expect(err).toContain("start the missing servers again");
    } finally {
      await Promise.all(victims.map((victim) => victim.restart()));
    }
  });

  test("a server that is dead with its agent is replaced by a spare, and one that only is silent is waited for", async () => {
    const victim = etcd.nodes.find(({ name }) => name === "n3");
    await victim?.kill();
    try {
      expect((await quorate(`plan ${endpoints}`)).out).toContain("waiting: n3 takes no part and keeps its seat");
      await client.del(keys.agents.key("n3"));
      const { out } = await quorate(`plan ${endpoints}`);
      expect(out).toContain("n1, n2 and n3 (gone)");
      expect(out).toContain("because n3 is gone with its agent; h4 is the first of the spares");
      expect(out).toContain("remove n3");
      expect(out).toContain("then settled: 3 voters, can lose 1");
    } finally {
      await victim?.restart();
    }
  });
});
