/**
 * What a watch tells of what was written while its connection broke: npm etcd3's Watcher and ours, through the same proxy, with the same
 * faults, of the same etcd.
 *
 *   npm run bench -- watch-loss
 *
 * Exits 1 when ours loses, doubles or reorders an event, or misses the difference after a compaction.
 */
import { Etcd3 } from "etcd3";
import { systemClock as clock } from "../src/clock.ts";
import { compact, EtcdClient, watchRange } from "../src/etcd/index.ts";
import { endOf } from "../src/keys.ts";
import { startEtcd } from "../test/support/etcd-process.ts";
import { FaultyProxy } from "../test/support/proxy.ts";

/** What one watch has told, as revisions and keys. */
interface Told {
  readonly revisions: number[];
  /** What the keys hold, going by what was told. */
  readonly state: Map<string, string>;
  readonly errors: string[];
  onCreated: () => void;
  stop(): Promise<void>;
}

interface Incident {
  readonly name: string;
  /** Writes what the watch misses. Returns how many events that is. */
  write(direct: EtcdClient, prefix: string): Promise<number>;
  /** What is done to the connection each time the watch is created again. */
  readonly breaks: readonly ((proxy: FaultyProxy) => void)[];
  /** History is gone: what counts is what the keys hold in the end. */
  readonly compacted?: boolean;
}

const never = new AbortController().signal;
const cut = (proxy: FaultyProxy): void => proxy.cut();
const after = (bytes: number) => (proxy: FaultyProxy) => proxy.cutAfter(bytes);

async function puts(direct: EtcdClient, prefix: string, n: number, size: number): Promise<number> {
  for (let i = 0; i < n; i += 50) {
    const some = Array.from({ length: Math.min(50, n - i) }, (_, j) => `${prefix}${(i + j) % 500}`);
    await Promise.all(some.map((key) => direct.put(key, "x".repeat(size))));
  }
  return n;
}

const incidents: readonly Incident[] = [
  { name: "cut, nothing else", breaks: [], write: (direct, prefix) => puts(direct, prefix, 5_000, 100) },
  { name: "cut again behind 'created'", breaks: [cut], write: (direct, prefix) => puts(direct, prefix, 5_000, 100) },
  {
    name: "cut again behind the first batch",
    breaks: [after(180_000)],
    write: (direct, prefix) => puts(direct, prefix, 5_000, 100),
  },
  { name: "cut again in mid-frame", breaks: [after(60_000)], write: (direct, prefix) => puts(direct, prefix, 5_000, 100) },
  { name: "six 1 MB events in one response", breaks: [], write: (direct, prefix) => puts(direct, prefix, 6, 1_000_000) },
  {
    name: "compacted meanwhile",
    breaks: [],
    compacted: true,
    write: async (direct, prefix) => {
      for (const name of ["a", "b", "c"]) await direct.put(prefix + name, "2");
      const { revision } = await direct.del(`${prefix}there`);
      await compact(direct, revision, {});
      return 4;
    },
  },
];

/** Ours, as a program gets it. */
function ours(url: string, prefix: string): Told {
  const client = EtcdClient.create({ endpoints: [url], clock });
  const stop = new AbortController();
  const told = empty();
  const watching = watchRange(
    client,
    { start: prefix, end: endOf(prefix) },
    (news) => {
      if (news.kind === "state" && news.live) told.onCreated();
      if (news.kind === "snapshot") for (const { key, value } of news.entries) told.state.set(key, value);
      if (news.kind !== "changes") return;
      for (const change of news.changes) {
        told.revisions.push(change.type === "put" ? change.entry.modRevision : change.revision);
        if (change.type === "put") told.state.set(change.entry.key, change.entry.value);
        else told.state.delete(change.key);
      }
    },
    { clock },
    stop.signal,
  ).catch((error: unknown) => {
    if (!stop.signal.aborted) told.errors.push(String(error));
  });
  told.stop = async () => {
    stop.abort();
    await watching;
    await client.close();
  };
  return told;
}

/** etcd3's, with its defaults; it tells nothing of what is there at first. */
async function theirs(url: string, prefix: string): Promise<Told> {
  const client = new Etcd3({ hosts: url });
  const told = empty();
  for (const [key, value] of Object.entries(await client.getAll().prefix(prefix).strings())) told.state.set(key, value);
  const watcher = await client.watch().prefix(prefix).create();
  watcher.on("connected", () => told.onCreated());
  watcher.on("put", (kv) => {
    told.revisions.push(Number(kv.mod_revision));
    told.state.set(kv.key.toString(), kv.value.toString());
  });
  watcher.on("delete", (kv) => {
    told.revisions.push(Number(kv.mod_revision));
    told.state.delete(kv.key.toString());
  });
  watcher.on("error", (error) => told.errors.push(`error event '${error.message.trim()}'`));
  told.stop = async () => {
    await watcher.cancel().catch(() => undefined);
    client.close();
  };
  return told;
}

function empty(): Told {
  return { revisions: [], state: new Map(), errors: [], onCreated: () => undefined, stop: async () => undefined };
}

async function until(check: () => boolean, ms: number): Promise<boolean> {
  for (const endMs = clock.nowMs() + ms; !check(); await clock.sleep(10, never)) if (clock.nowMs() > endMs) return false;
  return true;
}

async function run(incident: Incident, who: "etcd3" | "ours", etcdUrl: string, prefix: string): Promise<[string, boolean]> {
  const direct = EtcdClient.create({ endpoints: [etcdUrl], clock });
  await using proxy = await FaultyProxy.start(etcdUrl);
  const { revision: from } = await direct.put(`${prefix}there`, "1");
  let created = 0;
  const told = who === "ours" ? ours(proxy.url, prefix) : await theirs(proxy.url, prefix);
  if (who === "etcd3") created = 1;
  told.onCreated = () => {
    created++;
  };
  try {
    if (!(await until(() => created > 0, 10_000))) return ["never created", false];
    proxy.refuse();
    proxy.cut();
    const expected = await incident.write(direct, prefix);
    const to = (await direct.get(prefix)).revision;
    const breaks = [...incident.breaks];
    told.onCreated = () => breaks.shift()?.(proxy);
    proxy.heal();
    // The last one is written when everything is calm again: who tells it has told all it will ever tell.
    await until(() => told.revisions.some((revision) => revision >= to) || told.errors.length > 0, 10_000);
    await direct.put(`${prefix}last`, "last");
    const sawLast = await until(() => told.state.get(`${prefix}last`) === "last", 10_000);
    const { entries } = await direct.range({ start: prefix, end: endOf(prefix) });
    const state = new Map(entries.map(({ key, value }) => [key, value]));
    const right = state.size === told.state.size && [...state].every(([key, value]) => told.state.get(key) === value);
    const missed = told.revisions.filter((revision) => revision > from && revision <= to);
    const ordered = told.revisions.every((revision, i) => i === 0 || revision >= told.revisions[i - 1]!);
    const good = incident.compacted === true ? right : missed.length === expected && ordered && right;
    const words = [
      incident.compacted === true ? (right ? "state right" : "state wrong") : `${missed.length} of ${expected}`,
      ordered ? "" : "out of order",
      sawLast ? "" : "dead afterwards",
      ...told.errors.slice(0, 1),
    ];
    return [words.filter((word) => word !== "").join(", "), good && sawLast];
  } finally {
    await told.stop();
    await direct.close();
  }
}

await using etcd = await startEtcd(1);
const line = (a: string, b: string, c: string): void => console.log(`${a.padEnd(36)}${b.padEnd(64)}${c}`);
line("events told of those missed", "npm etcd3 Watcher", "ours");
for (const [i, incident] of incidents.entries()) {
  const [their] = await run(incident, "etcd3", etcd.urls[0]!, `/etcd3/${i}/`);
  const [our, good] = await run(incident, "ours", etcd.urls[0]!, `/ours/${i}/`);
  line(incident.name, their, our);
  if (!good) process.exitCode = 1;
}
