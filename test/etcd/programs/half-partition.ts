// Runs in network, mount and process namespaces of its own: three servers, the third in a further network namespace with one link
// for clients and one for its peers. The link of the peers is cut, silently. Prints what a client met with, as JSON.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient, Session, watchRange } from "../../../src/etcd/index.ts";
import { eventually } from "../../support/eventually.ts";

const never = new AbortController().signal;
const run = (script: string): void => void execFileSync("sh", ["-ec", script], { stdio: "inherit" });

run(`
  ip link set lo up
  mkdir -p /run/netns; mount -t tmpfs none /run/netns
  ip netns add h3
  ip link add c0 type veth peer name c3 netns h3
  ip link add p0 type veth peer name p3 netns h3
  ip addr add 10.0.1.1/24 dev c0; ip link set c0 up
  ip addr add 10.0.2.1/24 dev p0; ip link set p0 up
  ip -n h3 addr add 10.0.1.3/24 dev c3; ip -n h3 link set c3 up
  ip -n h3 addr add 10.0.2.3/24 dev p3; ip -n h3 link set p3 up; ip -n h3 link set lo up
`);

const folder = mkdtempSync(join(tmpdir(), "quorate-half-"));
const binary = process.argv[2]!;
const servers = [
  { name: "n1", client: "http://10.0.1.1:2379", peer: "http://10.0.2.1:2380" },
  { name: "n2", client: "http://10.0.1.1:3379", peer: "http://10.0.2.1:3380" },
  { name: "n3", client: "http://10.0.1.3:2379", peer: "http://10.0.2.3:2380" },
];
const cluster = servers.map(({ name, peer }) => `${name}=${peer}`).join(",");
for (const { name, client, peer } of servers) {
  const args = [
    ...["--name", name, "--data-dir", join(folder, name), "--initial-cluster", cluster, "--logger", "zap"],
    ...["--listen-client-urls", client, "--advertise-client-urls", client],
    ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
  ];
  const command = name === "n3" ? ["ip", "netns", "exec", "h3", binary] : [binary];
  spawn(command[0]!, [...command.slice(1), ...args], { stdio: "ignore" });
}

const urls = servers.map(({ client }) => client);
const [first, , third] = urls as [string, string, string];
const client = EtcdClient.create({ endpoints: urls, clock, preferred: third });
await eventually("the cluster serves", () =>
  client.put("/a", "1", { endpoint: third }).then(
    () => true,
    () => false,
  ),
);
const seen = await client.status(third);
if (seen.raftLeader === seen.memberId) await client.moveLeader(third, (await client.status(first)).memberId);

let watched = 0;
let live = false;
let moves = 0;
const stop = new AbortController();
const watching = watchRange(
  client,
  { start: "/", end: "0" },
  (news) => {
    if (news.kind === "state") {
      live = news.live;
      if (!live) moves++;
    } else watched = news.revision;
  },
  { clock },
  stop.signal,
).catch(() => undefined);
const session = await Session.open(client, { ttlMs: 5_000, clock }, never);
await eventually("the watch is live", () => live);

// To an address nobody has: packets vanish without a word, in both directions.
run(`
  ip neigh replace 10.0.2.3 lladdr 02:00:00:00:00:01 dev p0 nud permanent
  ip -n h3 neigh replace 10.0.2.1 lladdr 02:00:00:00:00:02 dev p3 nud permanent
`);
const cutMs = performance.now();
const { revision } = await client.get("/a");
const readMs = performance.now() - cutMs;
const stillAnswers = (await client.status(third)).memberId === seen.memberId;
await client.put("/a", "2");
const wrote = await client.put("/a", "3");
await eventually("the watch has moved", () => watched >= wrote.revision);
const watchMs = performance.now() - cutMs;
await clock.sleep(Math.max(0, 8_000 - watchMs), never);
const sessionLives = !session.signal.aborted;

await session.close();
stop.abort();
await watching;
await client.close();
rmSync(folder, { recursive: true, force: true });
process.stdout.write(JSON.stringify({ revision, readMs, stillAnswers, watchMs, moves, sessionLives }));
process.exit();
