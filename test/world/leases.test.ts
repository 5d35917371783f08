import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import type { Process } from "../support/process.ts";
import { freshNamespace } from "./fixture.ts";
import { replicaFolder, startProgram, untilUnfed } from "./programs.ts";

/** Seconds, of the sessions of all programs here. */
const sessionTtl = 2;
/** What etcd may need to find out that a lease has expired, and to delete what hangs on it. */
const etcdMs = 2_000;
const limitMs = (ttl: number): number => 1_000 * ttl + etcdMs;

let etcd: TestCluster;
let client: EtcdClient;
beforeAll(async () => {
  etcd = await startEtcd(1);
  client = EtcdClient.create({ endpoints: etcd.urls, clock });
});
afterAll(async () => {
  await client.close();
  await etcd.stop();
});

/** Keys under a namespace without it, with how often each was written. */
async function there(namespace: string): Promise<ReadonlyMap<string, number>> {
  const { entries } = await client.range({ start: `${namespace}/`, end: `${namespace}0` });
  return new Map(entries.map(({ key, version }) => [key.slice(namespace.length), version]));
}

/** How long after `fromMs` none of these is there any more, which is three times as long as it may take at most. */
async function goneAfter(namespace: string, keys: readonly string[], fromMs: number, withinMs: number): Promise<number> {
  const none = async (): Promise<boolean> => {
    const found = await there(namespace);
    return keys.every((key) => !found.has(key));
  };
  await eventually(`${keys.join(", ")} are gone`, none, 3 * withinMs);
  return clock.nowMs() - fromMs;
}

const leasedOf = (host: string): string[] => [`/strings/up/${host}`, `/strings/up of ${host}`, `/exported/*/${host}/web/up`];
const unleasedOf = (host: string): string[] => [
  `/strings/known/${host}`,
  `/strings/known of ${host}`,
  `/exported/*/${host}/web/known`,
];

interface Host {
  readonly program: Process;
  readonly options: { readonly folder: string; readonly namespace: string };
}

/** A host whose program has written what it writes. */
async function tenant(hostname: string, namespace: string): Promise<Host> {
  const options = { seeds: etcd.urls, folder: await replicaFolder(), namespace, hostname, sessionTtl };
  const program = startProgram("tenant", options);
  await program.line("written");
  return { program, options };
}

test("a host that dies takes its leased entries with it within its TTL, and no other; once it is back it finds its unleased ones", async () => {
  const namespace = freshNamespace();
  const [h1] = await Promise.all([tenant("h1", namespace), tenant("h2", namespace)]);
  const before = await there(namespace);
  const own = (host: string): string => `/strings/own session of ${host}`;
  for (const host of ["h1", "h2"])
    for (const key of [...leasedOf(host), ...unleasedOf(host), own(host)]) expect(before.has(key), key).toBe(true);

  await h1.program.kill();
  const diedMs = clock.nowMs();
  const sharedMs = await goneAfter(namespace, leasedOf("h1"), diedMs, limitMs(sessionTtl));
  const ownMs = await goneAfter(namespace, [own("h1")], diedMs, limitMs(4));
  console.log(
    `gone after the host: what had ${sessionTtl} s after ${Math.round(sharedMs)} ms, what had 4 s after ${Math.round(ownMs)} ms`,
  );
  const after = await there(namespace);
  // Only what was written for a while may be missing besides.
  const gone = [...before.keys()].filter((key) => !after.has(key) && !key.startsWith("/strings/for a while/"));
  expect(gone.sort()).toEqual([...leasedOf("h1"), own("h1")].sort());
  for (const [key, version] of after) expect(version, key).toBe(before.get(key));

  await untilUnfed(h1.options.folder);
  const again = startProgram("tenant", { ...h1.options, looking: true });
  expect(await again.line("found")).toMatchObject({
    entries: [null, "yes"],
    strings: [null, "yes"],
    resources: [{ name: "known", leased: false }],
  });
});

test("what hangs on a TTL of its own vanishes while its writer lives, unless that writes it again", async () => {
  const namespace = freshNamespace();
  await tenant("h1", namespace);
  const writtenMs = clock.nowMs();
  const options = { seeds: etcd.urls, replica: false, namespace, hostname: "h2", sessionTtl };
  const beat = startProgram("beat", { ...options, name: "beats", refresh: "refreshed" });
  await beat.line(({ msg, n }) => msg === "wrote" && Number(n) >= 2);
  let missing = 0;
  const fromMs = clock.nowMs();
  await eventually(
    "the one that is not written again is gone",
    async () => {
      const found = await there(namespace);
      if (!found.has("/strings/refreshed")) missing++;
      return !found.has("/strings/for a while/h1") && clock.nowMs() - fromMs > limitMs(2);
    },
    3 * limitMs(3),
  );
  expect(missing).toBe(0);
  expect(clock.nowMs() - writtenMs).toBeGreaterThan(2_000);
  expect([...(await there(namespace)).keys()].filter((key) => key.endsWith("up/h1"))).toEqual(["/strings/up/h1"]);
  // Once nobody writes it again it goes as well.
  await beat.kill();
  await goneAfter(namespace, ["/strings/refreshed", "/strings/beats"], clock.nowMs(), limitMs(2));
});

test("a World that is closed takes what it has leased with it at once, and leaves the rest", async () => {
  const namespace = freshNamespace();
  const h1 = await tenant("h1", namespace);
  const before = await there(namespace);
  h1.program.signal("SIGTERM");
  await h1.program.line("closed");
  const after = await there(namespace);
  for (const key of [...leasedOf("h1"), "/strings/own session of h1"]) expect(after.has(key), key).toBe(false);
  for (const key of unleasedOf("h1")) expect(after.get(key), key).toBe(before.get(key));
  expect(await h1.program.end(10_000)).toMatchObject({ code: 0, signal: null });
});

test("a host that stood still for longer than its TTL learns that before it writes anything more, and writes on under a new lease", async () => {
  const namespace = freshNamespace();
  const options = { seeds: etcd.urls, folder: await replicaFolder(), namespace, hostname: "h1", sessionTtl, name: "beats" };
  const beat = startProgram("beat", options);
  onTestFinished(() => beat.signal("SIGCONT"));
  const key = keysUnder(namespace).strings.str("beats");
  await beat.line(({ msg, n }) => msg === "wrote" && Number(n) >= 3);
  beat.signal("SIGSTOP");
  await goneAfter(namespace, ["/strings/beats"], clock.nowMs(), limitMs(sessionTtl));
  const { revision: expired } = await client.get(key);
  const [first] = beat.lines.filter(({ msg }) => msg === "session");
  const stood = beat.lines.length;
  beat.signal("SIGCONT");
  const later = await beat.line(({ msg, revision }) => msg === "wrote" && Number(revision) > expired);
  expect(later["leaseId"]).not.toBe(first!["leaseId"]);
  const said = beat.lines.slice(stood).map(({ msg, leaseId }) => ({ msg, leaseId }));
  const lost = said.findIndex(({ msg, leaseId }) => msg === "lost" && leaseId === first!["leaseId"]);
  const next = said.findIndex(({ msg, leaseId }) => msg === "session" && leaseId === later["leaseId"]);
  const wrote = said.findIndex(({ msg, leaseId }) => msg === "wrote" && leaseId === later["leaseId"]);
  expect(lost).toBeGreaterThanOrEqual(0);
  expect(lost, "it was told before it had another session").toBeLessThan(next);
  expect(next).toBeLessThan(wrote);
  // The string was gone: whatever was written after that was written by the new lease alone.
  const { entry } = await client.get(key);
  expect(entry!.createRevision).toBeGreaterThan(expired);
  expect(BigInt(entry!.lease).toString(16)).toBe(later["leaseId"]);
});
