import { expect, test } from "vitest";
import * as mgmt from "../../src/mgmt/index.ts";
import { keysUnder } from "../../src/keys.ts";

/** As they stand in purpleidea/mgmt, by file; those of `etcd/etcd.go` from when it was elastic, where newer ones have them no more. */
const reference: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "lib/main.go": { NS: '"/_mgmt"', MetadataPrefix: '"/fs"', StoragePrefix: '"/storage"' },
  "etcd/etcd.go": {
    NominatedPath: '"/nominated/"',
    VolunteerPath: '"/volunteer/"',
    EndpointsPath: '"/endpoints/"',
    ChooserPath: '"/chooser"',
    ConvergedPath: '"/converged/"',
    SchedulerPath: '"/scheduler/"',
    DefaultClientURL: "embed.DefaultListenClientURLs",
    DefaultServerURL: "embed.DefaultListenPeerURLs",
    DefaultMaxTxnOps: "512",
    RunStartupTimeout: "30 * time.Second",
    ClientDialTimeout: "5 * time.Second",
    ClientDialKeepAliveTime: "2 * time.Second",
    ClientDialKeepAliveTimeout: "6 * time.Second",
    MemberChangeInterval: "500 * time.Millisecond",
    SelfRemoveTimeout: "10 * time.Second",
    ForceExitTimeout: "15 * time.Second",
    SessionTTL: "10 * time.Second",
    RequireLeaderCtx: "false",
    ConvergerHostnameNamespace: '"etcd-hostname"',
  },
  "etcd/server.go": {
    MaxServerStartTimeout: "60 * time.Second",
    MaxServerCloseTimeout: "15 * time.Second",
    MaxServerRetries: "5",
    ServerRetryWait: "500 * time.Millisecond",
  },
  "etcd/interfaces/const.go": { MemberChangePollingInterval: "1000 * time.Millisecond" },
  "etcd/chooser/dynamicsize.go": {
    DefaultIdealDynamicSize: "5",
    IdealDynamicSizePath: '"/dynamicsize/idealclustersize"',
  },
  "etcd/scheduler/scheduler.go": { DefaultStrategy: '"rr"', DefaultSessionTTL: "10", DefaultMaxCount: "1" },
};

/** Of etcd's `server/embed/config.go`. */
const embed: Readonly<Record<string, string>> = {
  "embed.DefaultListenClientURLs": "http://localhost:2379",
  "embed.DefaultListenPeerURLs": "http://localhost:2380",
};

/** A Go constant as ours: durations in milliseconds. */
function valueOf(go: string): unknown {
  const [, n, unit] = /^(\d+) \* time\.(Second|Millisecond)$/.exec(go) ?? [];
  if (n !== undefined) return Number(n) * (unit === "Second" ? 1_000 : 1);
  return embed[go] ?? JSON.parse(go);
}

const all = Object.entries(reference).flatMap(([file, constants]) =>
  Object.entries(constants).map(([name, go]): [string, string, string] => [name, go, file]),
);

test.each(all)("%s is %s, as in mgmt's %s", (name, go) => {
  expect((mgmt as Readonly<Record<string, unknown>>)[name]).toBe(valueOf(go));
});

test("there is no constant that mgmt does not have", () => {
  const ours = Object.keys(mgmt).filter((name) => !["connect", "WorldError"].includes(name));
  expect(ours.sort()).toEqual(all.map(([name]) => name).sort());
});

test("the paths are those that this project's own keys lie at", () => {
  const keys = keysUnder(mgmt.NS);
  expect(keys.nominated.prefix).toBe(mgmt.NS + mgmt.NominatedPath);
  expect(keys.volunteer.prefix).toBe(mgmt.NS + mgmt.VolunteerPath);
  expect(keys.endpoints.prefix).toBe(mgmt.NS + mgmt.EndpointsPath);
  expect(keys.converged.start).toBe(mgmt.NS + mgmt.ConvergedPath);
  expect(keys.scheduler.start).toBe(mgmt.NS + mgmt.SchedulerPath);
  expect(keys.idealClusterSize).toBe(mgmt.NS + mgmt.ChooserPath + mgmt.IdealDynamicSizePath);
});
