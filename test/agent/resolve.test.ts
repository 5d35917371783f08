import { resolve as resolvePath } from "node:path";
import fc from "fast-check";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { dynamicSize, type Chooser } from "../../src/chooser/index.ts";
import type { AgentOptions } from "../../src/agent/options.ts";
import { defaultClusterPolicy } from "../../src/agent/control/policy.ts";
import { resolveOptions, surroundings, type Surroundings } from "../../src/agent/resolve.ts";
import { QuorateError } from "../../src/errors.ts";

const around: Surroundings = {
  isRoot: false,
  machineName: "box",
  stateFolder: "/home/ann/.local/state",
  addresses: ["127.0.0.1", "192.0.2.1"],
};
const resolve = (options: AgentOptions = {}, where = around): ReturnType<typeof resolveOptions> =>
  resolveOptions({ insecure: true, ...options }, where);

/** These exclude seeds, or each other. */
type WayToBegin =
  | "expect"
  | "initialCluster"
  | "initialClusterState"
  | "initialClusterToken"
  | "discovery"
  | "discoveryEndpoints"
  | "discoveryToken"
  | "discoverySrv"
  | "discoverySrvName";

/** They go with URLs that begin with https: see below. */
type ForTls =
  | "certFile"
  | "keyFile"
  | "trustedCaFile"
  | "clientCertAuth"
  | "peerCertFile"
  | "peerKeyFile"
  | "peerTrustedCaFile"
  | "peerClientCertAuth"
  | "autoTls"
  | "joinTokenFile"
  | "joinUrls"
  | "user"
  | "passwordFile"
  | "noNetwork";

/** What it is refused with. `junk` is what a program without a compiler may pass. */
function refusal(junk: unknown): QuorateError {
  try {
    resolveOptions(junk as AgentOptions, around);
  } catch (error) {
    if (error instanceof QuorateError) return error;
    throw error;
  }
  throw new Error(`Not refused: ${JSON.stringify(junk)}`);
}

test("with no options everything has its default", () => {
  const { keys, ...rest } = resolve();
  expect(keys.namespace).toBe("/_mgmt");
  expect(rest).toEqual({
    hostname: "box",
    seeds: [],
    boot: undefined,
    expect: undefined,
    clientUrls: ["http://127.0.0.1:2379"],
    serverUrls: ["http://127.0.0.1:2380"],
    advertiseClientUrls: ["http://127.0.0.1:2379"],
    advertiseServerUrls: ["http://127.0.0.1:2380"],
    prefix: "/home/ann/.local/state/quorate",
    server: true,
    idealClusterSize: 5,
    zone: "",
    priority: 0,
    sessionTtlMs: 10_000,
    policy: defaultClusterPolicy,
    tls: {},
    autoTls: false,
    joinTokenFile: undefined,
    joinUrls: [],
    login: undefined,
    noNetwork: false,
    given: { policy: {}, idealClusterSize: undefined },
    convergedTimeoutMs: 0,
    convergedExit: false,
    convergedStatusFile: undefined,
    maxRuntimeMs: 0,
    leaveOnTerminate: false,
    replica: false,
    worldGroup: undefined,
    adopt: false,
    newCluster: false,
    moved: false,
    etcdBin: undefined,
    autoCompactionRetention: "10m",
    quotaBackendBytes: 4 * 1024 ** 3,
    logger: undefined,
    chooser: dynamicSize,
    debug: false,
  });
});

test("every option that is given is the one that counts", () => {
  const logger = pino({ level: "silent" });
  const given = {
    hostname: "h-1.example_x",
    seeds: ["http://192.0.2.1:2379", "http://seed.example:2379"],
    clientUrls: ["http://0.0.0.0:1"],
    serverUrls: ["http://[::]:2"],
    advertiseClientUrls: ["http://192.0.2.7:1"],
    advertiseServerUrls: ["http://h7.example:2"],
    prefix: "/srv/quorate",
    tmpPrefix: false,
    server: true,
    idealClusterSize: 1_000,
    namespace: "/a/b",
    zone: "rack 1",
    priority: -1_000,
    sessionTtlMs: 2_000,
    maxSeats: 15,
    standbys: 1,
    strictReconfigCheck: true,
    evenVoters: true,
    stabilizationMs: 1,
    nomineeTimeoutMs: 1_000,
    stallTimeoutMs: 86_400_000,
    restartGraceMs: 2_000,
    chooser: { name: "mine", choose: () => ["h7"] } as Chooser,
    convergedTimeoutMs: 5_000,
    convergedExit: true,
    convergedStatusFile: "/run/converged",
    maxRuntimeMs: 60_000,
    leaveOnTerminate: true,
    replica: true,
    worldGroup: "adm",
    adopt: true,
    newCluster: false,
    moved: false,
    insecure: true,
    etcdBin: "/usr/bin/etcd",
    autoCompactionRetention: "1h",
    quotaBackendBytes: 16 * 1024 ** 2,
    logger,
    debug: true,
  } satisfies Required<Omit<AgentOptions, WayToBegin | ForTls>>;
  const { keys, ...rest } = resolve(given);
  const { namespace, tmpPrefix: _, insecure: __, ...same } = given;
  const { maxSeats, standbys, strictReconfigCheck, evenVoters, stabilizationMs, nomineeTimeoutMs, ...others } = same;
  const { stallTimeoutMs, restartGraceMs, ...own } = others;
  const times = { stabilizationMs, nomineeTimeoutMs, stallTimeoutMs, restartGraceMs };
  const policy = { maxSeats, standbys, strictReconfigCheck, evenVoters, ...times };
  expect(keys.namespace).toBe(namespace);
  expect(rest).toEqual({
    ...own,
    tls: {},
    autoTls: false,
    joinUrls: [],
    noNetwork: false,
    policy: { ...policy, chooser: "mine" },
    chooser: { name: "mine", choose: expect.any(Function) as Chooser["choose"] },
    given: { policy, idealClusterSize: 1_000 },
  });
});

test("the built-in chooser may be given as well as left out, and the policy of a founder names its chooser", () => {
  expect(resolve().chooser).toBe(dynamicSize);
  expect(resolve({ chooser: dynamicSize })).toMatchObject({ chooser: dynamicSize, policy: { chooser: "dynamicsize" } });
  expect(resolve({ chooser: { name: "mine", choose: () => [] } }).policy.chooser).toBe("mine");
});

test("root keeps its things in /var/lib, a temporary prefix is chosen later, and nothing can be changed afterwards", () => {
  expect(resolve({}, { ...around, isRoot: true }).prefix).toBe("/var/lib/quorate");
  expect(resolve({ tmpPrefix: true }).prefix).toBeUndefined();
  expect(Object.isFrozen(resolve())).toBe(true);
});

test("an option that is given as undefined is one that is not given", () => {
  const nothing = Object.fromEntries(Object.keys(resolve()).map((option) => [option, undefined]));
  expect(JSON.stringify(resolve(nothing))).toBe(JSON.stringify(resolve()));
});

test("the state folder is XDG's where that is absolute", () => {
  expect(surroundings("/x/state").stateFolder).toBe("/x/state");
  expect(surroundings("x/state").stateFolder).toMatch(/\/\.local\/state$/);
  expect(surroundings().stateFolder).toMatch(/\/\.local\/state$/);
});

test("a URL may carry spaces around it and a slash at its end", () => {
  expect(resolve({ seeds: [" http://h1:2379/ "] }).seeds).toEqual(["http://h1:2379"]);
});

test("without a server only the seeds count: it may listen where it likes, as it does not listen", () => {
  const options = { server: false, seeds: ["http://h1:1"], clientUrls: ["http://0.0.0.0:2379"] } as const;
  expect(resolve(options)).toMatchObject({ server: false, clientUrls: ["http://0.0.0.0:2379"] });
});

describe("refused, by the name of the option", () => {
  const nine = Array.from({ length: 9 }, (_, i) => `http://h${i}:1`);
  const rows: readonly (readonly [keyof AgentOptions, AgentOptions, RegExp])[] = [
    ["hostname", { hostname: "" }, /1 to 253 characters/],
    ["hostname", { hostname: "a/b" }, /"a\/b" must be/],
    ["hostname", { hostname: ".." }, /must be/],
    ["hostname", { hostname: "x".repeat(254) }, /must be/],
    ["hostname", { hostname: "h1\n" }, /must be/],
    ["server", { server: false }, /needs seeds/],
    ["seeds", { seeds: ["h1:2379"] }, /not of the form/],
    ["seeds", { seeds: ["http://me:secret@h1:2379"] }, /not of the form/],
    ["seeds", { seeds: ["http://h1:2379/path"] }, /not of the form/],
    ["seeds", { seeds: ["http://h1"] }, /not of the form/],
    ["seeds", { seeds: [""] }, /not of the form/],
    ["seeds", { seeds: nine }, /9 URLs, at most 8/],
    ["seeds", { seeds: ["http://h1:1", "http://h1:1/"] }, /twice/],
    ["clientUrls", { clientUrls: [] }, /at least one/],
    ["serverUrls", { serverUrls: [] }, /at least one/],
    ["clientUrls", { clientUrls: ["http://h1:2379"] }, /no IP address/],
    ["serverUrls", { serverUrls: ["http://127.1:2380"] }, /not written plainly/],
    ["serverUrls", { serverUrls: ["http://127.0.0.1:2379"] }, /is a client URL too/],
    ["clientUrls", { clientUrls: ["http://0.0.0.0:2379"] }, /listens on every address/],
    ["clientUrls", { clientUrls: ["http://[::]:2379"] }, /listens on every address/],
    ["serverUrls", { serverUrls: ["http://[0:0:0:0:0:0:0:0]:2380"] }, /listens on every address/],
    ["advertiseClientUrls", { advertiseClientUrls: ["http://0.0.0.0:2379"] }, /nobody can connect to/],
    ["advertiseServerUrls", { advertiseServerUrls: ["http://[::]:2380"] }, /nobody can connect to/],
    ["advertiseServerUrls", { advertiseServerUrls: ["ftp://h1:1"] }, /not of the form/],
    ["prefix", { prefix: "quorate" }, /relative path/],
    ["prefix", { prefix: "" }, /relative path/],
    ["tmpPrefix", { prefix: "/a", tmpPrefix: true }, /a prefix is given as well/],
    ["maxSeats", { maxSeats: 0 }, /0 is not a whole number from 1 to 15/],
    ["maxSeats", { maxSeats: 16 }, /16 is not a whole number from 1 to 15/],
    ["standbys", { standbys: 2 as 1 }, /2 is not a whole number from 0 to 1/],
    ["stabilizationMs", { stabilizationMs: 0.5 }, /0.5 is not a whole number from 0 to 86400000 milliseconds/],
    ["restartGraceMs", { restartGraceMs: 1_999 }, /1999 is not a whole number from 2000 to 86400000 milliseconds/],
    ["convergedTimeoutMs", { convergedTimeoutMs: -1 }, /from 0 to 2147483647 milliseconds/],
    ["convergedExit", { convergedExit: true }, /how long .* is not said/],
    ["convergedStatusFile", { convergedStatusFile: "" }, /the name of a file/],
    ["maxRuntimeMs", { maxRuntimeMs: 2 ** 31 }, /from 0 to 2147483647 milliseconds/],
    ["worldGroup", { worldGroup: "adm" }, /no replica to share/],
    ["worldGroup", { worldGroup: "", replica: true }, /the name or the number of a group/],
    ["adopt", { adopt: true }, /no cluster to adopt/],
    ["newCluster", { newCluster: true, seeds: ["http://h1:1"] }, /does not found/],
    ["server", { newCluster: true, server: false, seeds: [] }, /needs seeds/],
    ["idealClusterSize", { idealClusterSize: 0 }, /from 1 to 1000: current value is 0/],
    ["idealClusterSize", { idealClusterSize: 1_001 }, /from 1 to 1000/],
    ["idealClusterSize", { idealClusterSize: 2.5 }, /whole number/],
    ["idealClusterSize", { idealClusterSize: Number.NaN }, /whole number/],
    ["namespace", { namespace: "_mgmt" }, /must be like \/_mgmt/],
    ["namespace", { namespace: "/" }, /must be like/],
    ["namespace", { namespace: "/a//b" }, /must be like/],
    ["namespace", { namespace: "/ä" }, /must be like/],
    ["namespace", { namespace: `/${"x".repeat(200)}` }, /must be like/],
    ["zone", { zone: "a\u001b[2J" }, /printable/],
    ["zone", { zone: "x".repeat(254) }, /253/],
    ["priority", { priority: 1_001 }, /from -1000 to 1000/],
    ["sessionTtlMs", { sessionTtlMs: 1_999 }, /from 2000 to 600000 milliseconds/],
    ["sessionTtlMs", { sessionTtlMs: Number.POSITIVE_INFINITY }, /from 2000/],
    ["autoCompactionRetention", { autoCompactionRetention: "10" }, /duration like 10m/],
    ["autoCompactionRetention", { autoCompactionRetention: "0m" }, /duration like 10m/],
    ["quotaBackendBytes", { quotaBackendBytes: 1 }, /bytes/],
  ];
  test.each(rows)("%s: %j", (option, given, message) => {
    const error = refusal(given);
    expect(error.code).toBe("INVALID_OPTION");
    expect(error.exitCode).toBe(2);
    expect(error.data).toMatchObject({ option });
    expect(error.message).toMatch(/^Cannot use /);
    expect(error.message).toMatch(message);
    // What to do is either the hint, or what the message says it must be.
    expect(`${error.hint ?? ""} ${error.message}`).toMatch(/must be|at most|give|add|drop|choose|leave it out|use http/);
  });

  test.each([
    ["hostname", 5, "a string"],
    ["seeds", "http://h1:1", "a list of strings"],
    ["seeds", [1], "a list of strings"],
    ["server", "no", "true or false"],
    ["priority", "7", "a number"],
    ["namespace", ["/a"], "a string"],
    ["prefix", null, "a string"],
    ["logger", {}, "a pino logger"],
    ["etcdBin", true, "a string"],
  ])("%s: %j, which is not %s", (option, value, kind) => {
    const error = refusal({ [option]: value });
    expect(error).toMatchObject({ code: "INVALID_OPTION", data: { option } });
    expect(error.message).toBe(`Cannot use option ${option}: it must be ${kind}`);
  });

  test.each([
    [{ name: "mine" }, /it must be an object with a name and a function `choose`/],
    [() => ["h1"], /it must be an object with a name and a function `choose`/],
    [{ name: "a b", choose: () => [] }, /its name "a b" must be 1 to 100 characters/],
    [{ name: "", choose: () => [] }, /its name "" must be 1 to 100 characters/],
    [{ name: "dynamicsize", choose: () => [] }, /dynamicsize is the name of the built-in chooser/],
  ])("the chooser %j", (chooser, why) => {
    const error = refusal({ chooser });
    expect(error).toMatchObject({ code: "INVALID_OPTION", data: { option: "chooser" } });
    expect(error.message).toMatch(why);
  });

  test("a misspelt option is named: passed over, `seed` would found a second cluster", () => {
    const error = refusal({ seed: ["http://h1:1"] });
    expect(error).toMatchObject({ code: "INVALID_OPTION", data: { option: "seed" } });
    expect(error.hint).toContain("seeds, ");
  });

  test.each([undefined, null, 3, "hostname"])("options that are %j", (junk) => {
    expect(refusal(junk).code).toBe("INVALID_OPTION");
  });
});

test("whatever comes in, it either resolves or is refused as INVALID_OPTION", () => {
  const names = Object.keys({
    ...resolve(),
    namespace: 1,
    tmpPrefix: 1,
    insecure: 1,
  } satisfies Record<string, unknown>).filter((name) => !["keys", "tls", "login", "boot"].includes(name));
  const url = fc.oneof(
    fc.webUrl(),
    fc.constantFrom("http://127.0.0.1:1", "http://[::1]:2", "http://[::]:3", "http://h:0", "http://u:p@h:1", "//", ""),
  );
  const value = fc.oneof(
    fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true }),
    fc.string(),
    fc.boolean(),
    fc.integer({ min: -10, max: 10_000 }),
    fc.array(url, { maxLength: 10 }),
  );
  const junk = fc.dictionary(fc.oneof({ weight: 20, arbitrary: fc.constantFrom(...names) }, fc.string()), value, { maxKeys: 6 });
  let resolved = 0;
  fc.assert(
    fc.property(fc.oneof({ weight: 20, arbitrary: junk }, fc.anything()), (given) => {
      try {
        resolveOptions(given as AgentOptions, around);
        resolved++;
      } catch (error) {
        expect(error).toBeInstanceOf(QuorateError);
        expect(error).toMatchObject({ code: "INVALID_OPTION" });
      }
    }),
    { numRuns: 3_000 },
  );
  expect(resolved).toBeGreaterThan(0);
});

describe("encrypted or not", () => {
  const pair = { certFile: "/c/cert.pem", keyFile: "/c/key.pem" };
  const peerPair = { peerCertFile: "/c/peer.pem", peerKeyFile: "/c/peer-key.pem" };

  test("with a certificate the usual URLs begin with https, each side by itself", () => {
    expect(resolveOptions(pair, around)).toMatchObject({
      clientUrls: ["https://127.0.0.1:2379"],
      serverUrls: ["http://127.0.0.1:2380"],
      tls: { clients: { ...pair, clientCertAuth: false }, peers: undefined },
    });
    const both = { ...pair, ...peerPair, trustedCaFile: "ca.pem", clientCertAuth: true, peerTrustedCaFile: "/c/ca.pem" };
    expect(resolveOptions(both, around)).toMatchObject({
      serverUrls: ["https://127.0.0.1:2380"],
      tls: {
        clients: { ...pair, trustedCaFile: resolvePath("ca.pem"), clientCertAuth: true },
        peers: { certFile: "/c/peer.pem", keyFile: "/c/peer-key.pem", trustedCaFile: "/c/ca.pem", clientCertAuth: false },
      },
    });
  });

  test("an agent without a server may have a certificate to show, or only somebody to trust", () => {
    const far = { server: false, seeds: ["https://h1:2379"] };
    expect(resolveOptions({ ...far, ...pair }, around).tls.clients).toEqual({ ...pair, clientCertAuth: false });
    expect(resolveOptions({ ...far, trustedCaFile: "/c/ca.pem" }, around).tls.clients).toMatchObject({
      trustedCaFile: "/c/ca.pem",
    });
    expect(resolveOptions(far, around).tls.clients).toBeUndefined();
  });

  test("a login is a name and the path of a file, and an agent without a network has names that nobody reaches", () => {
    expect(resolveOptions({ user: "me", passwordFile: "/p" }, around).login).toEqual({ user: "me", password: { file: "/p" } });
    const alone = {
      clientUrls: ["http://no-network.invalid:2379"],
      serverUrls: ["http://no-network.invalid:2380"],
      noNetwork: true,
    };
    expect(resolveOptions({ noNetwork: true, seeds: [] }, around)).toMatchObject(alone);
  });

  test("certificates that are made are under the prefix, asked for on both sides, and given at the port after the server's", () => {
    const made = resolveOptions({ autoTls: true, prefix: "/p", joinTokenFile: "token" }, around);
    expect(made).toMatchObject({
      clientUrls: ["https://127.0.0.1:2379"],
      serverUrls: ["https://127.0.0.1:2380"],
      joinUrls: ["https://127.0.0.1:2381"],
      joinTokenFile: resolvePath("token"),
      tls: {
        clients: { certFile: "/p/tls/clients.pem", clientCertAuth: true },
        peers: { keyFile: "/p/tls/peers-key.pem", clientCertAuth: true },
      },
    });
    const everywhere = { serverUrls: ["https://0.0.0.0:1"], advertiseServerUrls: ["https://h1:1"] };
    expect(resolveOptions({ autoTls: true, ...everywhere }, around).joinUrls).toEqual(["https://h1:2"]);
    expect(resolveOptions({ autoTls: true, server: false, seeds: ["https://h1:1"] }, around).joinUrls).toEqual([]);
  });

  test("plain http is for this machine alone, unless it is said that it need not be", () => {
    const near = ["http://127.0.0.1:1", "http://127.8.0.1:1", "http://localhost:1", "http://[::1]:1"];
    for (const seed of near) expect(resolveOptions({ seeds: [seed] }, around).seeds).toEqual([seed]);
    const far = { seeds: ["http://h1:1"], clientUrls: ["http://192.0.2.1:2379"], serverUrls: ["http://192.0.2.1:2380"] };
    expect(resolveOptions({ ...far, insecure: true }, around)).toMatchObject(far);
  });

  test.each<[string, AgentOptions, RegExp]>([
    ["seeds", { seeds: ["http://h1:1"] }, /"http:\/\/h1:1" .* could be read and changed on the way/],
    ["seeds", { seeds: ["http://127.0.0.1.example:1"], server: false }, /could be read/],
    ["clientUrls", { clientUrls: ["http://192.0.2.1:2379"] }, /could be read/],
    ["serverUrls", { serverUrls: ["http://[::]:2380"], advertiseServerUrls: ["http://[::1]:2380"] }, /could be read/],
    ["advertiseClientUrls", { advertiseClientUrls: ["http://h7:2379"] }, /could be read/],
    ["clientUrls", { clientUrls: ["https://127.0.0.1:2379"] }, /needs a certificate to show/],
    ["advertiseServerUrls", { advertiseServerUrls: ["https://h7:2380"] }, /needs a certificate to show/],
    ["clientUrls", { ...pair, clientUrls: ["http://127.0.0.1:2379"] }, /would not show the certificate of certFile/],
    ["advertiseServerUrls", { ...peerPair, advertiseServerUrls: ["http://127.0.0.1:2380"] }, /would not show the certificate/],
    ["certFile", { certFile: "/c/cert.pem" }, /keyFile is missing beside it/],
    ["peerKeyFile", { peerKeyFile: "/c/key.pem" }, /peerCertFile is missing beside it/],
    ["clientCertAuth", { ...pair, clientCertAuth: true }, /whose certificates count is not said/],
    ["peerTrustedCaFile", { peerTrustedCaFile: "" }, /the path of a file/],
    ["user", { user: "me" }, /no file with the password is given/],
    ["user", { user: "me:secret", passwordFile: "/p" }, /the name of a user alone, without a colon$/],
    ["passwordFile", { passwordFile: "/p" }, /whose password it is is not said/],
    ["noNetwork", { noNetwork: true, seeds: ["http://127.0.0.1:1"] }, /seeds is given as well, and there is no network/],
    ["noNetwork", { noNetwork: true, serverUrls: ["http://127.0.0.1:1"] }, /serverUrls is given as well/],
    ["noNetwork", { noNetwork: true, ...pair }, /certFile is given as well/],
    ["autoTls", { autoTls: true, ...pair }, /certFile is given as well/],
    ["autoTls", { autoTls: true, expect: 1, seeds: ["https://127.0.0.1:2379"] }, /expect is given as well/],
    ["autoTls", { autoTls: true, tmpPrefix: true }, /would be gone with the temporary prefix/],
    ["joinTokenFile", { joinTokenFile: "/t" }, /no certificates are made/],
    ["joinUrls", { autoTls: true, joinUrls: ["http://127.0.0.1:1"] }, /would not be encrypted/],
    ["clientUrls", { autoTls: true, clientUrls: ["http://127.0.0.1:1"] }, /would not show the certificate/],
    ["prefix", { noNetwork: true, prefix: `/${"x".repeat(98)}` }, /its path has 99 bytes, .* at most 98 are allowed/],
  ])("refused: %s of %j", (option, given, message) => {
    const error = refusal(given);
    expect(error).toMatchObject({ code: "INVALID_OPTION", data: { option } });
    expect(error.message).toMatch(message);
  });
});

describe("expect", () => {
  const seeds = ["http://192.0.2.1:2379", "http://192.0.2.2:2379", "http://192.0.2.3:2379"];

  test("the seed that is an address of this machine is its client URL, and the port after it its server's", () => {
    expect(resolve({ expect: 2, seeds })).toMatchObject({
      expect: 2,
      clientUrls: ["http://192.0.2.1:2379"],
      serverUrls: ["http://192.0.2.1:2380"],
      advertiseClientUrls: ["http://192.0.2.1:2379"],
      advertiseServerUrls: ["http://192.0.2.1:2380"],
    });
  });

  test("so is the one with its name, which it is told by; it listens everywhere then", () => {
    const names = ["http://other.example:4000", "http://box.example:4000"];
    expect(resolve({ expect: 2, seeds: names })).toMatchObject({
      clientUrls: ["http://0.0.0.0:4000"],
      serverUrls: ["http://0.0.0.0:4001"],
      advertiseClientUrls: ["http://box.example:4000"],
      advertiseServerUrls: ["http://box.example:4001"],
    });
  });

  test("what is said outweighs what is seen", () => {
    const urls = { clientUrls: ["http://0.0.0.0:2379"], advertiseClientUrls: ["http://192.0.2.3:2379"] };
    const servers = { serverUrls: ["http://0.0.0.0:2380"], advertiseServerUrls: ["http://192.0.2.3:2380"] };
    expect(resolve({ expect: 2, seeds, ...urls, ...servers })).toMatchObject({ ...urls, ...servers });
  });

  test.each<[string, AgentOptions]>([
    ["expect: it must be a whole number from 1 to 3: current value is 4", { expect: 4, seeds }],
    ["expect: 1 is not more than half of the 3 seeds", { expect: 1, seeds }],
    ["expect: none of the seeds is an address or the name of this machine", { expect: 1, seeds: ["http://192.0.2.9:2379"] }],
    ["http://192.0.2.1:1 are both this machine", { expect: 2, seeds: ["http://127.0.0.1:2379", "http://192.0.2.1:1"] }],
    ["expect: none of the seeds is a client URL of this host", { expect: 2, seeds, clientUrls: ["http://192.0.2.9:2379"] }],
    ["expect: adopt says how to begin as well", { expect: 2, seeds, adopt: true }],
    ["expect: this agent never runs a server", { expect: 2, seeds, server: false }],
  ])("%s", (message, options) => {
    expect(refusal(options).message).toContain(message);
  });
});

describe("initialCluster", () => {
  const serverUrls = ["http://192.0.2.1:2380"];
  const initialCluster = "box=http://192.0.2.1:2380,other=http://192.0.2.2:2380";

  test("names the members that this host founds a cluster with", () => {
    expect(resolve({ serverUrls, initialCluster }).boot).toEqual({
      flag: "--initial-cluster",
      kind: "static",
      members: [
        { name: "box", peerUrls: ["http://192.0.2.1:2380"] },
        { name: "other", peerUrls: ["http://192.0.2.2:2380"] },
      ],
      token: "quorate",
      state: "new",
    });
  });

  test.each<[string, AgentOptions]>([
    ["it does not name this host, box", { serverUrls, initialCluster: "other=http://192.0.2.2:2380" }],
    ["it has http://192.0.2.1:2380 for box, which advertises http://127.0.0.1:2380", { initialCluster }],
    ["it names nobody", { serverUrls, initialCluster: " , " }],
    ["it is not written as name=url", { serverUrls, initialCluster: "http://192.0.2.1:2380" }],
    ["an agent with seeds joins a cluster", { serverUrls, initialCluster, seeds: ["http://192.0.2.2:2379"] }],
    ["it belongs to initialCluster and discoverySrv", { initialClusterState: "existing" }],
    ["it belongs to initialCluster and discoverySrv", { initialClusterToken: "t" }],
  ])("is refused: %s", (message, options) => {
    const error = refusal(options);
    expect(error.message).toContain(message);
    expect(error.code).toBe("INVALID_OPTION");
  });
});
