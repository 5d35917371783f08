import { BehaviorSubject, ReplaySubject, Subject, type Observable } from "rxjs";
import { pino, type Logger } from "pino";
import { systemClock, type Clock } from "../clock.ts";
import type { ServerExit } from "../embed/index.ts";
import type { AgentOptions } from "./options.ts";
import { resolveOptions, type ResolvedOptions } from "./resolve.ts";
import { AgentLife } from "./life.ts";
import { OwnWorld } from "./own-world.ts";
import { PartsHere } from "../world/converged/here.ts";
import type { World } from "../world/index.ts";
import { machineWith, type Machine, type RunningServer } from "./machine.ts";
import type { AgentExit, AgentStatus } from "./status.ts";

/** Seams for tests: time, and the machine. */
export interface AgentDeps {
  /** Aborting it stops the agent in place, as `stop()` does. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly machine?: Machine;
}

/**
 * One agent. It connects or founds, volunteers, runs an etcd server while it has a seat, and leads when it is elected. Several may
 * live in one process, each with its own prefix and ports. Nothing of it is left once {@link exited} has settled.
 */
export class Agent implements AsyncDisposable {
  /** Connected and volunteering; a founder when it is sure that no cluster knows its address. Rejects when the agent ends before. */
  readonly ready: Promise<void>;
  /** Settles once everything is gone: server, session, files of a temporary prefix. Never rejects. */
  readonly exited: Promise<AgentExit>;
  /** Its etcd serves; emits at every start, also after a restart. */
  readonly serverReady$: Observable<{ readonly memberId: string; readonly clusterId: string; readonly pid: number }>;
  /** Its etcd has ended, asked or not. */
  readonly serverExited$: Observable<ServerExit>;
  /** What it knows; the newest first, then every change. Completes at the end. */
  readonly status$: Observable<AgentStatus>;
  /** What went wrong and was survived, and what ended it. Completes after all processes are gone. */
  readonly err$: Observable<unknown>;
  readonly #status: BehaviorSubject<AgentStatus>;
  readonly #life: AgentLife;
  readonly #ownWorld: OwnWorld;

  /** Use {@link startAgent}. */
  constructor(options: ResolvedOptions, deps: AgentDeps) {
    const serverReady = new Subject<RunningServer>();
    const serverExited = new Subject<ServerExit>();
    const errors = new ReplaySubject<unknown>(50);
    this.#status = new BehaviorSubject(firstStatus(options));
    this.serverReady$ = serverReady.asObservable();
    this.serverExited$ = serverExited.asObservable();
    this.status$ = this.#status.asObservable();
    this.err$ = errors.asObservable();
    const machine = deps.machine ?? machineWith(options);
    const clock = deps.clock ?? systemClock;
    const log = loggerOf(options);
    const here = new PartsHere(clock, options.convergedTimeoutMs);
    const ownWorld = new OwnWorld(options, here, clock, log);
    this.#ownWorld = ownWorld;
    this.#life = new AgentLife(options, {
      machine,
      clock,
      log,
      world: ownWorld,
      here,
      proof: machine.randomBytes(16).toString("hex"),
      onStatus: (status) => {
        this.#status.next(status);
      },
      onServerReady: (server) => {
        serverReady.next(server);
      },
      onServerExited: (exit) => {
        serverExited.next(exit);
      },
      onError: (error) => {
        errors.next(error);
      },
    });
    this.ready = this.#life.ready;
    // Whoever does not ask is told by `exited`.
    this.ready.catch(() => undefined);
    this.exited = this.#life.run(deps.signal ?? new AbortController().signal).then((exit) => {
      if (exit.error !== undefined) errors.next(exit.error);
      for (const subject of [serverReady, serverExited, errors, this.#status]) subject.complete();
      return exit;
    });
  }

  /**
   * The World of this host, over the replica under the agent's prefix; the agent's hostname is its identity. What is asked of it before the
   * agent has joined waits for that, within each call's own time. It is closed with the agent, while etcd can still be told. Nothing of it
   * is started before its first use.
   */
  get world(): World {
    return this.#ownWorld.world;
  }

  /** What it knows now. */
  status(): AgentStatus {
    return this.#status.value;
  }

  /**
   * Leaves in good order: another agent takes over its seat first where there is one, then the server is let go. After 30 s it
   * stops in place and stays a member. Settles when it has ended. Idempotent.
   */
  async leave(): Promise<AgentExit> {
    this.#life.leave();
    return this.exited;
  }

  /**
   * Stops in place: the server ends, the seat and its data stay, as for a restart of the host. Raft leadership is handed over first; and
   * while others are away, so that the cluster would be left without quorum, it waits for them, for at most 20 s. Settles when it has
   * ended. Idempotent.
   */
  async stop(): Promise<AgentExit> {
    this.#life.stop();
    return this.exited;
  }

  /** Waits for nobody any more: a leave that is under way becomes a stop in place, and a stop goes on at once. */
  hurry(): void {
    this.#life.hurry();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/**
 * Starts an agent. Returns at once; `ready` and `exited` tell the rest.
 *
 * @throws QuorateError INVALID_OPTION naming the option. What can only be found out by trying (ports, prefix, seeds, etcd) rejects
 * `ready` and is the `error` of `exited`.
 */
export function startAgent(options: AgentOptions, deps: AgentDeps = {}): Agent {
  return new Agent(resolveOptions(options), deps);
}

function loggerOf(options: ResolvedOptions): Logger {
  if (!options.logger) return pino({ level: "silent" });
  const log = options.logger.child({ host: options.hostname });
  if (options.debug) log.level = "debug";
  return log;
}

function firstStatus(options: ResolvedOptions): AgentStatus {
  return {
    hostname: options.hostname,
    phase: "starting",
    role: options.server ? "spare" : "client",
    leader: undefined,
    leading: false,
    prefix: options.prefix,
    clusterId: undefined,
    memberId: undefined,
    serverPid: undefined,
    clientUrls: [],
    endpoints: options.seeds,
    members: [],
    idealClusterSize: undefined,
    failureTolerance: undefined,
    because: undefined,
    problem: undefined,
  };
}
