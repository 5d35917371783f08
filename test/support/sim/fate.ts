import type { Host } from "./network.ts";
import { noFaults } from "./network.ts";
import type { Hosts } from "./life.ts";
import { hostOf, keys } from "./invariants.ts";
import { resume } from "./timeline.ts";
import type { Member } from "./cluster.ts";

/** A fault: whether it came about. */
type Fault = (hosts: Hosts, host: Host) => boolean;

function crash(hosts: Hosts, host: Host): boolean {
  if (!hosts.process(host) || !hosts.bearable([host])) return false;
  hosts.kill(host);
  return true;
}

function backIn(hosts: Hosts, host: Host): void {
  hosts.startIn(host, hosts.random.pick([100, 1_000, 1_000, 3_000, 7_000]));
}

function lowerSize(hosts: Hosts, ms: number): void {
  const size = hosts.random.pick([1, 2, 3, 3, 4, 5, 5, 7]);
  hosts.timeline.in(ms, undefined, () => {
    if (hosts.put(keys.idealClusterSize, String(size))) hosts.note(`the size is ${size}`);
  });
}

const faults: readonly (readonly [weight: number, name: string, fault: Fault])[] = [
  [
    6,
    "crash",
    (hosts, host) => {
      if (!crash(hosts, host)) return false;
      backIn(hosts, host);
      return true;
    },
  ],
  [
    4,
    "the agent stands still",
    (hosts, host) => {
      const process = hosts.process(host);
      if (!process || process.owner.paused) return false;
      process.pause();
      hosts.timeline.in(hosts.random.pick([50, 500, 2_000, 7_000]) * hosts.random.next(), undefined, () => {
        process.resume();
      });
      return true;
    },
  ],
  [
    4,
    "the server stands still",
    (hosts, host) => {
      const { server } = host;
      if (!server || server.owner.paused || !hosts.bearable([host])) return false;
      server.owner.paused = true;
      server.cluster.check();
      hosts.timeline.in(hosts.random.pick([500, 2_000, 10_000, 70_000]) * hosts.random.next(), undefined, () => {
        resume(hosts.timeline, server.owner);
        server.cluster.check();
      });
      return true;
    },
  ],
  [
    3,
    "the whole host stands still",
    (hosts, host) => {
      const process = hosts.process(host);
      const { server } = host;
      if (!process || process.owner.paused || server?.owner.paused === true || !hosts.bearable([host])) return false;
      process.pause();
      if (server) server.owner.paused = true;
      server?.cluster.check();
      hosts.timeline.in(hosts.random.pick([500, 2_000, 10_000]) * hosts.random.next(), undefined, () => {
        process.resume();
        if (server) resume(hosts.timeline, server.owner);
        server?.cluster.check();
      });
      return true;
    },
  ],
  [
    3,
    "the server crashes",
    (hosts, host) => {
      const { server } = host;
      if (!server || !hosts.bearable([host])) return false;
      server.cluster.end(server, { code: null, signal: "SIGKILL", removed: false });
      return true;
    },
  ],
  [
    3,
    "stopped in place",
    (hosts, host) => {
      const process = hosts.process(host);
      if (!process || !hosts.bearable([host])) return false;
      void process.agent.stop();
      return true;
    },
  ],
  [
    3,
    "leaves",
    (hosts, host) => {
      const process = hosts.process(host);
      if (!process || process.leaving || hosts.left.size + 2 >= hosts.network.hosts.length) return false;
      process.leaving = true;
      void process.agent.leave();
      if (hosts.random.chance(0.7)) hosts.startIn(host, hosts.random.between(2_000, 20_000));
      return true;
    },
  ],
  [
    2,
    "loses its data",
    (hosts, host) => {
      if (!crash(hosts, host)) return false;
      host.data = undefined;
      backIn(hosts, host);
      return true;
    },
  ],
  [
    1,
    "its data is damaged",
    (hosts, host) => {
      if (!host.data || !crash(hosts, host)) return false;
      host.data.damaged = true;
      backIn(hosts, host);
      return true;
    },
  ],
  [
    2,
    "its name is given to a new host",
    (hosts, host) => {
      if (!crash(hosts, host)) return false;
      host.data = undefined;
      host.state = undefined;
      backIn(hosts, host);
      return true;
    },
  ],
  [
    4,
    "is cut off",
    (hosts, host) => {
      if (hosts.network.cutLinks > 0 || !hosts.bearable([host])) return false;
      const way = hosts.random.pick(["both", "in", "out"]);
      for (const other of hosts.network.hosts) {
        if (way !== "out") hosts.network.cut(other, host);
        if (way !== "in") hosts.network.cut(host, other);
      }
      healLater(hosts);
      return true;
    },
  ],
  [
    4,
    "loses one link",
    (hosts, host) => {
      const other = hosts.random.pick(hosts.network.hosts);
      if (other === host || hosts.network.cutLinks > 0 || !hosts.bearable([host]) || !hosts.bearable([other])) return false;
      hosts.network.cut(host, other);
      if (hosts.random.chance(0.6)) hosts.network.cut(other, host);
      healLater(hosts);
      return true;
    },
  ],
  [
    3,
    "takes raft leadership",
    (_hosts, host) => {
      const { server } = host;
      if (!server || server.cluster.leader === server || !server.cluster.canLead(server)) return false;
      if (server.applied < server.cluster.log.length) return false;
      server.cluster.lead(server);
      return true;
    },
  ],
  [
    2,
    "the agent leader is deposed",
    (hosts) => {
      const [first] = hosts.cluster?.store.range(keys.leader.start, keys.leader.end) ?? [];
      return first !== undefined && hosts.operator({ success: [{ request_delete_range: { key: Buffer.from(first.key) } }] });
    },
  ],
  [
    5,
    "resize",
    (hosts) => {
      lowerSize(hosts, 0);
      return true;
    },
  ],
  [
    1,
    "a storm of sizes",
    (hosts) => {
      for (let i = 0; i < 10; i++) lowerSize(hosts, 100 * i);
      // The one that is counted for each fault comes on top.
      hosts.met("a storm of sizes", 9);
      return true;
    },
  ],
  [
    1,
    "somebody else adds a learner",
    (hosts) => {
      const { cluster, random } = hosts;
      if (!cluster?.leader || !cluster.ready(cluster.leader) || cluster.config.some((m) => m.learner)) return false;
      const id = cluster.newId();
      const url = `http://192.0.2.${random.between(1, 254)}:2380`;
      const row: Member = { id, wireId: BigInt(`0x${id}`).toString(), peerUrls: [url], clientUrls: [], name: "", learner: true };
      cluster.change("add-learner", id, [...cluster.config, row]);
      return true;
    },
  ],
  [
    1,
    "all keys are deleted",
    (hosts) => {
      hosts.invariants.excuse(false);
      const range = { key: Buffer.from("/_mgmt/"), range_end: Buffer.from("/_mgmt0") };
      return hosts.operator({ success: [{ request_delete_range: range }] });
    },
  ],
  [
    1,
    "garbage is written",
    (hosts, host) => {
      const { random } = hosts;
      const name = random.pick([host.name, "h99"]);
      const key = random.pick([
        keys.idealClusterSize,
        keys.policy,
        keys.plan,
        keys.step,
        ...[keys.volunteer, keys.nominated, keys.seats, keys.agents, keys.endpoints, keys.passedOver].map((family) =>
          family.key(name),
        ),
      ]);
      // Without the record of a step nobody can know of it.
      if (key === keys.step) hosts.invariants.excuse(false);
      return hosts.put(
        key,
        random.pick(["banana", "-1", "99999999999", "", "{}", "http://10.0.0.1:2380", "\u0000", '{"schema":1}']),
      );
    },
  ],
  [
    1,
    "the power fails everywhere",
    (hosts) => {
      if (!hosts.cluster?.leader || hosts.random.chance(0.7)) return false;
      hosts.invariants.excuse(true);
      for (const host of hosts.network.hosts) {
        if (!hosts.process(host)) continue;
        hosts.kill(host);
        hosts.startIn(host, hosts.random.between(500, 4_000));
      }
      return true;
    },
  ],
  [
    1,
    "its port is taken",
    (hosts, host) => {
      if (host.portTaken || host.server) return false;
      host.portTaken = true;
      hosts.timeline.in(hosts.random.between(1_000, 20_000), undefined, () => (host.portTaken = false));
      return true;
    },
  ],
  [
    1,
    "new servers are slow here",
    (hosts, host) => {
      host.syncMs = hosts.random.pick([1_000, 4_000, 20_000]);
      hosts.timeline.in(hosts.random.between(1_000, 20_000), undefined, () => (host.syncMs = 100));
      return true;
    },
  ],
];

/**
 * The worst moment: a step is recorded, and before the gate has looked, one of those that it counts on is gone. Nothing may come of the step
 * then that costs quorum.
 */
export function ambush(hosts: Hosts): void {
  hosts.invariants.onRecord = (record) => {
    const { cluster, random, timeline, network } = hosts;
    if (hosts.peace || !cluster || !random.chance(0.5)) return;
    const target = random.chance(0.6) ? cluster.config.find((m) => m.id === record.member) : random.pick(cluster.config);
    const server = target && cluster.servers.get(target.id);
    if (!server || server.owner.paused || server.owner.dead || hosts.invariants.inFlight > 0) return;
    const { host } = server;
    timeline.in(0, undefined, () => {
      if (server.owner.dead || !hosts.bearableNow([host])) return;
      const way = random.pick(["crash", "pause", "cut"]);
      hosts.met("in the worst moment");
      hosts.note(`## ${host.name}: in the worst moment, ${way}`);
      if (way === "crash") cluster.end(server, { code: null, signal: "SIGKILL", removed: false });
      else if (way === "pause") {
        server.owner.paused = true;
        cluster.check();
        timeline.in(random.between(500, 5_000), undefined, () => {
          resume(timeline, server.owner);
          cluster.check();
        });
      } else if (network.cutLinks === 0) {
        for (const other of network.hosts) {
          network.cut(other, host);
          network.cut(host, other);
        }
        healLater(hosts);
      }
    });
  };
}

const total = faults.reduce((sum, [weight]) => sum + weight, 0);

function healLater(hosts: Hosts): void {
  hosts.timeline.in(hosts.random.pick([300, 1_500, 4_000, 12_000]), undefined, () => {
    hosts.note("the network is whole again");
    hosts.network.heal();
  });
}

/** One fault, drawn by weight, of a host drawn at random. */
export function strike(hosts: Hosts): void {
  let lot = hosts.random.next() * total;
  const host = hosts.random.pick(hosts.network.hosts);
  for (const [weight, name, fault] of faults) {
    lot -= weight;
    if (lot >= 0) continue;
    const at = hosts.notes.length;
    if (!fault(hosts, host)) return;
    hosts.notes.splice(at, 0, `${(hosts.timeline.nowMs / 1_000).toFixed(3)} ## ${host.name}: ${name}`);
    hosts.met(name);
    return;
  }
}

/** Peace: nothing fails any more, and who did not leave is there; one may stay dead. */
/** Where somebody deleted all keys, nobody can tell the seat of a host that is dead since from a stranger's, which is never removed. */
function isKnown({ cluster, network }: Hosts, host: Host): boolean {
  const seated = cluster?.config.some((member) => hostOf(network, member) === host) === true;
  return !seated || cluster.store.get(keys.seats.key(host.name)) !== undefined;
}

export function makePeace(hosts: Hosts): void {
  hosts.peace = true;
  const { network, random } = hosts;
  network.faults = noFaults;
  network.heal();
  for (const host of network.hosts) {
    host.portTaken = false;
    host.syncMs = 100;
    const process = hosts.process(host);
    if (process?.owner.paused === true) process.resume();
    if (host.server?.owner.paused === true) resume(hosts.timeline, host.server.owner);
  }
  hosts.cluster?.check();
  const unlucky = random.chance(0.3) ? random.pick(network.hosts) : undefined;
  const dead = unlucky && isKnown(hosts, unlucky) ? unlucky : undefined;
  for (const host of network.hosts) {
    if (host !== dead && !(hosts.left.has(host) && random.chance(0.5))) hosts.start(host);
  }
  if (dead && hosts.process(dead) && hosts.bearable([dead])) hosts.kill(dead);
  hosts.note(`## peace${dead && !hosts.process(dead) ? `, without ${dead.name}` : ""}`);
}
