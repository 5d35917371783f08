import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ConfigError, configFromFile, newConfig, type Config } from "../../../src/embed/config/index.ts";
import { durationMs, durationOfNanoseconds } from "../../../src/embed/config/duration.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";
import { sample } from "./shipped.ts";

async function fileOf(text: string): Promise<string> {
  const path = join(await temporaryFolder(), "etcd.conf.yml");
  await writeFile(path, text);
  return path;
}

const read = async (text: string): Promise<Config> => configFromFile(await fileOf(text));

async function refused(text: string): Promise<ConfigError> {
  const error: unknown = await read(text).catch((thrown: unknown) => thrown);
  if (!(error instanceof ConfigError)) throw new Error(`It is read: ${String(error)}`);
  return error;
}

describe("a file", () => {
  test("with every option, as distributions ship it", async () => {
    expect(await read(sample)).toEqual(
      Object.assign(newConfig(), {
        snapCount: 10_000,
        strictReconfigCheck: false,
        enablePprof: true,
        discoveryFallback: "proxy",
        selfSignedCertValidity: 1,
        logLevel: "debug",
        logger: "zap",
        logOutputs: ["stderr"],
        autoCompactionMode: "periodic",
        autoCompactionRetention: "1",
        cipherSuites: ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
        tlsMinVersion: "TLS1.2",
        tlsMaxVersion: "TLS1.3",
      }),
    );
  });

  test("as a chart writes it for one member, in JSON, with certificates and durations", async () => {
    const options = {
      name: "infra1",
      "data-dir": "/var/lib/etcd",
      "listen-peer-urls": "https://10.0.0.1:2380",
      "listen-client-urls": "https://10.0.0.1:2379,http://127.0.0.1:2379",
      "initial-advertise-peer-urls": "https://infra1.example:2380",
      "advertise-client-urls": "https://infra1.example:2379",
      "initial-cluster": "infra1=https://infra1.example:2380,infra2=https://infra2.example:2380",
      "initial-cluster-state": "existing",
      "client-transport-security": { "cert-file": "/c", "key-file": "/k", "client-cert-auth": true, "trusted-ca-file": "/ca" },
      "peer-transport-security": { "auto-tls": true, "allowed-cn": "peer" },
      "grpc-keepalive-interval": 600_000_000_000,
      "experimental-corrupt-check-time": 90_000_000_000,
      "experimental-initial-corrupt-check": true,
      cors: "http://a.example,http://b.example",
      "host-whitelist": "a,b",
      "socket-options": { "reuse-port": true },
    };
    const config = await read(JSON.stringify(options));
    expect(config).toMatchObject({
      name: "infra1",
      dir: "/var/lib/etcd",
      lcUrls: ["https://10.0.0.1:2379", "http://127.0.0.1:2379"],
      clusterState: "existing",
      clientTLSInfo: { certFile: "/c", keyFile: "/k", clientCertAuth: true, trustedCAFile: "/ca" },
      peerAutoTLS: true,
      peerTLSInfo: { allowedCNs: ["peer"] },
      gRPCKeepAliveInterval: "10m",
      experimentalCorruptCheckTime: "90s",
      experimentalInitialCorruptCheck: true,
      corsInfo: ["http://a.example", "http://b.example"],
      hostWhitelist: ["a", "b"],
      socketReusePort: true,
    });
  });

  test("by the names of later etcds, with gates and Go's durations", async () => {
    const text = "corrupt-check-time: 1h\nfeature-gates: 'InitialCorruptCheck=true, LeaseCheckpoint=false'\nmax-learners: 2\n";
    expect(await read(text)).toMatchObject({
      experimentalCorruptCheckTime: "1h",
      experimentalInitialCorruptCheck: true,
      enableLeaseCheckpoint: false,
      maxLearners: 2,
    });
  });

  test("of nothing is a new configuration; a discovery takes the place of the default cluster", async () => {
    for (const text of ["", "# nothing\n", "{}", "listen-client-urls: ''\n"]) expect(await read(text)).toEqual(newConfig());
    expect(await read("discovery-srv: example.com\n")).toMatchObject({ dnsCluster: "example.com", initialCluster: "" });
    expect(await read("discovery: http://d.example/1\ninitial-cluster-state: ''\n")).toMatchObject({
      initialCluster: "",
      clusterState: "new",
    });
  });

  test.each([
    ["UnknownOption", "heartbeat-intervall: 100\n", /line 1: no etcd has an option heartbeat-intervall$/],
    [
      "UnknownOption",
      "name: a\npeer-transport-security:\n  cert: /a\n",
      /line 3: no etcd has an option peer-transport-security.cert$/,
    ],
    ["InvalidValue", "name: a\nheartbeat-interval: '100'\n", /line 2: heartbeat-interval: it must be a number$/],
    ["InvalidValue", "enable-pprof: 1\n", /line 1: enable-pprof: it must be true or false$/],
    ["InvalidValue", "log-outputs: [1]\n", /line 1: log-outputs: it must be a list of texts$/],
    ["InvalidValue", "peer-transport-security: on\n", /line 1: peer-transport-security: it is a section/],
    ["InvalidValue", "feature-gates: Nothing=true\n", /opens or closes no gate that is known$/],
    ["UnreadableFile", "name: [\n", /line \d+ is no YAML/],
    ["UnreadableFile", "- name\n", /it has no options/],
    ["InvalidElectionTimeout", "election-timeout: 200\n", /must be at least 5 ticks/],
    ["ConflictBootstrapFlags", "discovery: http://d.example/1\ninitial-cluster: a=http://10.0.0.1:2380\n", /more than one way/],
  ] as const)("is refused: %s, %j", async (name, text, message) => {
    const error = await refused(text);
    expect([error.error, error.code, error.exitCode]).toEqual([name, "INVALID_OPTION", 2]);
    expect(error.message).toMatch(message);
  });

  test("that is not there, or is no text of options at all, is told by its path", async () => {
    const error: unknown = await configFromFile("/nowhere/etcd.yml").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ error: "UnreadableFile", message: expect.stringContaining("/nowhere/etcd.yml") as unknown });
    expect((await refused(" ".repeat(1_000_001))).message).toContain("it has 1000001 bytes");
    // What aliases are multiplied to is bounded.
    const many = (of: string): string => `[${Array.from({ length: 9 }, () => of).join()}]`;
    expect(
      (await refused(`cors: &a ${many("x")}\nlog-outputs: [[&b ${many("*a")}, &c ${many("*b")}, ${many("*c")}]]\n`)).message,
    ).toMatch(/line 2: log-outputs: .*alias/);
  });
});

describe("durations", () => {
  test.each([
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["1.5s", 1_500],
    [".5s", 500],
    ["300ms", 300],
    ["100us", 0.1],
    ["0", 0],
    ["-2s", -2_000],
    ["5", undefined],
    ["", undefined],
    ["5 m", undefined],
    ["m", undefined],
    ["1d", undefined],
  ] as const)("%j is %s ms", (text, ms) => {
    expect(durationMs(text)).toBe(ms);
  });

  test("of nanoseconds, and back", () => {
    for (const [nanoseconds, text] of [
      [0, "0s"],
      [7_200e9, "2h"],
      [90e9, "90s"],
      [1_500e6, "1500ms"],
      [1_001, "1001ns"],
    ] as const) {
      expect(durationOfNanoseconds(nanoseconds)).toBe(text);
      expect(Math.round((durationMs(text) ?? NaN) * 1e6)).toBe(nanoseconds);
    }
  });
});
