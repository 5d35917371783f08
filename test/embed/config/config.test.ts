import { describe, expect, test } from "vitest";
import {
  Config,
  ConfigError,
  clusterStateFlagExisting,
  defaultMaxRequestBytes,
  defaultQuotaBytes,
  flagsOf,
  newConfig,
} from "../../../src/embed/config/index.ts";
import { fields, type FieldPath } from "../../../src/embed/config/table.ts";
import { setValue, valueOf } from "../../../src/embed/config/values.ts";

const etcd = (minor: number, major = 3) => ({ major, minor, text: `${major}.${minor}.0` });

/** What fails with a ConfigError, by its name and field. */
function wrong(change: (config: Config) => void): {
  readonly error: string;
  readonly field: string | undefined;
  readonly message: string;
} {
  const config = newConfig();
  change(config);
  try {
    config.validate();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error).toMatchObject({ code: "INVALID_OPTION", exitCode: 2, data: { error: error.error } });
    return { error: error.error, field: error.field, message: error.message };
  }
  throw new Error("It is valid");
}

describe("a new configuration", () => {
  test("has the reference's defaults, and is valid", () => {
    const config = newConfig();
    config.validate();
    expect(config).toMatchObject({
      name: "default",
      lpUrls: ["http://localhost:2380"],
      lcUrls: ["http://localhost:2379"],
      apUrls: ["http://localhost:2380"],
      acUrls: ["http://localhost:2379"],
      initialCluster: "default=http://localhost:2380",
      initialClusterToken: "etcd-cluster",
      clusterState: "new",
      maxSnapFiles: 5,
      maxWalFiles: 5,
      snapCount: 100_000,
      tickMs: 100,
      electionMs: 1_000,
      maxTxnOps: 128,
      maxRequestBytes: 1_572_864,
      gRPCKeepAliveMinTime: "5s",
      gRPCKeepAliveInterval: "2h",
      gRPCKeepAliveTimeout: "20s",
      strictReconfigCheck: true,
      enableV2: true,
      authToken: "simple",
      metrics: "basic",
      logOutput: "default",
      forceNewCluster: false,
    });
    expect([defaultMaxRequestBytes, defaultQuotaBytes]).toEqual([1_572_864, 2_147_483_648]);
  });

  test("is nobody else's", () => {
    const one = newConfig();
    one.lcUrls.push("http://127.0.0.1:1");
    one.clientTLSInfo.certFile = "/a";
    expect(newConfig()).toEqual(new Config());
    expect(newConfig().clientTLSInfo.certFile).toBe("");
  });

  test("is no flag at all, for any etcd", () => {
    for (const minor of [4, 5, 6, 7]) expect(flagsOf(newConfig(), etcd(minor))).toEqual([]);
  });
});

describe("methods", () => {
  test("initialClusterFromName, isNewCluster, electionTicks", () => {
    const config = newConfig();
    config.apUrls = ["http://10.0.0.1:2380", "http://10.0.0.2:2380"];
    expect(config.initialClusterFromName("a")).toBe("a=http://10.0.0.1:2380,a=http://10.0.0.2:2380");
    expect(config.initialClusterFromName("")).toBe("default=http://10.0.0.1:2380,default=http://10.0.0.2:2380");
    config.apUrls = [];
    expect(config.initialClusterFromName("a")).toBe("");
    expect(config.isNewCluster()).toBe(true);
    config.clusterState = clusterStateFlagExisting;
    expect(config.isNewCluster()).toBe(false);
    config.tickMs = 300;
    expect(config.electionTicks()).toBe(3);
  });

  test("updateDefaultClusterFromName: the cluster follows a name, and an address what is listened on everywhere", () => {
    const named = newConfig();
    named.name = "a";
    expect(named.updateDefaultClusterFromName(newConfig().initialCluster)).toBe("");
    expect(named.initialCluster).toBe("a=http://localhost:2380");
    const chosen = newConfig();
    chosen.name = "a";
    chosen.initialCluster = "b=http://10.0.0.1:2380";
    chosen.updateDefaultClusterFromName(newConfig().initialCluster);
    expect(chosen.initialCluster).toBe("b=http://10.0.0.1:2380");
    const everywhere = newConfig();
    everywhere.lpUrls = ["http://0.0.0.0:1380"];
    everywhere.lcUrls = ["http://0.0.0.0:1379"];
    const host = everywhere.updateDefaultClusterFromName(newConfig().initialCluster);
    const at = (port: number, otherwise: number): string[] => [
      host === "" ? `http://localhost:${otherwise}` : `http://${host}:${port}`,
    ];
    expect([everywhere.apUrls, everywhere.acUrls]).toEqual([at(1380, 2380), at(1379, 2379)]);
    const told = newConfig();
    told.lcUrls = ["http://0.0.0.0:1379"];
    told.acUrls = ["http://10.0.0.1:1379"];
    told.updateDefaultClusterFromName(newConfig().initialCluster);
    expect(told.acUrls).toEqual(["http://10.0.0.1:1379"]);
  });

  test("peerURLsMapAndToken: static, and by a discovery URL", async () => {
    const config = newConfig();
    config.initialCluster = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,a=http://10.0.0.3:2380";
    expect(await config.peerURLsMapAndToken()).toEqual({
      urlsMap: new Map([
        ["a", ["http://10.0.0.1:2380", "http://10.0.0.3:2380"]],
        ["b", ["http://10.0.0.2:2380"]],
      ]),
      token: "etcd-cluster",
    });
    config.durl = "http://discovery.example/1";
    expect(await config.peerURLsMapAndToken()).toEqual({
      urlsMap: new Map([["default", ["http://localhost:2380"]]]),
      token: "http://discovery.example/1",
    });
  });
});

describe("what is refused, by name and field", () => {
  test.each<[string, string, (config: Config) => void]>([
    ["ConflictBootstrapFlags", "durl", (c) => (c.durl = "http://d.example/1")],
    ["ConflictBootstrapFlags", "dnsCluster", (c) => (c.dnsCluster = "example.com")],
    ["UnsetAdvertiseClientURLsFlag", "acUrls", (c) => (c.acUrls = [])],
    ["InvalidURL", "lcUrls", (c) => (c.lcUrls = ["127.0.0.1:2379"])],
    ["InvalidURL", "lcUrls", (c) => (c.lcUrls = ["ftp://127.0.0.1:2379"])],
    ["InvalidURL", "lpUrls", (c) => (c.lpUrls = ["http://127.0.0.1"])],
    ["InvalidURL", "lpUrls", (c) => (c.lpUrls = ["http://127.0.0.1:2380/v2"])],
    ["InvalidURL", "lpUrls", (c) => (c.lpUrls = ["http://u:p@127.0.0.1:2380"])],
    ["InvalidURL", "lpUrls", (c) => (c.lpUrls = ["http://[::zz]:2380"])],
    ["InvalidURL", "lpUrls", (c) => (c.lpUrls = ["http://127.0.0.1:70000"])],
    ["InvalidURL", "lcUrls", (c) => (c.lcUrls = ["unix://"])],
    ["InvalidURL", "apUrls", (c) => (c.apUrls = ["http://:2380"])],
    ["InvalidURL", "initialCluster, for a", (c) => (c.initialCluster = "a=10.0.0.1:2380")],
    ["ExpectedIP", "lcUrls", (c) => (c.lcUrls = ["http://h1.example:2379"])],
    ["ExpectedIP", "listenMetricsUrls", (c) => (c.listenMetricsUrls = ["http://:2381"])],
    ["InvalidClusterState", "clusterState", (c) => (c.clusterState = "old")],
    ["InvalidInitialCluster", "initialCluster", (c) => (c.initialCluster = "http://10.0.0.1:2380")],
    ["InvalidElectionTimeout", "tickMs", (c) => (c.tickMs = 0)],
    ["InvalidElectionTimeout", "electionMs", (c) => (c.electionMs = 0)],
    ["InvalidElectionTimeout", "electionMs", (c) => (c.electionMs = 499)],
    ["InvalidElectionTimeout", "electionMs", (c) => (c.electionMs = 50_001)],
    ["InvalidCompaction", "autoCompactionMode", (c) => (c.autoCompactionMode = "sometimes")],
    ["InvalidCompaction", "autoCompactionRetention", (c) => (c.autoCompactionRetention = "soon")],
    ["InvalidCompaction", "autoCompactionRetention", (c) => (c.autoCompactionRetention = "-5m")],
    [
      "InvalidCompaction",
      "autoCompactionRetention",
      (c) => {
        c.autoCompactionMode = "revision";
        c.autoCompactionRetention = "5m";
      },
    ],
    ["IncompleteTLS", "clientTLSInfo.keyFile", (c) => (c.clientTLSInfo.certFile = "/cert")],
    ["IncompleteTLS", "peerTLSInfo.certFile", (c) => (c.peerTLSInfo.keyFile = "/key")],
    ["IncompleteTLS", "peerTLSInfo.clientKeyFile", (c) => (c.peerTLSInfo.clientCertFile = "/cert")],
    ["IncompleteTLS", "clientTLSInfo.trustedCAFile", (c) => (c.clientTLSInfo.clientCertAuth = true)],
    ["IncompleteTLS", "clientTLSInfo.certFile", (c) => (c.lcUrls = ["https://127.0.0.1:2379"])],
    ["InvalidValue", "metrics", (c) => (c.metrics = "all")],
    ["InvalidValue", "tlsMinVersion", (c) => (c.tlsMinVersion = "TLS1.1")],
    ["InvalidValue", "maxTxnOps", (c) => (c.maxTxnOps = 1.5)],
    ["InvalidValue", "gRPCKeepAliveMinTime", (c) => (c.gRPCKeepAliveMinTime = "5 seconds")],
    ["InvalidValue", "debug", (c) => Object.assign(c, { debug: "yes" })],
    ["InvalidValue", "lcUrls", (c) => Object.assign(c, { lcUrls: "http://127.0.0.1:2379" })],
    ["InvalidValue", "discoveryToken", (c) => Object.assign(c, { initialCluster: "", discoveryEndpoints: ["h1:2379"] })],
    ["InvalidValue", "logLevel", (c) => Object.assign(c, { debug: true, logLevel: "warn" })],
    ["InvalidValue", "logOutputs", (c) => Object.assign(c, { logOutput: "stderr", logOutputs: ["stdout"] })],
    [
      "InvalidValue",
      "cipherSuites",
      (c) => Object.assign(c, { tlsMinVersion: "TLS1.3", cipherSuites: ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] }),
    ],
  ])("%s, %s: %o", (error, field, change) => {
    const found = wrong(change);
    expect(found).toMatchObject({ error, field });
    expect(found.message).toMatch(/^Cannot /);
  });

  test("what is right is taken: IPv6, sockets, hours, revisions, 5 ticks, a certificate", () => {
    const right: ((config: Config) => void)[] = [
      (c) => (c.lcUrls = ["http://[::1]:2379", "http://[fe80::1%eth0]:2379", "unix://run/etcd.sock", "http://0.0.0.0:1/"]),
      (c) => (c.acUrls = ["http://h1.example:2379"]),
      (c) => (c.autoCompactionRetention = "5"),
      (c) => (c.autoCompactionRetention = "1h30m"),
      (c) => Object.assign(c, { autoCompactionMode: "revision", autoCompactionRetention: "5000" }),
      (c) => Object.assign(c, { tickMs: 10_000, electionMs: 50_000 }),
      (c) => Object.assign(c, { lcUrls: ["https://127.0.0.1:2379"], clientAutoTLS: true }),
      (c) => Object.assign(c, { initialCluster: "", durl: "http://d.example/1" }),
    ];
    for (const change of right) {
      const config = newConfig();
      change(config);
      config.validate();
    }
  });
});

describe("flags", () => {
  /** Another value than the default. */
  const other = (path: FieldPath): string | number | boolean | string[] => {
    const { kind } = fields[path];
    if (kind === "boolean") return valueOf(newConfig(), path) !== true;
    if (kind === "number") return 77;
    if (kind === "list" || kind === "urls") return ["a", "b"];
    return kind === "duration" ? "77s" : "other";
  };

  test.each(Object.keys(fields) as FieldPath[])("%s: its own for each etcd, and a clear error where there is none", (path) => {
    const config = newConfig();
    const value = other(path);
    setValue(config, path, value);
    for (const [i, minor] of (["3.4", "3.5", "3.6", "3.7"] as const).entries()) {
      const flag = fields[path].flags[minor];
      if (flag === undefined) {
        const error = {
          error: "UnsupportedByEtcd",
          field: path,
          message: expect.stringMatching(`^Cannot set ${path} with etcd 3.`) as unknown,
        };
        expect(() => flagsOf(config, etcd(4 + i))).toThrow(expect.objectContaining(error));
      } else if (fields[path].gate !== undefined && flag === "feature-gates")
        expect(flagsOf(config, etcd(4 + i))).toEqual([`--feature-gates=${fields[path].gate}=${String(value)}`]);
      else {
        // Where clients are listened for elsewhere, what is advertised is told as well.
        const advertised = path === "lcUrls" ? ["--advertise-client-urls=http://localhost:2379"] : [];
        const own = flag.includes("=") ? `--${flag}` : `--${flag}=${String(value)}`;
        expect(flagsOf(config, etcd(4 + i))).toEqual([own, ...advertised]);
      }
    }
  });

  test("several gates are one flag; an etcd that is newer than all is taken for the newest; one that is too old is refused", () => {
    const config = newConfig();
    config.experimentalInitialCorruptCheck = true;
    config.enableLeaseCheckpoint = true;
    expect(flagsOf(config, etcd(6))).toEqual(["--feature-gates=LeaseCheckpoint=true,InitialCorruptCheck=true"]);
    expect(flagsOf(config, etcd(9))).toEqual(flagsOf(config, etcd(7)));
    expect(flagsOf(config, etcd(0, 4))).toEqual(flagsOf(config, etcd(7)));
    expect(() => flagsOf(config, etcd(3))).toThrow("older than 3.4");
  });
});
