import type { AgentExit, AgentOptions } from "../../../src/agent/index.ts";
import { parseUrls } from "../../../src/keys.ts";
import { policySeen } from "../../../src/agent/control/policy.ts";
import { QuorateError } from "../../../src/errors.ts";
import type { Chooser } from "../../../src/chooser/index.ts";
import { Random } from "../random.ts";
import { chooserOf } from "./choosers.ts";
import type { Cluster, Member } from "./cluster.ts";
import { hostOf, Invariants, keys, openStep, violation } from "./invariants.ts";
import type { World } from "./machine.ts";
import { Host, Network } from "./network.ts";
import { AgentProcess } from "./people.ts";
import { Timeline } from "./timeline.ts";
import { txn, type TxnRequest } from "./txn.ts";

export interface LifeOptions {
  /** What agents log goes into the notes. */
  readonly trace?: "info" | "debug";
  /** Only formed, no faults. */
  readonly calm?: boolean;
}

const mostEvents = 400_000;

/** All hosts of one life, and what can be done to them. */
export class Hosts {
  readonly random: Random;
  readonly timeline = new Timeline(mostEvents);
  readonly network: Network;
  readonly invariants: Invariants;
  readonly world: World;
  readonly notes: string[] = [];
  readonly processes = new Map<Host, AgentProcess>();
  /** Hosts that left: they come back only if somebody starts them. */
  readonly left = new Set<Host>();
  readonly options: AgentOptions;
  /** No faults any more: choosers are to be reasonable. */
  peace = false;
  /** What agents decide with, where it is not the built-in chooser. */
  readonly chooser: Chooser | undefined;
  /** Faults of hosts, links and people, beside those of messages. */
  faults = 0;
  readonly kinds = new Map<string, number>();
  readonly #ttlMs: number;

  constructor(seed: number, options: LifeOptions) {
    this.random = new Random(seed);
    const { random, timeline } = this;
    const count = random.pick([2, 3, 3, 4, 4, 5, 5, 6, 7]);
    const hosts = Array.from({ length: count }, (_, i) => new Host(i, 0.97 + 0.06 * random.next()));
    this.network = new Network(hosts, timeline, random);
    const note = (what: string): void => {
      this.notes.push(`${(timeline.nowMs / 1_000).toFixed(3)} ${what}`);
    };
    this.invariants = new Invariants(timeline, this.network, note);
    this.#ttlMs = random.pick([2_000, 3_000, 5_000]);
    this.options = {
      sessionTtlMs: this.#ttlMs,
      idealClusterSize: random.pick([1, 2, 3, 3, 3, 4, 5, 5, 7]),
      evenVoters: random.chance(0.15),
      standbys: random.chance(0.2) ? 1 : 0,
      strictReconfigCheck: random.chance(0.1),
      maxSeats: random.pick([3, 5, 7, 7]),
      nomineeTimeoutMs: random.pick([2_000, 4_000]),
      stallTimeoutMs: random.pick([2_000, 5_000]),
      restartGraceMs: random.pick([3_000, 5_000]),
      stabilizationMs: random.pick([0, 0, 0, 1_000]),
    };
    const kind = random.pick(["built-in", "built-in", "dynamic", "dynamic", "random", "flapping", "throwing", "silent"] as const);
    this.chooser =
      kind === "built-in" ? undefined : chooserOf(kind, new Random(random.between(0, 0x7fff_ffff)), () => this.peace);
    this.world = {
      timeline,
      network: this.network,
      random: new Random(random.between(0, 0x7fff_ffff)),
      clusters: [],
      hooks: this.invariants.hooks,
      note,
      trace: options.trace,
      onMemberCall: (call) => {
        this.invariants.onMemberCall(call);
      },
    };
    this.network.onChange = () => {
      for (const cluster of this.world.clusters) cluster.check();
    };
  }

  /** A fault has come about. */
  met(kind: string, times = 1): void {
    this.faults += times;
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + times);
  }

  note(what: string): void {
    this.world.note(what);
  }

  /** The cluster that the founder made. */
  get cluster(): Cluster | undefined {
    return this.world.clusters[0];
  }

  process(host: Host): AgentProcess | undefined {
    const found = this.processes.get(host);
    return found && !found.owner.dead ? found : undefined;
  }

  start(host: Host): void {
    if (this.process(host)) return;
    this.left.delete(host);
    const [first] = this.network.hosts;
    // A founder that was killed before it could note that it had founded is started as it was.
    const founds =
      host === first && (this.cluster === undefined || (host.data !== undefined && host.state?.clusterId === undefined));
    const seeds = founds ? [] : this.network.hosts.filter((one) => one !== host).map(({ clientUrl }) => clientUrl);
    const zone = `z${host.index % 3}`;
    const options = {
      ...(founds ? this.options : { sessionTtlMs: this.#ttlMs }),
      ...(this.chooser && { chooser: this.chooser }),
      seeds,
      insecure: true,
      zone,
      priority: host.index % 2,
    };
    this.note(`${host.name} starts`);
    this.processes.set(host, new AgentProcess(this.world, host, options, (process, exit) => this.#ended(process, exit)));
  }

  #ended({ host }: AgentProcess, exit: AgentExit): void {
    const { error } = exit;
    this.note(`${host.name} has ended: ${exit.how}${error instanceof Error ? ` (${error.message})` : ""}`);
    if (error !== undefined && !(error instanceof QuorateError)) {
      throw new Error(
        `the agent of ${host.name} died of a mistake: ${error instanceof Error ? (error.stack ?? error.message) : typeof error}`,
      );
    }
    if (host.server) violation(`the agent of ${host.name} has ended, and its server runs`);
    if (exit.how === "left") this.left.add(host);
    // As a service manager does.
    else this.startIn(host, this.random.pick([500, 1_000, 5_000]));
    if (this.cluster && !this.bearable([])) this.invariants.excuse(true);
  }

  startIn(host: Host, ms: number): void {
    this.timeline.in(ms, undefined, () => {
      this.start(host);
    });
  }

  kill(host: Host): void {
    this.note(`${host.name} is killed`);
    this.process(host)?.kill();
  }

  /** Whether every configuration that may come about has a quorum without these hosts. */
  bearable(without: readonly Host[]): boolean {
    const { cluster } = this;
    if (!cluster) return without.length === 0;
    return [cluster.config, ...this.invariants.pending(cluster)].every((config) => this.#survives(cluster, config, without));
  }

  /** Whether the present configuration has one: before the gate has looked, what is recorded is only a plan. */
  bearableNow(without: readonly Host[]): boolean {
    return this.cluster !== undefined && this.#survives(this.cluster, this.cluster.config, without);
  }

  #survives(cluster: Cluster, config: readonly Member[], without: readonly Host[]): boolean {
    const voters = cluster.voters(config);
    const well = voters.flatMap(({ id }) => {
      const server = cluster.servers.get(id);
      return server && !server.owner.paused && !without.includes(server.host) && server.applied > 0 ? [server] : [];
    });
    return well.some((center) => well.filter((one) => this.network.linked(center.host, one.host)).length * 2 > voters.length);
  }

  /** Somebody with etcdctl. Nothing happens where the cluster does not answer. */
  operator(request: Partial<TxnRequest>): boolean {
    const { cluster } = this;
    if (!cluster?.leader || !cluster.ready(cluster.leader)) return false;
    this.invariants.byOperator = true;
    txn(cluster, { compare: [], success: [], failure: [], ...request });
    this.invariants.byOperator = false;
    return true;
  }

  /**
   * Takes away what somebody wrote that only who writes it takes away: those that are passed over without an end, and with `all` also those
   * whose minute ends by itself, which is a long time with nothing in it.
   */
  cleanUp(all: boolean): boolean {
    const lasting =
      this.cluster?.store.range(keys.passedOver.start, keys.passedOver.end).filter(({ lease }) => all || lease === "0") ?? [];
    return this.operator({ success: lasting.map(({ key }) => ({ request_delete_range: { key: Buffer.from(key) } })) });
  }

  put(key: string, value: string): boolean {
    return this.operator({ success: [{ request_put: { key: Buffer.from(key), value: Buffer.from(value) } }] });
  }

  /** Why this is not what a cluster should come to in peace; undefined where it is. */
  whyNotSettled(): string | undefined {
    const { cluster, network } = this;
    if (!cluster?.leader || !cluster.ready(cluster.leader)) return "there is no raft leader";
    const { store, config } = cluster;
    const open = openStep(cluster);
    if (open) return `${open.op} is recorded and open`;
    const up = network.hosts.filter((host) => this.process(host) && !host.portTaken);
    const dead = config.filter((m) => !cluster.runs(m.id));
    const ideal = Number(store.get(keys.idealClusterSize)?.value);
    // Whoever deleted all keys has the policy of the leader that wrote it again.
    const { evenVoters, standbys, maxSeats } = policySeen(
      store.get(keys.policy)?.value,
      store.get(keys.lastPolicy)?.value,
    ).inForce;
    const most = Math.min(ideal, maxSeats);
    const seats = Math.max(1, Math.min(most, up.length + dead.length));
    const voters = seats % 2 === 0 && !evenVoters ? seats - 1 : seats;
    const found = cluster.voters();
    const shown = config
      .map((m) => `${hostOf(network, m)?.name ?? "?"}${m.learner ? "(l)" : ""}${cluster.runs(m.id) ? "" : "!"}`)
      .join(" ");
    if (found.length !== voters)
      return `${found.length} voters, not ${voters}, of ideal ${ideal}, ${up.length} agents: [${shown}]`;
    const spare = Math.max(0, up.length + dead.length - voters);
    const learners = Math.min(spare, seats > voters || (standbys > 0 && seats < maxSeats) ? 1 : 0);
    if (config.length - found.length !== learners) return `${config.length - found.length} learners, not ${learners}: [${shown}]`;
    for (const member of config) {
      const host = hostOf(network, member);
      if (!host) return `member ${member.id} is of nobody`;
      const seat = store.get(keys.seats.key(host.name));
      if (seat?.value.includes(`"${member.id}"`) !== true) return `${host.name} has a seat and no nomination for it`;
      if (!store.get(keys.nominated.key(host.name))) return `${host.name} has a seat and is not nominated`;
      if (cluster.runs(member.id) && host.server?.serving !== true) return `${host.name} does not serve`;
    }
    // What cannot be read is nobody's nomination; status names it.
    const nominated = store
      .range(keys.nominated.start, keys.nominated.end)
      .filter(({ value }) => "urls" in parseUrls(value)).length;
    if (nominated !== config.length) return `${nominated} are nominated for ${config.length} seats`;
    const deadVoters = dead.filter((m) => !m.learner).length;
    if (dead.length > deadVoters) return `a dead learner keeps its seat: [${shown}]`;
    if (deadVoters > 0) {
      if (up.some((host) => !config.some((m) => m.peerUrls.includes(host.serverUrl))))
        return `a dead voter is not replaced: [${shown}]`;
      const alive = found.length - deadVoters;
      if (alive - Math.floor(alive / 2) - 1 > alive - Math.floor(found.length / 2) - 1)
        return `the dead cost tolerance: [${shown}]`;
    }
    const leading = [...this.processes.values()].filter((one) => !one.owner.dead && one.agent.status().leading).length;
    return leading === 1 ? undefined : `${leading} agents lead`;
  }
}
