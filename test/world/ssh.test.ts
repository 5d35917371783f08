import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { createServer, type AddressInfo } from "node:net";
import ssh2 from "ssh2";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { EtcdClient, wiresBy } from "../../src/etcd/index.ts";
import { sshRoute } from "../../src/ssh/index.ts";
import type { SshOptions } from "../../src/ssh/index.ts";
import { Tunnels } from "../../src/ssh/tunnels.ts";
import { openWorld } from "../../src/world/index.ts";
import type { WorldOptions } from "../../src/world/index.ts";
import { freePorts } from "../support/ports.ts";
import { newKey, startSshd, startSsh2, type TestSshd } from "../support/sshd.ts";
import { FaultyProxy } from "../support/proxy.ts";
import { startEtcd } from "../support/etcd-process.ts";
import {
  clock,
  etcdOfWorlds,
  eventually,
  feedersOf,
  freshNamespace,
  keysOf,
  putRaw,
  temporaryFolder,
  watchedValue,
  ways,
  worldOf,
} from "./fixture.ts";
import { untilGone } from "../support/etcd-server.ts";
import type { WorldEtcd } from "./fixture.ts";
import { failure } from "./suites.ts";

let etcd: WorldEtcd;
let outer: TestSshd;
let inner: TestSshd;
/** Etcd is seen from the inner host, which is seen from the outer one. */
let twoHops: SshOptions;
const stops: (() => PromiseLike<void>)[] = [];
beforeAll(async () => {
  etcd = await etcdOfWorlds();
  stops.push(() => etcd[Symbol.asyncDispose]());
  outer = await startSshd();
  stops.push(() => outer[Symbol.asyncDispose]());
  inner = await startSshd();
  stops.push(() => inner[Symbol.asyncDispose]());
  twoHops = { ...inner.login, jump: outer.login };
});
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

async function use<T extends AsyncDisposable>(opening: Promise<T>): Promise<T> {
  const opened = await opening;
  onTestFinished(() => opened[Symbol.asyncDispose]());
  return opened;
}

/** What a World without a replica says to its first call through that way. */
async function refusal(ssh: SshOptions, more: Partial<WorldOptions> = {}, timeoutMs = 1_500) {
  const world = await use(openWorld({ seeds: [etcd.proxy.url], ssh, replica: false, ...more }));
  return await failure(world.str.get("motd", { timeoutMs }));
}

const messagesOf = (error: unknown): string => (error instanceof Error ? `${error.message}\n${messagesOf(error.cause)}` : "");

describe.each(ways)("through two hosts, $way", ({ replica }) => {
  test("strings, maps, batches and watches do what they do directly", async () => {
    const world = await worldOf(etcd, { ssh: twoHops, replica });
    const watched = watchedValue(world.str.watch("motd"));
    await watched.begun();
    const { revision } = await world.str.set("motd", "hello");
    expect(await world.str.get("motd", { read: "linearizable" })).toMatchObject({ value: "hello" });
    await eventually("the watch tells it", () => watched.now.get("") === "hello");
    const both = await world.batch(
      (b) => {
        b.str.set("motd", "again");
        b.strmap.set("ready", "yes", { lease: "session" });
      },
      { atomic: true },
    );
    expect(both.results.every((one) => one.revision === revision + 1)).toBe(true);
    expect([...(await world.strmap.get("ready")).value]).toEqual([["h1", "yes"]]);
    await eventually("the watch tells that too", () => watched.now.get("") === "again");
    expect(watched.wrong).toEqual([]);
    // What is large passes too: more than a window of ssh's.
    const large = "x".repeat(1_000_000);
    await Promise.all([1, 2, 3].map((n) => world.str.set(`large${n}`, large, { timeoutMs: 30_000 })));
    expect((await world.str.get("large3", { read: "direct", timeoutMs: 30_000 })).value).toBe(large);
    expect(outer.sessions).toBeGreaterThan(0);
    expect(inner.sessions).toBe(outer.sessions);
  });

  test("files of several chunks are written in one host's tree and read in another's", async () => {
    const world = await worldOf(etcd, { ssh: twoHops, replica });
    const other = await worldOf(etcd, { ssh: outer.login, replica: false, namespace: world.namespace, hostname: "h2" });
    const bytes = Buffer.from(Uint8Array.from({ length: 600_000 }, (_, i) => (i * i) % 251));
    const tree = "etcdfs:///fs/ssh";
    await world.fs(tree).mkdir("/conf");
    await world.fs(tree).writeFile("/conf/large", bytes);
    expect(Buffer.compare(await other.fs(tree).readFile("/conf/large"), bytes)).toBe(0);
    expect(await other.fs(tree).readdir("/conf")).toEqual(["large"]);
  });

  test("killing the tunnel in mid-watch loses no event, tells none twice, and none that is none", async () => {
    const world = await worldOf(etcd, { ssh: twoHops, replica });
    const watched = watchedValue(world.str.watch("n"));
    await watched.begun();
    const key = keysOf(world).strings.str("n");
    let n = 0;
    for (const host of [outer, inner, outer, inner]) {
      for (const last = n + 10; n < last;) await putRaw(etcd, key, String(++n));
      expect(host.sessions).toBeGreaterThan(0);
      host.kill();
      for (const last = n + 20; n < last;) await putRaw(etcd, key, String(++n));
      await eventually("the watch is as far", () => watched.now.get("") === String(n), 30_000);
    }
    expect(watched.states.filter(({ live }) => !live).length, "the tunnel was there to be killed").toBeGreaterThanOrEqual(4);
    const told = watched.data.flatMap((event) => (event.kind === "snapshot" ? [] : [event.value]));
    expect(told).toEqual(Array.from({ length: n }, (_, i) => String(i + 1)));
    expect(watched.wrong).toEqual([]);
  });
});

test("a World on the connections of one that is reached through ssh takes its tunnel, and leaves it as it is", async () => {
  await eventually("nobody is logged in", () => inner.sessions === 0);
  const far = await worldOf(etcd, { ssh: twoHops, replica: false });
  await far.str.set("motd", "hello");
  const before = inner.sessions;
  const world = await openWorld({ client: far, namespace: freshNamespace() });
  await world.str.set("motd", "hello, you");
  expect(inner.sessions).toBe(before);
  await world.close();
  expect((await far.str.get("motd")).value).toBe("hello");
  expect(inner.sessions).toBe(before);
});

describe("tunnels", () => {
  test("each endpoint has its own: when one fails, the next is there, and its coming ends no other's", async () => {
    const second = await use(FaultyProxy.start(etcd.url));
    const tunnels = new Tunnels(sshRoute(outer.login), clock);
    onTestFinished(() => {
      tunnels.close();
    });
    const client = await use(
      Promise.resolve(
        EtcdClient.create({
          endpoints: [etcd.proxy.url, second.url],
          clock,
          wires: wiresBy((url, signal) => tunnels.dial(url, signal)),
        }),
      ),
    );
    await eventually("nobody is logged in", () => outer.sessions === 0);
    await Promise.all([client.status(etcd.proxy.url), client.status(second.url)]);
    expect(outer.sessions).toBe(2);
    await client.put("/ssh/a", "1");
    onTestFinished(() => {
      etcd.back();
    });
    etcd.gone();
    await client.put("/ssh/a", "2", { timeoutMs: 5_000 }).catch(() => client.put("/ssh/a", "2"));
    expect((await client.get("/ssh/a")).entry?.value.toString()).toBe("2");
    etcd.back();
    expect(await client.metrics(second.url)).toContain("etcd_server_has_leader");
  });

  test("to what is not there need one login, however often it is asked for, and end with their client", async () => {
    const counted = await use(FaultyProxy.start(`http://127.0.0.1:${outer.port}`));
    const tunnels = new Tunnels(
      sshRoute({ ...outer.login, port: Number(new URL(counted.url).port), hostKey: outer.hostKey.fingerprint }),
      clock,
    );
    const [port] = (await freePorts(1)) as [number];
    for (let n = 0; n < 5; n++) {
      const dialled = tunnels.dial(`http://127.0.0.1:${port}`, new AbortController().signal);
      await expect(dialled).rejects.toMatchObject({ code: "UNREACHABLE", data: { endpoint: `http://127.0.0.1:${port}` } });
    }
    expect(counted.accepted).toBe(1);
    const wires = wiresBy((url, signal) => tunnels.dial(url, signal), {
      close: () => {
        tunnels.close();
      },
    });
    await EtcdClient.create({ endpoints: [etcd.url], clock, wires }).close();
    await eventually("nobody is logged in by it", () => counted.open === 0);
  });

  test("carry what only the far side knows, and endpoints that are learned there, for the feeder as well", async () => {
    const [port] = (await freePorts(1)) as [number];
    const far = await startEtcd(1, { flags: ["--advertise-client-urls", "http://etcd1.far:2379"] });
    onTestFinished(() => far.stop());
    const served = new URL(far.urls[0]!).host;
    const gate = await use(startSsh2({ hosts: { [`seed.far:${port}`]: served, "etcd1.far:2379": served } }));
    const folder = join(await temporaryFolder(), "world");
    const world = await worldOf(etcd, { seeds: [`http://seed.far:${port}`], ssh: gate.login, folder });
    await world.str.set("motd", "far");
    await eventually("the learned endpoint", () => world.status.endpoints.includes("http://etcd1.far:2379"), 20_000);
    gate.kill();
    await eventually("it goes on", async () => (await world.str.get("motd", { read: "linearizable" })).value === "far", 20_000);
    const { members } = await world.members.get();
    expect(members[0]).toMatchObject({ clientUrls: ["http://etcd1.far:2379"], healthy: true });
  });

  test("outlive whoever opened them first: a feeder that others use has its own", async () => {
    const folder = join(await temporaryFolder(), "world");
    const namespace = freshNamespace();
    const first = await worldOf(etcd, { ssh: outer.login, folder, namespace });
    const second = await worldOf(etcd, { ssh: outer.login, folder, namespace });
    await first.close();
    await putRaw(etcd, keysOf(second).strings.str("motd"), "new");
    await eventually("the second is told", async () => (await second.str.get("motd", { read: "local" })).value === "new");
    expect(second.status.state).toBe("live");
  });

  test("a certificate has to be of the far host, whatever leads there", async () => {
    const named: string[] = [];
    const tls = createTlsServer({
      SNICallback: (name, done) => {
        named.push(name);
        done(new Error("no certificate"));
      },
    });
    tls.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => tls.listen(0, "127.0.0.1", () => resolve()));
    onTestFinished(() => void tls.close());
    const served = `127.0.0.1:${(tls.address() as AddressInfo).port}`;
    const gate = await use(startSsh2({ hosts: { "etcd1.far:2379": served } }));
    await refusal(gate.login, { seeds: ["https://etcd1.far:2379"] });
    expect(new Set(named)).toEqual(new Set(["etcd1.far"]));
  });

  test("another cluster behind a known address is found out, and named as the far side names it", async () => {
    const tunnels = new Tunnels(sshRoute(outer.login), clock);
    const wires = wiresBy((url: string, signal: AbortSignal) => tunnels.dial(url, signal));
    const client = await use(Promise.resolve(EtcdClient.create({ endpoints: [etcd.url], clock, clusterId: "abc", wires })));
    await expect(client.get("/a")).rejects.toMatchObject({ code: "WRONG_CLUSTER", data: { endpoint: etcd.url } });
  });
});

describe("a host key", () => {
  test("that is another than the known one is refused with both fingerprints, on the first host and behind it", async () => {
    const known = newKey();
    const wrong = { ...outer.login, hostKey: known.public };
    for (const ssh of [
      wrong,
      { ...inner.login, jump: wrong },
      { ...inner.login, hostKey: known.fingerprint, jump: outer.login },
    ]) {
      const error = await refusal(ssh);
      expect(error).toMatchObject({ code: "WRONG_HOST_KEY", outcome: "none", retryable: false });
      const shown = ssh.hostKey?.startsWith("SHA256") === true ? inner.hostKey.fingerprint : outer.hostKey.fingerprint;
      expect(error.message).toContain(known.fingerprint);
      expect(error.message).toContain(shown);
    }
  });

  test("that nobody knows is refused with its fingerprint, and no name of it is written down", async () => {
    const knownHosts = join(await temporaryFolder(), "known_hosts");
    writeFileSync(knownHosts, "");
    const error = await refusal({ ...outer.login, knownHosts });
    expect(error).toMatchObject({ code: "WRONG_HOST_KEY", data: { shown: outer.hostKey.fingerprint, known: [] } });
    expect(error.message).toContain(`${outer.hostKey.fingerprint} (ssh-ed25519), and none is known for it in ${knownHosts}`);
    expect(error.hint).toContain("ssh-keygen -lf");
  });

  test("that is pinned needs no file", async () => {
    const world = await use(
      openWorld({
        seeds: [etcd.proxy.url],
        ssh: { ...outer.login, hostKey: outer.hostKey.fingerprint, knownHosts: "/nowhere" },
        replica: false,
      }),
    );
    await world.str.set("pinned", "yes");
  });

  test("that changes while a World is open makes it stale, and no watch fails; once it is right again all goes on", async () => {
    const knownHosts = join(await temporaryFolder(), "known_hosts");
    const line = `[127.0.0.1]:${outer.port} ${outer.hostKey.public}\n`;
    writeFileSync(knownHosts, line);
    const world = await worldOf(etcd, { ssh: { ...outer.login, knownHosts } });
    const watched = watchedValue(world.str.watch("motd"));
    await watched.begun();
    writeFileSync(knownHosts, `[127.0.0.1]:${outer.port} ${newKey().public}\n`);
    outer.kill();
    await eventually("the World says why", () => world.status.lost?.includes(outer.hostKey.fingerprint), 20_000);
    expect((await world.str.get("motd")).value).toBeUndefined();
    writeFileSync(knownHosts, line);
    await putRaw(etcd, keysOf(world).strings.str("motd"), "back");
    await eventually("the watch goes on", () => watched.now.get("") === "back", 30_000);
    expect(watched.failure).toBeUndefined();
  });
});

describe("what is refused is said with a code, and who refuses", () => {
  test("a key that the host does not accept", async () => {
    const folder = await temporaryFolder();
    const other = newKey();
    writeFileSync(join(folder, "id"), other.private, { mode: 0o600 });
    const error = await refusal({ ...outer.login, identity: join(folder, "id") });
    expect(error).toMatchObject({ code: "DENIED", outcome: "none" });
    expect(error.message).toContain(`it accepts none of ${join(folder, "id")} (${other.fingerprint})`);
  });

  test("a key with a passphrase, and none at all, before anybody is asked", async () => {
    const folder = await temporaryFolder();
    const locked = ssh2.utils.generateKeyPairSync("ed25519", { passphrase: "secret", cipher: "aes256-ctr" } as never);
    writeFileSync(join(folder, "id"), locked.private, { mode: 0o600 });
    const open = (identity: string) => openWorld({ seeds: [etcd.proxy.url], ssh: { ...outer.login, identity }, replica: false });
    const withPassphrase = await failure(open(join(folder, "id")));
    expect(withPassphrase).toMatchObject({ code: "INVALID_OPTION", data: { option: "ssh" } });
    expect(withPassphrase.message).toContain("has a passphrase");
    expect((await failure(open("/nowhere"))).message).toContain("/nowhere cannot be read: ENOENT");
  });

  test("an agent has the key, so that no file need be read; one that is not there is named", async () => {
    const key = ssh2.utils.parseKey(readFileSync(outer.login.identity));
    if (key instanceof Error) throw key;
    const path = join(await temporaryFolder(), "agent");
    const agent = createServer((socket) => {
      const protocol = new ssh2.AgentProtocol(false);
      protocol.on("identities", (request) => protocol.getIdentitiesReply(request, [key]));
      protocol.on("sign", (request, _key, data) => protocol.signReply(request, key.sign(data)));
      socket.pipe(protocol).pipe(socket);
      socket.on("error", () => undefined);
    });
    await new Promise<void>((resolve) => agent.listen(path, () => resolve()));
    onTestFinished(() => void agent.close());
    const keyless = { ...outer.login, identity: [] };
    const world = await use(openWorld({ seeds: [etcd.proxy.url], ssh: { ...keyless, agent: path }, replica: false }));
    await world.str.set("agent", "yes");
    const error = await refusal({ ...keyless, agent: "/nowhere/agent" });
    expect(error).toMatchObject({ code: "DENIED", outcome: "none" });
    expect(error.message).toContain("the keys of the agent at /nowhere/agent");
    expect(messagesOf(error.cause)).toContain("Failed to connect to agent");
  });

  test("forwarding, to anywhere and to one endpoint; another endpoint is taken then", async () => {
    const closed = await use(startSshd({ forwarding: false }));
    const [error, between] = await Promise.all([refusal(closed.login), refusal({ ...inner.login, jump: closed.login })]);
    expect(error).toMatchObject({ code: "DENIED", data: { endpoint: etcd.proxy.url } });
    expect(error.message).toContain("does not forward to it");
    expect(between).toMatchObject({ code: "DENIED" });
    const narrow = await use(startSshd({ permitOpen: [new URL(etcd.url).host] }));
    const world = await use(openWorld({ seeds: [etcd.proxy.url, etcd.url], ssh: narrow.login, replica: false }));
    await world.str.set("narrow", "yes");
  });

  test("a host that is not there, one that another does not reach, and an endpoint that nobody serves", async () => {
    const [port] = (await freePorts(1)) as [number];
    const nobody = { ...outer.login, port };
    const [direct, behind, far] = await Promise.all([
      refusal(nobody),
      refusal({ ...nobody, jump: outer.login }),
      refusal(outer.login, { seeds: [`http://127.0.0.1:${port}`] }),
    ]);
    expect(direct).toMatchObject({ code: "UNAVAILABLE", retryable: true, outcome: "none" });
    expect(messagesOf(direct)).toMatch(new RegExp(`Cannot log in at .*@127.0.0.1:${port}: it cannot be reached\n.*ECONNREFUSED`));
    expect(behind).toMatchObject({ code: "UNAVAILABLE", outcome: "none" });
    expect(messagesOf(behind)).toContain("does not get there");
    expect(far).toMatchObject({ code: "UNAVAILABLE" });
    expect(messagesOf(far)).toContain(`Cannot reach http://127.0.0.1:${port}: `);
  });

  test("ssh beside the prefix of an agent", async () => {
    const error = await failure(openWorld({ prefix: "/nowhere", ssh: outer.login, seeds: [etcd.proxy.url] }));
    expect(error).toMatchObject({ code: "INVALID_OPTION", data: { option: "ssh" } });
  });
});

describe("the end", () => {
  test("takes no longer where the host has fallen silent, and nothing is left", async () => {
    const silent = await use(FaultyProxy.start(`http://127.0.0.1:${outer.port}`));
    const { port } = new URL(silent.url);
    const ssh = { ...outer.login, port: Number(port), hostKey: outer.hostKey.fingerprint };
    const world = await worldOf(etcd, { ssh });
    await world.str.set("motd", "before");
    const pids = feedersOf(world);
    silent.stall();
    const waiting = failure(world.str.set("motd", "late"));
    const fromMs = performance.now();
    await world.close();
    expect(performance.now() - fromMs).toBeLessThan(9_000);
    expect(["CLOSED", "OUTCOME_UNKNOWN", "UNAVAILABLE"]).toContain((await waiting).code);
    for (const pid of pids) await untilGone(pid);
    silent.heal();
    await eventually("nobody is logged in", () => outer.sessions === 0);
    expect(socketsLeft()).toEqual([]);
  });

  test("a host that accepts and says nothing is given up, and closing does not wait for it", async () => {
    const silent = await use(FaultyProxy.start(`http://127.0.0.1:${outer.port}`));
    silent.stall();
    const ssh = { ...outer.login, port: Number(new URL(silent.url).port), hostKey: outer.hostKey.fingerprint };
    const world = await use(openWorld({ seeds: [etcd.proxy.url], ssh, replica: false }));
    expect(await failure(world.str.get("motd", { timeoutMs: 300 }))).toMatchObject({ code: "DEADLINE" });
    const fromMs = performance.now();
    await world.close();
    expect(performance.now() - fromMs).toBeLessThan(3_000);
    await eventually("its connection is gone", () => silent.open === 0 || (silent.heal(), false));
  });
});

/** Of grpc's way to a tunnel; each is there for a moment only. */
function socketsLeft(): readonly string[] {
  return readdirSync(tmpdir()).filter((name) => /^quorate-[0-9a-f]{18}$/.test(name));
}
