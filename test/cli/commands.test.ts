import { createServer, type AddressInfo, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Io } from "../../src/cli/io.ts";
import { etcdctlEnvironment } from "../../src/cli/etcdctl.ts";
import { main } from "../../src/cli/main.ts";
import { systemClock } from "../../src/clock.ts";
import { writeRecord, type PlanRecord } from "../../src/agent/control/records.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import { etcdBinary } from "../support/etcd.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { freePorts } from "../support/ports.ts";

/** One command line in this process. */
async function quorate(argv: string, env: Record<string, string> = {}): Promise<{ code: number; out: string; err: string }> {
  const said = { out: "", err: "" };
  const io: Io = {
    env,
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    tty: false,
    color: false,
    columns: undefined,
  };
  const code = await main(argv === "" ? [] : argv.split(" "), io);
  return { code, ...said };
}

describe("usage", () => {
  test.each([
    ["sizes", "error: unknown command 'sizes'\n  hint: did you mean size?\n"],
    ["members --endpoint=x", "error: unknown option '--endpoint=x'\n  hint: did you mean --endpoints?\n"],
    ["members extra", "error: too many arguments for 'members'. Expected 0 arguments but got 1.\n"],
    ["run other", 'error: Cannot run "other": an agent takes no argument\n'],
    ["run --priority=high", 'error: Cannot use --priority: "high" is not a whole number\n'],
    ["run --no-server", "error: Cannot use --no-server: an agent without a server needs seeds to connect to\n"],
    ["run --prefix=here", 'error: Cannot use --prefix: "here" is a relative path\n'],
    ["run --client-urls=http://0.0.0.0:2379", 'error: Cannot use --client-urls: "http://0.0.0.0:2379" listens on every address'],
    ["run --hostname=a/b", 'error: Cannot use --hostname: "a/b" must be'],
    ["run --namespace=mgmt", "error: Cannot use the namespace"],
    ["run --seeds=127.0.0.1:2379", 'error: Cannot use --seeds: "127.0.0.1:2379" is not of the form http://HOST:PORT\n'],
    ["run --tmp-prefix --prefix=/var/empty/q", "error: Cannot use --tmp-prefix: a prefix is given as well"],
    ["size three", 'error: Cannot set the size: "three" is not a whole number\n'],
    ["size -- -1", 'error: Cannot set the size: "-1" is not a whole number\n'],
    ["members -o xml", 'error: Cannot use --output: "xml" is not one of table, json, yaml\n'],
    ["etcd install --from /tmp/x", "error: Cannot install etcd: --from needs --sha256"],
    ["etcd install --suite a --from b --sha256 c", "error: Cannot install etcd: --from and --suite exclude each other\n"],
  ])("`quorate %s` exits 2 and says why", async (argv, error) => {
    const { code, out, err } = await quorate(argv);
    expect(err).toContain(error.replace(/\n$/, ""));
    expect({ code, out }).toEqual({ code: 2, out: "" });
  });

  test("a variable that cannot be used is named", async () => {
    const { code, err } = await quorate("run", { QUORATE_SESSION_TTL: "soon" });
    expect(err).toContain("error: Cannot use QUORATE_SESSION_TTL:");
    expect(code).toBe(2);
  });

  test("an unwritable prefix exits 2", async () => {
    const { code, err } = await quorate("run --hostname=h1 --log-level=silent --prefix=/etc/passwd/quorate", {
      QUORATE_ETCD_BIN: etcdBinary(),
    });
    expect(err).toContain("error: Cannot use the prefix /etc/passwd/quorate");
    expect(code).toBe(2);
  });

  test("help is on standard output and exits 0, for every command", async () => {
    for (const argv of [
      "--help",
      "help run",
      ...["run", "members", "status", "size", "etcd", "etcd install", "demo"].map((name) => `${name} --help`),
    ]) {
      const { code, out, err } = await quorate(argv);
      expect({ argv, code, err }).toEqual({ argv, code: 0, err: "" });
      expect(out).toContain("Usage: quorate");
    }
  });

  test("the help of run shows every flag that it takes, and not the ones it ignores", async () => {
    const { out } = await quorate("run --help");
    for (const flag of ["--hostname", "--seeds", "--no-server", "--session-ttl", "--log-format"]) expect(out).toContain(flag);
    expect(out).not.toContain("--no-pgp");
  });

  test("without a command there is the help on standard error, and exit code 2", async () => {
    const { code, out, err } = await quorate("");
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage: quorate");
  });
});

describe("a cluster that does not answer", () => {
  const servers: Server[] = [];
  afterAll(() => {
    for (const server of servers) server.close();
  });

  test("exits 3, with the endpoint and what to do", async () => {
    const [port] = await freePorts(1);
    const { code, out, err } = await quorate(`members --endpoints=127.0.0.1:${port}`);
    expect({ code, out }).toEqual({ code: 3, out: "" });
    expect(err).toContain("error: Cannot reach the cluster");
    expect(err).toContain(`  cause: http://127.0.0.1:${port}: `);
    expect(err).toContain("  hint: start an agent with `quorate run`");
  });

  test("exits 3 also where something listens and never says a word", async () => {
    const server = createServer(() => undefined);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { code } = await quorate(`status --endpoints=127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect(code).toBe(3);
  });
});

describe("a cluster without quorum", () => {
  test("exits 4 and says who answers; --endpoints-health still shows the endpoints", async () => {
    await using cluster = await startEtcd(2);
    const [alive, dead] = cluster.nodes;
    await dead!.kill();
    const endpoints = `--endpoints=${cluster.urls.join(",")}`;
    const asked = await quorate(`members ${endpoints}`);
    expect(asked.code).toBe(4);
    expect(asked.err).toContain(`  cause: ${alive!.clientUrl}: answers`);
    const health = await quorate(`status --endpoints-health ${endpoints}`);
    expect(health.code).toBe(4);
    expect(health.out).toContain(alive!.clientUrl);
    expect(health.out).toContain(dead!.clientUrl);
    expect((await quorate(`size ${endpoints}`)).code).toBe(4);
  });
});

describe("a cluster that answers", () => {
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

  test("members prints a table, JSON and YAML of the same", async () => {
    const url = cluster.urls[0]!;
    const shown = await quorate(`members ${endpoints}`);
    expect(shown.code).toBe(0);
    expect(shown.out).toMatch(/^HOST {2}ROLE/);
    expect(shown.out).toContain(url);
    const json = JSON.parse((await quorate(`members -o json ${endpoints}`)).out) as unknown;
    expect(json).toMatchObject([{ hostname: "n1", role: "voter", healthy: true, raftLeader: true, clientUrls: [url] }]);
    expect((await quorate(`members -o yaml ${endpoints}`)).out).toContain(`- hostname: n1\n`);
  });

  test("the endpoints may come from the variable", async () => {
    expect((await quorate("members", { QUORATE_ENDPOINTS: cluster.urls.join(",") })).code).toBe(0);
  });

  test("status says that a plain etcd is not Quorate's, and every endpoint commits", async () => {
    const { code, out } = await quorate(`status --endpoints-health ${endpoints}`);
    expect(code).toBe(0);
    expect(out).toContain("not Quorate's (no key /_mgmt/quorate/cluster)");
    expect(out).toMatch(/committed a proposal in [0-9.]+ ms/);
  });

  test("looking changes nothing, not even the revision", async () => {
    const before = (await client.get("/absent")).revision;
    for (const argv of ["members", "status", "status --endpoints-health", "size"]) await quorate(`${argv} ${endpoints}`);
    expect((await client.get("/absent")).revision).toBe(before);
  });

  test("the size of a stranger's cluster is not set", async () => {
    const { code, err } = await quorate(`size 3 ${endpoints}`);
    expect(code).toBe(6);
    expect(err).toContain("is not Quorate's");
    expect((await client.get(keys.idealClusterSize)).entry).toBeUndefined();
  });

  test("size N writes the number, and --wait ends with 5 while no leader acts on it", async () => {
    const { clusterId } = await client.readMembership();
    await client.put(keys.cluster, writeRecord("marker", { schema: 1, clusterId, foundedBy: "n1" }));
    expect((await quorate(`size ${endpoints}`)).out).toBe("no size is set (1 member)\n");
    const set = await quorate(`size 3 ${endpoints}`);
    expect(set).toEqual({
      code: 0,
      out: "3 (1 member now; no agent leads)\n",
      err: "note: only 1 agent is there to hold a seat; the cluster grows as others join\n",
    });
    expect((await client.get(keys.idealClusterSize)).entry?.value).toBe("3");
    const late = await quorate(`size 3 --wait --timeout 400ms ${endpoints}`);
    expect(late.code).toBe(5);
    expect(late.err).toContain("it has 1 member (no agent leads)");
  });

  test("size N --wait returns once the leader says that it is settled", async () => {
    const plan: Omit<PlanRecord, "ideal"> = {
      schema: 1,
      leader: "n1",
      kind: "settled",
      because: "1 member of 1",
      failureTolerance: 0,
      voters: 1,
      learners: 0,
      notices: [],
    };
    await client.put(keys.plan, writeRecord("planRecord", { ...plan, ideal: 3 }));
    const waiting = quorate(`size 1 --wait --timeout 20s ${endpoints}`);
    await expect.poll(async () => (await client.get(keys.idealClusterSize)).entry?.value).toBe("1");
    await client.put(keys.plan, writeRecord("planRecord", { ...plan, ideal: 1 }));
    expect((await waiting).code).toBe(0);
    expect((await quorate(`size ${endpoints}`)).out).toBe("1 (1 member now; settled: 1 voter, can lose none)\n");
    expect(JSON.parse((await quorate(`size -o json ${endpoints}`)).out)).toEqual({
      idealClusterSize: 1,
      members: 1,
      voters: 1,
      settled: true,
      because: "1 member of 1",
    });
  });

  test("keys that others wrote badly neither end a command nor reach the terminal", async () => {
    await client.put(keys.plan, "\u001b[2J{");
    await client.put(keys.agents.key("evil\u001b"), "null");
    await client.put(keys.passedOver.key("n1"), "\u001b[31mred");
    await client.put(`${keys.agents.prefix}a/b`, "{}");
    await client.put(keys.idealClusterSize, "\u001b[0mmany");
    for (const argv of ["members", "status", "size", "status -o json"]) {
      const { code, out } = await quorate(`${argv} ${endpoints}`);
      expect(code).toBe(0);
      expect(out).not.toContain("\u001b");
    }
  });
});

describe("the environment of etcdctl", () => {
  test("has API 3 and Quorate's endpoints", () => {
    expect(etcdctlEnvironment(["get", "x"], { HOME: "/h" })).toEqual({
      HOME: "/h",
      ETCDCTL_API: "3",
      ETCDCTL_ENDPOINTS: "http://127.0.0.1:2379",
    });
    expect(etcdctlEnvironment([], { QUORATE_ENDPOINTS: "a:1,b:2" })["ETCDCTL_ENDPOINTS"]).toBe("http://a:1,http://b:2");
  });

  test("has no endpoints where the arguments name some: etcdctl refuses both", () => {
    const env = { QUORATE_ENDPOINTS: "a:1", ETCDCTL_ENDPOINTS: "b:1" };
    expect(etcdctlEnvironment(["--endpoints", "c:1", "get"], env)).not.toHaveProperty("ETCDCTL_ENDPOINTS");
    expect(etcdctlEnvironment(["get", "--endpoints=c:1"], env)).not.toHaveProperty("ETCDCTL_ENDPOINTS");
  });

  test("leaves the user's own endpoints unless Quorate's are named", () => {
    expect(etcdctlEnvironment([], { ETCDCTL_ENDPOINTS: "b:1" })["ETCDCTL_ENDPOINTS"]).toBe("b:1");
  });
});
