import { setMaxListeners } from "node:events";
import { join as joinPath } from "node:path";
import type { Logger } from "pino";
import { dynamicSize } from "../chooser/index.ts";
import { aborted, firstOf, type Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { keepReplicaWarm } from "../world/replica/warm.ts";
import type { ServerExit } from "../embed/index.ts";
import type { EtcdClient, Membership } from "../etcd/index.ts";
import { fitsCluster, type Binary } from "./begin/binary.ts";
import { standAndLead, type CandidateDeps } from "./control/candidate.ts";
import { ControlView } from "./control/control-view.ts";
import { Doorbell } from "./control/doorbell.ts";
import { followEndpoints } from "./control/follow-endpoints.ts";
import { assertUnknown, found, startAnew } from "./begin/founder.ts";
import { crashWindowMs, forgetStarts, noteStart } from "./begin/crashes.ts";
import { beginning, join } from "./begin/join.ts";
import { assertSameMachine } from "./begin/same-machine.ts";
import { safeMode, safeModeProblem } from "./begin/safe-mode.ts";
import { wakeUp } from "./begin/wake.ts";
import { endClosed, endForsaken, untilClosed, untilForsaken } from "./closing.ts";
import { leave, stays } from "./leave.ts";
import type { ClosedRecord } from "./control/records.ts";
import { Presence, type Appearance } from "./control/presence.ts";
import { StandBack } from "./lead/stand-back.ts";
import { tellIgnoredPolicy, tellIgnoredSize } from "./own-flags.ts";
import { announceRestart, endRestart } from "./restart.ts";
import type { Machine, RunningServer } from "./machine.ts";
import type { ResolvedOptions } from "./resolve.ts";
import { keepSpace } from "./server/space.ts";
import { ServerSupervisor, type ServerNews } from "./server/supervisor.ts";
import type { Prefix } from "./begin/state.ts";
import type { AgentExit, AgentPhase, AgentStatus } from "./status.ts";
import { Volunteer } from "./server/volunteer.ts";
import { quorateVersion } from "./version.ts";

interface LifeDeps {
  readonly machine: Machine;
  readonly clock: Clock;
  readonly log: Logger;
  /** Key of the proof this agent gives at pre-flight. */
  readonly proof: string;
  readonly onStatus: (status: AgentStatus) => void;
  readonly onServerReady: (server: RunningServer) => void;
  readonly onServerExited: (exit: ServerExit) => void;
  readonly onError: (error: unknown) => void;
}

const safeModeLastWords = "it was in safe mode, so it keeps its seat: start it again, and let it leave then";

/** One agent from its start to its end: what is held, in which order it is taken and let go. */
export class AgentLife {
  readonly ready: Promise<void>;
  readonly #options: ResolvedOptions;
  readonly #deps: LifeDeps;
  readonly #view: ControlView;
  readonly #stopping = new AbortController();
  readonly #bell = new Doorbell();
  #setReady: () => void = () => undefined;
  #failReady: (error: unknown) => void = () => undefined;
  #leaving = false;
  #phase: AgentPhase = "starting";
  #news: ServerNews = { kind: "none" };
  #leading = false;
  #cannotLead: string | undefined;
  readonly #problems = new Map<"crashes" | "ports" | "space" | "etcd", string>();
  #prefix: Prefix | undefined;
  #client: EtcdClient | undefined;
  #supervisor: ServerSupervisor | undefined;
  #presence: Presence | undefined;
  #status = "";

  constructor(options: ResolvedOptions, deps: LifeDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#view = new ControlView(options.keys);
    this.ready = new Promise((resolve, reject) => {
      this.#setReady = resolve;
      this.#failReady = reject;
    });
  }

  leave(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#bell.ring();
  }

  stop(): void {
    this.#stopping.abort(new DOMException("The agent was asked to stop", "AbortError"));
  }

  /** Lives. Settles when nothing is left; never rejects. */
  async run(outer: AbortSignal): Promise<AgentExit> {
    const signal = AbortSignal.any([outer, this.#stopping.signal]);
    let exit: AgentExit;
    try {
      exit = await this.#live(signal);
    } catch (error) {
      if (signal.aborted) exit = { exitCode: 0, error: undefined, how: "stopped", notice: undefined };
      else exit = { exitCode: error instanceof QuorateError ? error.exitCode : 1, error, how: "failed", notice: undefined };
    }
    this.#failReady(exit.error ?? new QuorateError("CLOSED", "Cannot become ready: the agent has ended"));
    this.#phase = "stopped";
    this.#tell();
    return exit;
  }

  async #live(signal: AbortSignal): Promise<AgentExit> {
    const { machine } = this.#deps;
    const options = this.#options;
    if (options.server) await machine.assertPortsFree([...options.clientUrls, ...options.serverUrls]);
    await using prefix = await machine.openPrefix(options.prefix, options.hostname);
    this.#prefix = prefix;
    await assertSameMachine(prefix, machine.id(), options.moved || options.newCluster);
    const crashed = await noteStart(prefix, machine.boot());
    try {
      const exit = await this.#liveIn(prefix, crashed, signal);
      await forgetStarts(prefix);
      return exit;
    } catch (error) {
      // What we threw on purpose is no crash, nor is what an abort tears off.
      if (signal.aborted || error instanceof QuorateError) await forgetStarts(prefix);
      throw error;
    }
  }

  async #liveIn(prefix: Prefix, crashed: boolean, signal: AbortSignal): Promise<AgentExit> {
    const { machine, clock, log } = this.#deps;
    const options = this.#options;
    const binary = options.server ? await machine.chooseBinary(options, log, signal) : undefined;
    if (options.newCluster) await startAnew(machine, prefix, clock, log);
    const data = await machine.inspectDataDir(prefix.dataDir);
    const begin = beginning({ ...options, data, state: prefix.state });
    log.info(
      {
        prefix: prefix.folder,
        begins: begin.kind,
        ...(begin.kind === "join" ? { through: begin.through } : {}),
        ...(binary ? { etcd: binary.version } : {}),
      },
      begin.kind === "found" ? "founding a cluster" : begin.kind === "join" ? "joining a cluster" : "continuing with own data",
    );
    this.#tell();

    // Seeds come last where others are known: those may all have changed while this host was away.
    const known =
      begin.kind === "join"
        ? begin.through
        : [...options.advertiseClientUrls, ...prefix.state.endpoints, ...(begin.kind === "continue" ? options.seeds : [])];
    await using client = machine.connect({
      endpoints: [...new Set(known)],
      clock,
      log: log.child({ part: "etcd" }),
      ...(prefix.state.clusterId === undefined || begin.kind === "found" ? {} : { clusterId: prefix.state.clusterId }),
    });
    this.#client = client;
    const volunteer =
      binary &&
      new Volunteer(
        {
          machine,
          options,
          view: this.#view,
          clock,
          log,
          folder: prefix.folder,
          etcdVersion: binary.version,
          portsInUse: () => this.#news.kind === "serving" || this.#news.kind === "starting",
          onProblem: (problem) => {
            this.#setProblem("ports", problem);
          },
        },
        this.#deps.proof,
      );
    await using supervisor = binary && volunteer ? this.#superviseWith(prefix, client, binary, volunteer) : undefined;
    this.#supervisor = supervisor;

    let leftOver: AgentExit | undefined;
    let closed: ClosedRecord | undefined;
    const ending = new AbortController();
    const living = AbortSignal.any([signal, ending.signal]);
    setMaxListeners(100, living); // Every part of the agent listens to it; Node would call more than ten a leak.
    const parts: Promise<unknown>[] = [];
    try {
      if (begin.kind === "found" && supervisor) await found({ client, machine, options, clock, log }, prefix, supervisor, living);
      // A server with data serves before anybody is asked: a power cut of all hosts heals itself.
      const serving = begin.kind === "continue" ? this.#keep("server", supervisor?.run(living), ending, parts) : undefined;
      void this.#keep(
        "space",
        keepSpace(
          {
            client,
            options,
            view: this.#view,
            clock,
            log,
            votes: () => this.#role() === "voter",
            onProblem: (problem) => {
              this.#setProblem("space", problem);
            },
          },
          living,
        ),
        ending,
        parts,
      );
      if (crashed && begin.kind !== "found") {
        if ((await this.#safely({ prefix, client, binary }, living)) === "leave") return stays(safeModeLastWords);
      } else void this.#keep("calm", this.#calm(prefix, living), ending, parts);
      this.#phase = begin.kind === "found" ? "running" : "joining";
      this.#tell();
      const seen = await firstOf<Membership | "leave">(
        living,
        (s) =>
          join(
            { client, machine, options, clock, log },
            {
              clusterId: prefix.state.clusterId,
              hasData: begin.kind === "continue",
              startFirst: prefix.state.startFirst ?? [],
            },
            s,
          ),
        (s) => this.#untilLeaveAsked(s),
      );
      if (seen === "leave") return { exitCode: 0, error: undefined, how: "stopped", notice: undefined };
      if (prefix.state.clusterId === undefined) await prefix.save({ clusterId: seen.clusterId });
      if (prefix.state.startFirst !== undefined) await prefix.save({ startFirst: undefined });
      if (begin.kind === "continue") await wakeUp({ client, options, clock, log }, living);
      const unfit = binary && (await fitsCluster(binary, client, seen, living));
      if (unfit !== undefined) {
        log.warn({ problem: unfit }, "this host cannot hold a seat");
        this.#setProblem("etcd", unfit);
      }
      const presence = this.#present(client, this.#firstAppearance(prefix, binary, unfit));
      void this.#keep("view", this.#view.follow(client, { clock, log }, living), ending, parts);
      const candidate: CandidateDeps = {
        machine,
        client,
        options,
        view: this.#view,
        clock,
        log,
        back: new StandBack(clock),
        onLeading: (leading) => {
          this.#leading = leading;
          this.#tell();
        },
        onMayLead: (whyNot) => {
          this.#cannotLead = whyNot === undefined ? undefined : `this host can not lead: ${whyNot}`;
          this.#tell();
        },
        onError: this.#deps.onError,
      };
      const present = new AbortController();
      // A stop does not end it at once: the restart is announced first, and only then the session ends.
      const presentSignal = AbortSignal.any([ending.signal, present.signal]);
      const presenceDone = this.#keep(
        "presence",
        presence.run((session, s) => (options.server ? standAndLead(candidate, session, s) : aborted(s)), presentSignal),
        ending,
        parts,
        present.signal,
      );
      if (!serving) void this.#keep("server", supervisor?.run(living), ending, parts);
      void this.#keep("volunteer", volunteer?.run(living), ending, parts);
      void this.#keep(
        "endpoints",
        followEndpoints(
          {
            client,
            options,
            prefix,
            view: this.#view,
            clock,
            votes: () => this.#role() === "voter",
            onChange: () => {
              this.#tell();
            },
          },
          living,
        ),
        ending,
        parts,
      );
      if (options.replica) {
        const warm = {
          folder: joinPath(prefix.folder, "world"),
          namespace: options.keys.namespace,
          worldGroup: options.worldGroup,
          clock,
        };
        const of = { clusterId: seen.clusterId, endpoints: client.endpoints.urls(), log: log.child({ part: "replica" }) };
        void this.#keep("replica", keepReplicaWarm({ ...warm, ...of }, living), ending, parts);
      }
      const backAgain = (): boolean =>
        this.#phase !== "stopping" &&
        (this.#news.kind === "serving" || (this.#news.kind === "none" && prefix.state.seat === undefined));
      void this.#keep("restarted", endRestart({ client, options, clock }, this.#view, backAgain, living), ending, parts);
      void this.#keep("flags", tellIgnoredPolicy({ options, view: this.#view, log }, living), ending, parts);
      if (begin.kind !== "found")
        void this.#keep("size", tellIgnoredSize({ client, options, clock, log }, living), ending, parts);
      void this.#keep("ready", this.#announce(begin.kind === "found", living), ending, parts);
      try {
        const ends = { client, machine, options, prefix, view: this.#view, presence, clock, log };
        const serverless = (): boolean => this.#news.kind === "none";
        const cutOff = (): boolean => presence.session === undefined && prefix.state.seat === undefined;
        const why = await firstOf<"leave" | ClosedRecord | readonly string[]>(
          living,
          (s) => this.#untilLeaveAsked(s),
          (s) => untilClosed(ends, seen.revision, s),
          (s) => untilForsaken(ends, cutOff, s),
        );
        this.#phase = "leaving";
        this.#tell();
        if (why === "leave") leftOver = await leave({ ...ends, serverless }, living);
        else if ("host" in why) {
          closed = why;
          leftOver = await endClosed({ ...ends, serverless }, why, living);
        } else leftOver = await endForsaken(ends, why);
      } finally {
        // The session ends while the server still serves it, so that the keys go at once and not with the lease.
        this.#phase = "stopping";
        this.#tell();
        if (leftOver?.how !== "left" && closed === undefined) await this.#announceRestart(prefix, client);
        present.abort(new DOMException("The agent ends", "AbortError"));
        await presenceDone;
      }
      return leftOver;
    } catch (error) {
      if (ending.signal.aborted && !signal.aborted) throw ending.signal.reason as Error;
      throw error;
    } finally {
      ending.abort(new DOMException("The agent ends", "AbortError"));
      await Promise.allSettled(parts);
    }
  }

  #present(client: EtcdClient, first: Appearance): Presence {
    const { clock, log } = this.#deps;
    const { keys, hostname, sessionTtlMs: ttlMs } = this.#options;
    const presence = new Presence({ client, keys, hostname, clock, log, view: this.#view, ttlMs }, first);
    this.#presence = presence;
    this.#showServer();
    return presence;
  }

  async #announceRestart(prefix: Prefix, client: EtcdClient): Promise<void> {
    const { clock } = this.#deps;
    const options = this.#options;
    if (prefix.state.seat === undefined || options.prefix === undefined) return;
    const { restartGraceMs } = this.#view.policy() ?? options.policy;
    await announceRestart({ client, options, clock }, restartGraceMs).catch(() => undefined);
  }

  /** Safe mode, from the start of the server on. The view follows nothing meanwhile. */
  async #safely(
    { prefix, client, binary }: { readonly prefix: Prefix; readonly client: EtcdClient; readonly binary: Binary | undefined },
    signal: AbortSignal,
  ): Promise<"leave" | "over"> {
    const { clock, log } = this.#deps;
    this.#phase = "safe-mode";
    this.#setProblem("crashes", safeModeProblem);
    const first = this.#firstAppearance(prefix, binary, safeModeProblem);
    let end: "leave" | "over" | undefined;
    try {
      const presence = this.#present(client, first);
      return (end = await safeMode({ prefix, presence, clock, log }, (s) => this.#untilLeaveAsked(s), signal));
    } finally {
      if (end !== "over") await this.#announceRestart(prefix, client);
      this.#presence = undefined;
      this.#setProblem("crashes", undefined);
    }
  }

  /** Whoever has lived long enough has not crashed. */
  async #calm(prefix: Prefix, signal: AbortSignal): Promise<void> {
    await this.#deps.clock.sleep(crashWindowMs, signal);
    await forgetStarts(prefix);
  }

  /** Runs a part that should never end; when it fails, the agent ends with its error. */
  #keep(
    name: string,
    part: Promise<unknown> | undefined,
    ending: AbortController,
    parts: Promise<unknown>[],
    quiet?: AbortSignal,
  ): Promise<void> {
    const kept = (part ?? Promise.resolve()).then(
      () => undefined,
      (error: unknown) => {
        if (ending.signal.aborted || this.#stopping.signal.aborted || quiet?.aborted === true) return;
        this.#deps.log.error({ err: error, part: name }, "a part of the agent failed");
        ending.abort(error);
      },
    );
    parts.push(kept);
    return kept;
  }

  #superviseWith(prefix: Prefix, client: EtcdClient, binary: Binary, volunteer: Volunteer): ServerSupervisor {
    const { machine, clock, log, onServerExited, onError } = this.#deps;
    return new ServerSupervisor({
      machine,
      options: this.#options,
      prefix,
      binary: binary.path,
      client,
      view: this.#view,
      clock,
      log: log.child({ part: "server" }),
      freePorts: () => volunteer.freePorts(),
      onNews: (news) => {
        this.#onServerNews(news);
      },
      onExit: onServerExited,
      onError,
    });
  }

  #firstAppearance(prefix: Prefix, binary: Binary | undefined, unfit: string | undefined): Appearance {
    const { zone, priority, advertiseServerUrls, server, given, chooser } = this.#options;
    const volunteering = server && unfit === undefined;
    return {
      record: {
        schema: 1,
        identity: prefix.state.identity,
        instance: prefix.state.instance,
        quorate: quorateVersion,
        ...(binary ? { etcd: binary.version } : {}),
        zone,
        priority,
        volunteering,
        server: "none",
        proof: this.#deps.proof,
        ...(Object.keys(given.policy).length === 0 ? {} : { flags: given.policy }),
        ...(chooser === dynamicSize ? {} : { chooser: chooser.name }),
      },
      volunteer: volunteering ? advertiseServerUrls.join(",") : undefined,
      endpoints: undefined,
      leaving: undefined,
    };
  }

  async #announce(founded: boolean, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    const server = this.#supervisor?.server;
    if (founded && server) await assertUnknown(server, clock, signal);
    await this.#view.until(() => this.#view.complete && this.#presence?.written === true, signal);
    this.#phase = this.#leaving ? "leaving" : "running";
    this.#tell();
    log.info({ role: this.#role() }, "ready");
    this.#setReady();
  }

  #onServerNews(news: ServerNews): void {
    const before = this.#news;
    if (JSON.stringify(before) === JSON.stringify(news)) {
      // The data folder may have begun anew all the same: what is nominated must be this instance.
      if (this.#presence?.wanted.record.instance !== this.#prefix?.state.instance) this.#showServer();
      return;
    }
    this.#news = news;
    if (news.kind === "serving" && before.kind !== "serving") {
      const server = this.#supervisor?.server;
      if (server) this.#deps.onServerReady(server);
    }
    this.#deps.log.info({ server: news }, "server state");
    this.#showServer();
    this.#bell.ring();
    this.#view.ring();
    this.#tell();
  }

  /** Writes what the server is into this agent's keys. */
  #showServer(): void {
    const news = this.#news;
    const serves = news.kind === "serving" && !news.learner;
    const problem = "problem" in news ? news.problem : this.#problem;
    this.#presence?.show({
      endpoints: serves ? this.#options.advertiseClientUrls.join(",") : undefined,
      record: {
        server: news.kind,
        member: "memberId" in news ? news.memberId : undefined,
        instance: this.#prefix?.state.instance ?? "",
        problem,
      },
    });
  }

  /** The first of what is wrong is shown. */
  #setProblem(about: "crashes" | "ports" | "space" | "etcd", problem: string | undefined): void {
    if (problem === undefined) this.#problems.delete(about);
    else this.#problems.set(about, problem);
    this.#showServer();
    this.#tell();
  }

  get #problem(): string | undefined {
    return [...this.#problems.values()][0];
  }

  async #untilLeaveAsked(signal: AbortSignal): Promise<"leave"> {
    while (!this.#leaving) await this.#bell.wait(signal);
    return "leave";
  }

  #role(): AgentStatus["role"] {
    if (this.#news.kind === "serving") return this.#news.learner ? "learner" : "voter";
    return this.#options.server ? "spare" : "client";
  }

  #tell(): void {
    const plan = this.#view.plan();
    const serving = this.#news.kind === "serving";
    const status: AgentStatus = {
      hostname: this.#options.hostname,
      phase: this.#phase,
      role: this.#role(),
      leader: this.#view.leader(),
      leading: this.#leading,
      prefix: this.#prefix?.folder ?? this.#options.prefix,
      clusterId: this.#prefix?.state.clusterId,
      memberId: "memberId" in this.#news ? this.#news.memberId : undefined,
      serverPid: this.#supervisor?.server?.pid,
      clientUrls: serving ? this.#options.advertiseClientUrls : [],
      endpoints: this.#client?.endpoints.urls() ?? this.#options.seeds,
      members: [...this.#view.seats()].filter(([, seat]) => seat.member !== undefined).map(([host]) => host),
      idealClusterSize: plan?.ideal,
      failureTolerance: plan?.failureTolerance,
      because: plan?.because,
      problem: ("problem" in this.#news ? this.#news.problem : this.#problem) ?? this.#cannotLead,
    };
    const text = JSON.stringify(status);
    if (text === this.#status) return;
    this.#status = text;
    this.#deps.onStatus(status);
  }
}
