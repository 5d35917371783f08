import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { defaultClusterPolicy, policyFieldNames, policyFields } from "../../src/agent/control/policy.ts";
import { writeRecord, type AgentRecord } from "../../src/agent/control/records.ts";
import { agentFlags, policyFlags } from "../../src/cli/options.ts";
import { systemClock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import { agentRecord } from "../agent/lead/leader.ts";
import { quorate } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { freePorts } from "../support/ports.ts";

const keys = keysUnder("/_mgmt");
let cluster: TestCluster;
let client: EtcdClient;
let endpoints = "";
beforeAll(async () => {
  cluster = await startEtcd(1);
  endpoints = `--endpoints=${cluster.urls.join(",")}`;
  client = EtcdClient.create({ endpoints: cluster.urls, clock: systemClock });
});
afterAll(async () => {
  await client.close();
  await cluster.stop();
});
beforeEach(async () => {
  await client.txn({ then: [{ del: "/_mgmt/", end: "/_mgmt0" }] });
  await client.put(keys.cluster, writeRecord("marker", { schema: 1, clusterId: "c1", foundedBy: "h1" }));
});

const written = { schema: 1, ...defaultClusterPolicy };
const write = (change: object): Promise<unknown> => client.put(keys.policy, JSON.stringify({ ...written, ...change }));
const stored = async (): Promise<unknown> => JSON.parse((await client.get(keys.policy)).entry?.value ?? "null");

describe("policy get", () => {
  test("shows every field with its value as the flag takes it, and what it means", async () => {
    await write({ maxSeats: 5, restartGraceMs: 90_000 });
    const { code, out } = await quorate(`policy get ${endpoints}`);
    expect(code).toBe(0);
    const lines = out.trimEnd().split("\n");
    expect(lines.map((line) => line.split(/ +/).slice(0, 2).join(" "))).toEqual([
      "POLICY VALUE",
      "max-seats 5",
      "standbys 0",
      "even-voters false",
      "strict-reconfig-check false",
      "stabilization 0s",
      "nominee-timeout 1m",
      "stall-timeout 1m",
      "restart-grace 90s",
      "chooser dynamicsize",
    ]);
    expect(out).toContain("seats that are filled at most");
  });

  test("shows the defaults where there is no policy, and says so", async () => {
    const { code, out } = await quorate(`policy get ${endpoints}`);
    expect(code).toBe(0);
    expect(out).toContain("max-seats              7");
    expect(out).toContain("no policy is written: these are the defaults");
    const json = JSON.parse((await quorate(`policy get -o json ${endpoints}`)).out) as unknown;
    expect(json).toEqual({ written: false, policy: defaultClusterPolicy, refused: [], differingFlags: null });
    expect((await quorate(`policy get -o yaml ${endpoints}`)).out).toContain("written: false\npolicy:\n  maxSeats: 7\n");
  });

  test("says what of a damaged policy is refused, and shows what stays in force", async () => {
    await client.put(keys.lastPolicy, JSON.stringify({ ...written, maxSeats: 3 }));
    await write({ maxSeats: 99, standbys: 1 });
    const { code, out } = await quorate(`policy get ${endpoints}`);
    expect(code).toBe(0);
    expect(out).toMatch(/max-seats +3 /);
    expect(out).toMatch(/standbys +1 /);
    expect(out).toContain("refused in part: maxSeats is not a whole number from 1 to 15; what was good last stays in force");
    await client.put(keys.policy, "\u001b[2Jbanana");
    const worse = await quorate(`policy get ${endpoints}`);
    expect(worse.out).toMatch(/max-seats +3 /);
    expect(worse.out).not.toContain("\u001b");
  });

  test("changes nothing", async () => {
    const before = (await client.get(keys.policy)).revision;
    await quorate(`policy get ${endpoints}`);
    expect((await client.get(keys.policy)).revision).toBe(before);
  });
});

describe("policy set", () => {
  test("changes what is given and nothing else, and says what changed", async () => {
    await write({ standbys: 1, chooser: "mine" });
    const { code, out, err } = await quorate(`policy set --max-seats 5 --restart-grace 10m --even-voters true ${endpoints}`);
    expect({ code, out, err }).toEqual({
      code: 0,
      out: "max-seats 7 -> 5\neven-voters false -> true\nrestart-grace 5m -> 10m\n",
      err: "",
    });
    expect(await stored()).toEqual({
      ...written,
      standbys: 1,
      chooser: "mine",
      maxSeats: 5,
      evenVoters: true,
      restartGraceMs: 600_000,
    });
  });

  test("every flag sets its field", async () => {
    const flags =
      "--max-seats 3 --standbys 1 --even-voters true --strict-reconfig-check true --stabilization 10s --nominee-timeout 30s --stall-timeout 2m --restart-grace 1h";
    const { code, out, err } = await quorate(`policy set ${flags} -o json ${endpoints}`);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const policy = {
      maxSeats: 3,
      standbys: 1,
      evenVoters: true,
      strictReconfigCheck: true,
      stabilizationMs: 10_000,
      nomineeTimeoutMs: 30_000,
      stallTimeoutMs: 120_000,
      restartGraceMs: 3_600_000,
      chooser: "dynamicsize",
    };
    expect(JSON.parse(out)).toMatchObject({ policy, changes: policyFieldNames.map((field) => ({ field, to: policy[field] })) });
    expect(await stored()).toEqual({ schema: 1, ...policy });
  });

  test("a chooser is set where an agent that is alive has it, and refused where none has", async () => {
    await write({});
    const agent = (n: number, more: Partial<AgentRecord>): Promise<unknown> =>
      client.put(keys.agents.key(`h${n}`), agentRecord(n, { etcd: "3.5.30", ...more }));
    await agent(1, {});
    await agent(2, { chooser: "other" });
    const none = await quorate(`policy set --chooser mine ${endpoints}`);
    expect(none).toMatchObject({ code: 6, out: "" });
    expect(none.err).toContain("error: Cannot set the chooser to mine: no agent that is alive has it, so none could lead");
    expect(await stored()).toMatchObject({ chooser: "dynamicsize" });
    await agent(3, { chooser: "mine" });
    expect(await quorate(`policy set --chooser mine ${endpoints}`)).toMatchObject({
      code: 0,
      out: "chooser dynamicsize -> mine\n",
    });
    expect(await stored()).toMatchObject({ chooser: "mine" });
    const { out } = await quorate(`policy get ${endpoints}`);
    expect(out).toMatch(/chooser +mine /);
    expect(out).toContain("h1 and h2 do not have the chooser mine, so they can not lead");
    expect((await quorate(`policy set --chooser mine ${endpoints}`)).out).toBe("nothing changed: chooser is mine\n");
    expect((await quorate(`policy set --chooser dynamicsize ${endpoints}`)).out).toBe("chooser mine -> dynamicsize\n");
    const strange = await quorate(`policy set --chooser=${"a".repeat(101)} ${endpoints}`);
    expect(strange).toMatchObject({ code: 2 });
  });

  test("says that nothing changed where it is so already, and writes nothing", async () => {
    await write({ maxSeats: 5 });
    const before = (await client.get(keys.policy)).entry?.modRevision;
    expect((await quorate(`policy set --max-seats 5 --standbys 0 ${endpoints}`)).out).toBe(
      "nothing changed: max-seats is 5, standbys is 0\n",
    );
    expect((await client.get(keys.policy)).entry?.modRevision).toBe(before);
  });

  test("does not take back what another operator sets at the same time", async () => {
    await write({});
    await Promise.all([
      quorate(`policy set --max-seats 5 ${endpoints}`),
      quorate(`policy set --standbys 1 ${endpoints}`),
      quorate(`policy set --stabilization 5s ${endpoints}`),
    ]);
    expect(await stored()).toMatchObject({ maxSeats: 5, standbys: 1, stabilizationMs: 5_000 });
  });

  test("is not changed by the variables of an agent beside it", async () => {
    await write({});
    const { out } = await quorate(`policy set --standbys 1 ${endpoints}`, { env: { QUORATE_MAX_SEATS: "3" } });
    expect(out).toBe("standbys 0 -> 1\n");
  });

  test("writes a damaged policy anew, from what is in force, and says so", async () => {
    await client.put(keys.lastPolicy, JSON.stringify({ ...written, maxSeats: 3 }));
    await client.put(keys.policy, "banana");
    const { code, out, err } = await quorate(`policy set --standbys 1 ${endpoints}`);
    expect({ code, out }).toEqual({ code: 0, out: "standbys 0 -> 1\n" });
    expect(err).toBe('note: the policy key was refused in part and is written anew: "banana" is not JSON\n');
    expect(await stored()).toEqual({ ...written, maxSeats: 3, standbys: 1 });
  });

  test("says that servers take etcd's own check up at their next start", async () => {
    const { err } = await quorate(`policy set --strict-reconfig-check on ${endpoints}`);
    expect(err).toBe("note: servers take that up when they are started the next time\n");
  });

  test.each([
    ["", "error: Cannot set the policy: no flag says what to change"],
    ["--max-seats 0", "error: Cannot use --max-seats: 0 is not a whole number from 1 to 15"],
    ["--max-seats 16", "error: Cannot use --max-seats: 16 is not a whole number from 1 to 15"],
    ["--max-seats many", 'error: Cannot use --max-seats: "many" is not a whole number'],
    ["--standbys 2", 'error: Cannot use --standbys: "2" is not one of 0, 1'],
    ["--even-voters maybe", 'error: Cannot use --even-voters: "maybe" is neither true nor false'],
    ["--even-voters", "error: option '--even-voters <true|false>' argument missing"],
    ["--stabilization 25h", "error: Cannot use --stabilization: 25h is not from 0s to 24h"],
    ["--nominee-timeout 10ms", "error: Cannot use --nominee-timeout: 10ms is not from 1s to 24h"],
    ["--stall-timeout 0", "error: Cannot use --stall-timeout: 0s is not from 1s to 24h"],
    ["--restart-grace 1s", "error: Cannot use --restart-grace: 1s is not from 2s to 24h"],
    ["--restart-grace soon", 'error: Cannot use --restart-grace: "soon" is not a duration like 10s, 500ms or 2m'],
    ["--chooser a/b", 'error: Cannot use --chooser: "a/b" is no name of a chooser'],
  ])("`policy set %s` exits 2 and writes nothing", async (flags, error) => {
    await write({});
    const before = (await client.get(keys.policy)).revision;
    const { code, out, err } = await quorate(
      `policy set ${flags === "" ? "" : `${flags} `}${flags === "--even-voters" ? "" : endpoints}`.trim(),
    );
    expect(err).toContain(error);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect((await client.get(keys.policy)).revision).toBe(before);
  });

  test("a stranger's cluster is not touched", async () => {
    await client.del(keys.cluster);
    const { code, err } = await quorate(`policy set --max-seats 5 ${endpoints}`);
    expect(code).toBe(6);
    expect(err).toContain("this cluster is not Quorate's");
    expect((await client.get(keys.policy)).entry).toBeUndefined();
  });
});

test("a cluster that does not answer is exit 3 for both", async () => {
  const [port] = await freePorts(1);
  for (const argv of ["policy get", "policy set --standbys 1"]) {
    const { code, err } = await quorate(`${argv} --endpoints=127.0.0.1:${port}`);
    expect(code).toBe(3);
    expect(err).toContain("error: Cannot reach the cluster");
  }
});

test("the flags of run and of policy set have the names that notices use", () => {
  for (const field of policyFieldNames) {
    expect([field, agentFlags[field].name, policyFlags[field].name]).toEqual([
      field,
      policyFields[field].flag,
      policyFields[field].flag,
    ]);
  }
});

test("`policy` alone shows its help and exits 2; each command has one of its own", async () => {
  expect(await quorate("policy")).toMatchObject({ code: 2, out: "" });
  for (const argv of ["policy --help", "policy get --help", "policy set --help", "help policy"]) {
    const { code, out } = await quorate(argv);
    expect({ argv, code }).toEqual({ argv, code: 0 });
    expect(out).toContain("Usage: quorate policy");
  }
  const { out } = await quorate("run --help");
  for (const field of policyFieldNames) expect(out).toContain(`--${policyFields[field].flag}`);
  expect(out).toContain("--leave-on-terminate");
});
