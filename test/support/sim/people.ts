import { pino, type Logger } from "pino";
import { startAgent, type Agent, type AgentExit, type AgentOptions } from "../../../src/agent/index.ts";
import { Random } from "../random.ts";
import { machineOf, type World } from "./machine.ts";
import type { Host } from "./network.ts";
import { clockOf, newOwner, resume, type Owner } from "./timeline.ts";

const silent = pino({ level: "silent" });

/** One agent process on a host: real code, with the clock and the machine of the model. */
export class AgentProcess {
  readonly host: Host;
  readonly owner: Owner = newOwner();
  readonly agent: Agent;
  readonly sinceMs: number;
  leaving = false;
  /** How it ended by itself. */
  exit: AgentExit | undefined;
  readonly #world: World;

  constructor(world: World, host: Host, options: AgentOptions, onExit: (process: AgentProcess, exit: AgentExit) => void) {
    this.#world = world;
    this.host = host;
    this.sinceMs = world.timeline.nowMs;
    const clock = clockOf(world.timeline, this.owner, host.rate);
    const machine = machineOf(world, host, this.owner, new Random(world.random.between(0, 0x7fff_ffff)));
    const logger = world.trace ? loggerTo(world, host) : silent;
    this.agent = startAgent(
      {
        hostname: host.name,
        clientUrls: [host.clientUrl],
        serverUrls: [host.serverUrl],
        prefix: "/disk",
        logger,
        ...options,
      },
      { clock, machine },
    );
    void this.agent.exited.then((exit) => {
      if (this.owner.dead) return;
      this.exit = exit;
      this.owner.dead = true;
      onExit(this, exit);
    });
  }

  /** SIGKILL: its etcd dies with it. */
  kill(): void {
    const { host } = this;
    this.owner.dead = true;
    if (host.stub?.owner === this.owner) host.stub = undefined;
    const { server } = host;
    if (server) {
      server.onExit = () => undefined;
      server.cluster.end(server, { code: null, signal: "SIGKILL", removed: false });
    }
    for (const connection of [...this.#world.network.connections]) {
      if (connection.owner !== this.owner) continue;
      connection.alive = false;
      this.#world.network.connections.delete(connection);
    }
  }

  pause(): void {
    this.owner.paused = true;
  }

  resume(): void {
    resume(this.#world.timeline, this.owner);
  }
}

function loggerTo(world: World, host: Host): Logger {
  const write = (line: string): void => {
    const {
      level,
      time: _time,
      pid: _pid,
      hostname: _hostname,
      host: _host,
      msg,
      err,
      ...rest
    } = JSON.parse(line) as Record<string, unknown>;
    const error = (err as { message?: string } | undefined)?.message;
    world.note(
      `  ${host.name} ${String(level)} ${String(msg)}${error === undefined ? "" : `: ${error}`} ${JSON.stringify(rest)}`,
    );
  };
  return pino({ level: world.trace === "debug" ? "debug" : "info" }, { write });
}
