import type { AgentState } from "../../../src/agent/begin/state.ts";
import type { PreflightAnswer } from "../../../src/agent/server/preflight-stub.ts";
import type { Random } from "../random.ts";
import type { DataDir, Server } from "./cluster.ts";
import type { Connection } from "./link.ts";
import type { Owner, Timeline } from "./timeline.ts";

/** One host: what stays when processes end. */
export class Host {
  readonly name: string;
  readonly index: number;
  readonly clientUrl: string;
  readonly serverUrl: string;
  /** How fast its clock runs. */
  readonly rate: number;
  state: AgentState | undefined;
  data: DataDir | undefined;
  server: Server | undefined;
  /** Answers at the server URL while the agent lets itself be proved. */
  stub: { readonly owner: Owner; readonly answer: (nonce: string) => Promise<PreflightAnswer> } | undefined;
  /** Somebody else has its server port. */
  portTaken = false;
  freeBytes = 1e12;
  /** How long a new server here takes to catch up. */
  syncMs = 100;

  constructor(index: number, rate: number) {
    this.name = `h${index + 1}`;
    this.index = index;
    this.clientUrl = `http://10.0.0.${index + 1}:2379`;
    this.serverUrl = `http://10.0.0.${index + 1}:2380`;
    this.rate = rate;
  }
}

interface Held {
  readonly from: Host;
  readonly to: Host;
  readonly owner: Owner | undefined;
  readonly run: () => void;
}

/** How likely each message meets a fault of its own. */
export interface MessageFaults {
  readonly late: number;
  readonly lost: number;
  /** A member call that takes its time behind the server that took it. */
  readonly stuck: number;
}

export const noFaults: MessageFaults = { late: 0, lost: 0, stuck: 0 };

/** A connection that nothing comes through is given up after this long. */
const keepaliveMs = 10_000;

/** Who reaches whom, and what becomes of messages. A cut holds them back, as TCP does; what is late comes late. */
export class Network {
  readonly hosts: readonly Host[];
  readonly connections = new Set<Connection>();
  faults: MessageFaults = noFaults;
  /** Faults that messages have met. */
  met = 0;
  readonly metBy = new Map<string, number>();
  onChange: () => void = () => undefined;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #cuts = new Set<number>();
  #held: Held[] = [];

  constructor(hosts: readonly Host[], timeline: Timeline, random: Random) {
    this.hosts = hosts;
    this.#timeline = timeline;
    this.#random = random;
  }

  hostOf(url: string): Host | undefined {
    return this.hosts.find((host) => url.startsWith(host.clientUrl) || url.startsWith(host.serverUrl));
  }

  /** Whether messages get from one host to another. */
  open(from: Host, to: Host): boolean {
    return from === to || !this.#cuts.has(from.index * 64 + to.index);
  }

  linked(a: Host, b: Host): boolean {
    return this.open(a, b) && this.open(b, a);
  }

  get cutLinks(): number {
    return this.#cuts.size;
  }

  cut(from: Host, to: Host): void {
    if (from === to) return;
    this.#cuts.add(from.index * 64 + to.index);
    for (const connection of this.connections) {
      if (!this.linked(connection.from, connection.to)) connection.silentSinceMs ??= this.#timeline.nowMs;
    }
    this.#timeline.in(keepaliveMs, undefined, () => {
      for (const connection of [...this.connections]) {
        const { silentSinceMs } = connection;
        if (silentSinceMs !== undefined && this.#timeline.nowMs - silentSinceMs >= keepaliveMs) connection.break();
      }
    });
    this.onChange();
  }

  heal(from?: Host, to?: Host): void {
    if (from && to) this.#cuts.delete(from.index * 64 + to.index);
    else this.#cuts.clear();
    for (const connection of this.connections) {
      if (this.linked(connection.from, connection.to)) connection.silentSinceMs = undefined;
    }
    const held = this.#held;
    this.#held = [];
    for (const one of held) {
      if (this.open(one.from, one.to)) this.#timeline.in(0.5, one.owner, one.run);
      else this.#held.push(one);
    }
    this.onChange();
  }

  #meets(kind: "late message" | "lost message" | "stuck call" | "late apply"): void {
    this.met++;
    this.metBy.set(kind, (this.metBy.get(kind) ?? 0) + 1);
  }

  /** Delivers a message, after `atLeastMs` where those before it on the same stream take longer. Returns when. */
  send(from: Host, to: Host, owner: Owner | undefined, run: () => void, notBeforeMs = 0): number {
    let delayMs = from === to ? 0.05 : 0.2 + this.#random.next();
    if (this.faults.late > 0 && this.#random.chance(this.faults.late)) {
      this.#meets("late message");
      delayMs += this.#random.pick([10, 10, 20, 40, 40, 80, 80, 150, 300, 400, 400, 3_000]) * this.#random.next();
    }
    const atMs = Math.max(this.#timeline.nowMs + delayMs, notBeforeMs);
    this.#timeline.at(atMs, owner, () => {
      if (this.open(from, to)) run();
      else this.#held.push({ from, to, owner, run });
    });
    return atMs;
  }

  /** Whether the connection breaks under this message. */
  loses(): boolean {
    if (this.faults.lost === 0 || !this.#random.chance(this.faults.lost)) return false;
    this.#meets("lost message");
    return true;
  }

  /** How long a member call is stuck on its way, in milliseconds. */
  stuckMs(): number {
    if (this.faults.stuck === 0 || !this.#random.chance(this.faults.stuck)) return 0;
    this.#meets("stuck call");
    return this.#random.pick([200, 1_000, 3_000, 15_000]) * this.#random.next();
  }

  /** How far behind the raft leader a server applies, in milliseconds. */
  slowness(): number {
    if (this.faults.late > 0 && this.#random.chance(this.faults.late / 2)) {
      this.#meets("late apply");
      return this.#random.pick([20, 100, 300]) * this.#random.next();
    }
    return this.#random.next();
  }

  /** A server has ended: whoever is connected to it is told, if it can be told. */
  closed(server: Server): void {
    for (const connection of [...this.connections]) {
      if (connection.server !== server) continue;
      this.send(connection.to, connection.from, connection.owner, () => {
        connection.break();
      });
    }
  }
}
