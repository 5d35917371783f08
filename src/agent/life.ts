import { join as joinPath } from "node:path";
import type { Logger } from "pino";
import { Doorbell, aborted, firstOf, type Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { keepReplicaWarm } from "../world/replica/warm.ts";
import type { PartsHere } from "../world/converged/here.ts";
import type { ServerExit } from "../embed/index.ts";
import type { EtcdClient, Membership } from "../etcd/index.ts";
import { fitsCluster, type Binary } from "./begin/binary.ts";
import { standAndLead, type CandidateDeps } from "./control/candidate.ts";
import { ControlView } from "./control/control-view.ts";
import { followEndpoints } from "./control/follow-endpoints.ts";
import { assertUnknown, found, startAnew } from "./begin/founder.ts";
import { crashWindowMs, forgetStarts, noteStart } from "./begin/crashes.ts";
import { beginning, join } from "./begin/join.ts";
import { beginExpecting } from "./begin/agree.ts";
import { beginTogether } from "./begin/together.ts";
import { assertSameMachine } from "./begin/same-machine.ts";
import { safeMode, safeModeProblem } from "./begin/safe-mode.ts";
import { wakeUp } from "./begin/wake.ts";
import { Converging, convergedReason } from "./converging.ts";
import { endClosed, endForsaken, untilClosed, untilForsaken } from "./closing.ts";
import { leave, stays } from "./leave.ts";
import type { ClosedRecord } from "./control/records.ts";
import { Presence, type Appearance } from "./control/presence.ts";
import { StandBack } from "./lead/stand-back.ts";
import { tellIgnoredPolicy, tellIgnoredSize } from "./own-flags.ts";
import { Parts } from "./parts.ts";
import { announceRestart, endRestart } from "./restart.ts";
import type { Machine, RunningServer } from "./machine.ts";
import type { OwnWorld } from "./own-world.ts";
import type { ResolvedOptions } from "./resolve.ts";
import { certificateFolder } from "./authority/folder.ts";
import { keepAuthorities } from "./authority/keep.ts";
import { holderOf } from "./authority/prepare.ts";
import { serveJoins } from "./authority/serve.ts";
import { socketIn } from "./no-network.ts";
import { filesOf } from "./resolve-tls.ts";
import { Self, firstAppearance } from "./self.ts";
import { warnOfExpiry } from "./server/certificates.ts";
import { keepSpace } from "./server/space.ts";
import { beforeStop, stopWaitMs } from "./stop-in-place.ts";
import { ServerSupervisor, type ServerNews } from "./server/supervisor.ts";
import { noteFiles, type Prefix } from "./begin/state.ts";
import type { AgentExit, AgentStatus } from "./status.ts";
import { Volunteer } from "./server/volunteer.ts";

interface LifeDeps {
  readonly machine: Machine;
  readonly clock: Clock;
  readonly log: Logger;
  /** Key of the proof this agent gives at pre-flight. */
  readonly proof: string;
  /** What its program has asked of the World. */
  readonly world: OwnWorld;
  /** What is converged or not: its own parts, and those of its program. */
  readonly here: PartsHere;
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
  readonly #self: Self;
  readonly #stopping = new AbortController();
  readonly #hurried = new AbortController();
  readonly #bell = new Doorbell();
  #setReady: () => void = () => undefined;
  #failReady: (error: unknown) => void = () => undefined;
  #leaving = false;
  #isReady = false;
  readonly #converging: Converging;
  /** Why it ends, where it does so by itself and in good order. */
  #ends: { readonly reason: string; readonly notice: string } | undefined;

  constructor(options: ResolvedOptions, deps: LifeDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#view = new ControlView(options.keys);
    this.#self = new Self(options, this.#view, (status) => {
      deps.onStatus(status);
      this.#converging.ring();
    });
    const { here, clock, log, onError } = deps;
    this.#converging = new Converging({
      options,
      here,
      view: this.#view,
      clock,
      log: log.child({ part: "converger" }),
      own: () => ({
        ready: this.#isReady,
        phase: this.#self.phase,
        news: this.#self.news,
        hasSeat: this.#self.prefix?.state.seat !== undefined,
        seat: this.#view.seats().get(options.hostname),
        leader: this.#view.leader(),
        plan: this.#view.plan(),
      }),
      onEnd: () => {
        this.#end({ reason: convergedReason, notice: "all hosts are converged" });
      },
      onError,
    });
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

  /** Stops, and waits for nobody before that. */
  hurry(): void {
    this.#hurried.abort(new DOMException("The agent was asked to hurry", "AbortError"));
    this.stop();
  }

  stop(): void {
    this.#stopping.abort(new DOMException("The agent was asked to stop", "AbortError"));
  }

  /** As SIGTERM ends it. */
  #end(ends: { readonly reason: string; readonly notice: string }): void {
    this.#ends ??= ends;
    this.#deps.log.info({ reason: ends.reason }, `ending: ${ends.notice}`);
    if (this.#options.prefix === undefined || this.#options.leaveOnTerminate) this.leave();
    else this.stop();
  }

  /** Lives. Settles when nothing is left; never rejects. */
  async run(outer: AbortSignal): Promise<AgentExit> {
    const signal = AbortSignal.any([outer, this.#stopping.signal]);
    const over = new AbortController();
    void this.#endInTime(over.signal);
    let exit: AgentExit;
    try {
      exit = await this.#live(signal).finally(() => this.#deps.world.close());
    } catch (error) {
      if (signal.aborted) exit = { exitCode: 0, error: undefined, how: "stopped", notice: undefined };
      else exit = { exitCode: error instanceof QuorateError ? error.exitCode : 1, error, how: "failed", notice: undefined };
    }
    over.abort(new DOMException("The agent has ended", "AbortError"));
    this.#deps.here.close();
    if (exit.error === undefined && this.#ends !== undefined) exit = { ...exit, notice: exit.notice ?? this.#ends.notice };
    this.#failReady(exit.error ?? new QuorateError("CLOSED", "Cannot become ready: the agent has ended"));
    this.#self.phase = "stopped";
    this.#self.tell();
    return exit;
  }

  /** To itself, and to whoever joins. */
  #giveCertificates(prefix: Prefix, client: EtcdClient, parts: Parts): void {
    const { clock, log } = this.#deps;
    const options = this.#options;
    const folder = certificateFolder(prefix.folder);
    const deps = { client, keys: options.keys, folder, clock, log };
    void parts.keep("authorities", keepAuthorities({ ...deps, view: this.#view, holder: holderOf(options) }, parts.living));
    if (!options.server) return;
    const onProblem = (problem: string | undefined): void => {
      this.#self.setProblem("joins", problem);
    };
    void parts.keep("joins", serveJoins({ ...deps, urls: options.joinUrls, onProblem }, parts.living));
  }

  #warnOfExpiry(signal: AbortSignal): Promise<void> {
    const { machine, clock, log } = this.#deps;
    const { tls } = this.#options;
    if (tls.clients === undefined && tls.peers === undefined) return Promise.resolve();
    const onProblem = (problem: string | undefined): void => {
      this.#self.setProblem("certificates", problem);
    };
    return warnOfExpiry({ files: this.#options, inspect: machine.inspectFiles, clock, log, onProblem }, signal);
  }

  async #endInTime(signal: AbortSignal): Promise<void> {
    const { maxRuntimeMs } = this.#options;
    if (maxRuntimeMs === 0) return;
    const ends = { reason: "it was to run for so long", notice: `it has run for ${maxRuntimeMs / 1_000} s, as it was to` };
    await this.#deps.clock.sleep(maxRuntimeMs, signal).then(
      () => {
        this.#end(ends);
      },
      () => undefined,
    );
  }

  async #live(signal: AbortSignal): Promise<AgentExit> {
    const { machine, clock, log } = this.#deps;
    const options = this.#options;
    await this.#converging.begin();
    if (options.server) await machine.assertPortsFree([...options.clientUrls, ...options.serverUrls]);
    await using prefix = await machine.openPrefix(options.prefix, options.hostname);
    this.#self.prefix = prefix;
    await assertSameMachine(prefix, machine.id(), options.moved || options.newCluster);
    if (options.autoTls) await machine.prepareCertificates({ options, prefix, clock, log }, signal);
    await machine.inspectFiles(options, clock.wallTime());
    await noteFiles(prefix, {
      tls: filesOf(options.tls.clients),
      login: options.login,
      socket: options.noNetwork ? socketIn(prefix.folder) : undefined,
    });
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
    const begin =
      (await beginTogether({ machine, options, clock, log }, data, prefix.state, signal)) ??
      (await beginExpecting({ machine, options, clock, log }, data, prefix, signal)) ??
      beginning({ ...options, data, state: prefix.state });
    log.info(
      {
        prefix: prefix.folder,
        begins: begin.kind,
        ...(begin.kind === "join" ? { through: begin.through } : {}),
        ...(binary ? { etcd: binary.version } : {}),
      },
      begin.kind === "found" ? "founding a cluster" : begin.kind === "join" ? "joining a cluster" : "continuing with own data",
    );
    this.#self.tell();

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
    this.#self.client = client;
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
          portsInUse: () => this.#self.news.kind === "serving" || this.#self.news.kind === "starting",
          onProblem: (problem) => {
            this.#self.setProblem("ports", problem);
          },
        },
        this.#deps.proof,
      );
    await using supervisor = binary && volunteer ? this.#superviseWith(prefix, client, binary, volunteer) : undefined;
    this.#self.supervisor = supervisor;

    let leftOver: AgentExit | undefined;
    let closed: ClosedRecord | undefined;
    const parts = new Parts(signal, log, () => this.#stopping.signal.aborted);
    const { living } = parts;
    try {
      if (begin.kind === "found" && supervisor)
        await found({ client, machine, options, clock, log }, prefix, supervisor, begin.together, living);
      // A server with data serves before anybody is asked: a power cut of all hosts heals itself.
      const serving = begin.kind === "continue" ? parts.keep("server", supervisor?.run(living)) : undefined;
      void parts.keep(
        "space",
        keepSpace(
          {
            client,
            options,
            view: this.#view,
            clock,
            log,
            votes: () => this.#self.role() === "voter",
            onProblem: (problem) => {
              this.#self.setProblem("space", problem);
            },
          },
          living,
        ),
      );
      if (crashed && begin.kind !== "found") {
        if ((await this.#safely({ prefix, client, binary }, living)) === "leave") return stays(safeModeLastWords);
      } else void parts.keep("calm", this.#calm(prefix, living));
      this.#self.phase = begin.kind === "found" ? "running" : "joining";
      this.#self.tell();
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
        this.#self.setProblem("etcd", unfit);
      }
      const presence = this.#present(client, firstAppearance(options, prefix, binary, this.#deps.proof, unfit));
      void parts.keep("converger", this.#converging.run(client, seen.revision, living));
      void parts.keep("view", this.#view.follow(client, { clock, log }, living));
      const candidate: CandidateDeps = {
        machine,
        client,
        options,
        view: this.#view,
        clock,
        log,
        back: new StandBack(clock),
        onLeading: (leading) => {
          this.#self.leading = leading;
          this.#self.tell();
        },
        onMayLead: (whyNot) => {
          this.#self.cannotLead = whyNot === undefined ? undefined : `this host can not lead: ${whyNot}`;
          this.#self.tell();
        },
        onError: this.#deps.onError,
      };
      const present = new AbortController();
      // A stop does not end it at once: the restart is announced first, and only then the session ends.
      const presenceDone = parts.keep(
        "presence",
        presence.run(
          (session, s) => (options.server ? standAndLead(candidate, session, s) : aborted(s)),
          parts.livingUntil(present.signal),
        ),
        present.signal,
      );
      if (!serving) void parts.keep("server", supervisor?.run(living));
      void parts.keep("volunteer", volunteer?.run(living));
      void parts.keep(
        "endpoints",
        followEndpoints(
          {
            client,
            options,
            prefix,
            view: this.#view,
            clock,
            votes: () => this.#self.role() === "voter",
            runs: () => supervisor?.server !== undefined,
            onChange: () => {
              this.#self.tell();
            },
          },
          living,
        ),
      );
      this.#deps.world.isAt({ folder: prefix.folder, clusterId: seen.clusterId, endpoints: client.endpoints.urls() });
      if (options.replica) {
        const warm = {
          folder: joinPath(prefix.folder, "world"),
          namespace: options.keys.namespace,
          worldGroup: options.worldGroup,
          tls: filesOf(options.tls.clients),
          login: options.login,
          socket: options.noNetwork ? socketIn(prefix.folder) : undefined,
          clock,
        };
        const of = { clusterId: seen.clusterId, endpoints: client.endpoints.urls(), log: log.child({ part: "replica" }) };
        void parts.keep("replica", keepReplicaWarm({ ...warm, ...of }, living));
      }
      const backAgain = (): boolean =>
        this.#self.phase !== "stopping" &&
        (this.#self.news.kind === "serving" || (this.#self.news.kind === "none" && prefix.state.seat === undefined));
      void parts.keep("certificates", this.#warnOfExpiry(living));
      if (options.autoTls) this.#giveCertificates(prefix, client, parts);
      void parts.keep("restarted", endRestart({ client, options, clock }, this.#view, backAgain, living));
      void parts.keep("flags", tellIgnoredPolicy({ options, view: this.#view, log }, living));
      if (begin.kind !== "found") void parts.keep("size", tellIgnoredSize({ client, options, clock, log }, living));
      void parts.keep("ready", this.#announce(begin.kind === "found", living));
      try {
        const ends = { client, machine, options, prefix, view: this.#view, presence, clock, log };
        const serverless = (): boolean => this.#self.news.kind === "none";
        const cutOff = (): boolean => presence.session === undefined && prefix.state.seat === undefined;
        const why = await firstOf<"leave" | ClosedRecord | readonly string[]>(
          living,
          (s) => this.#untilLeaveAsked(s),
          (s) => untilClosed(ends, seen.revision, s),
          (s) => untilForsaken(ends, cutOff, s),
        );
        this.#self.phase = "leaving";
        this.#self.tell();
        if (why === "leave") {
          leftOver = await leave({ ...ends, serverless, reason: this.#ends?.reason ?? "asked to leave" }, living);
        } else if ("host" in why) {
          closed = why;
          leftOver = await endClosed({ ...ends, serverless }, why, living);
        } else leftOver = await endForsaken(ends, why);
      } finally {
        // The session ends while the server still serves it, so that the keys go at once and not with the lease.
        this.#self.phase = "stopping";
        this.#self.tell();
        await this.#deps.world.close();
        if (leftOver?.how !== "left" && closed === undefined)
          await this.#stopInPlace(prefix, client, this.#waitMs(signal, leftOver));
        present.abort(new DOMException("The agent ends", "AbortError"));
        await presenceDone;
      }
      return leftOver;
    } catch (error) {
      if (parts.failure.aborted && !signal.aborted) throw parts.failure.reason as Error;
      throw error;
    } finally {
      await parts.end();
    }
  }

  #present(client: EtcdClient, first: Appearance): Presence {
    const { clock, log } = this.#deps;
    const { keys, hostname, sessionTtlMs: ttlMs } = this.#options;
    const presence = new Presence(
      { client, keys, hostname, clock, log, view: this.#view, ttlMs },
      {
        ...first,
        converged: this.#converging.said,
      },
    );
    this.#self.presence = presence;
    this.#converging.saysThrough(presence);
    this.#self.showServer();
    return presence;
  }

  /** Before the session and the server end: the seat is kept, and the others are left with a quorum, which a stop waits for. */
  async #stopInPlace(prefix: Prefix, client: EtcdClient, waitMs: number): Promise<void> {
    const { clock, log } = this.#deps;
    const options = this.#options;
    const { seat } = prefix.state;
    if (seat === undefined || options.prefix === undefined) return;
    const { restartGraceMs } = this.#view.policy() ?? options.policy;
    try {
      await announceRestart({ client, options, clock }, restartGraceMs, this.#ends?.reason ?? "stopped in place");
    } catch (error) {
      // Who is neither there nor known to come back is replaced: so the session is left to expire, and no sooner.
      this.#self.presence?.leaveLease();
      log.warn({ err: error }, "nobody could be told that this host comes back");
      return;
    }
    if (this.#self.news.kind !== "serving" || this.#hurried.signal.aborted) return;
    await beforeStop({ client, options, clock, log }, seat.memberId, waitMs, this.#hurried.signal).catch((error: unknown) => {
      if (!this.#hurried.signal.aborted) throw error;
    });
  }

  /** A stop that somebody asked for waits; one that follows a leave has waited, and one after a failure must not. */
  #waitMs(signal: AbortSignal, leftOver: AgentExit | undefined): number {
    return signal.aborted && leftOver === undefined ? stopWaitMs : 0;
  }

  /** Safe mode, from the start of the server on. The view follows nothing meanwhile. */
  async #safely(
    { prefix, client, binary }: { readonly prefix: Prefix; readonly client: EtcdClient; readonly binary: Binary | undefined },
    signal: AbortSignal,
  ): Promise<"leave" | "over"> {
    const { clock, log, proof } = this.#deps;
    this.#self.phase = "safe-mode";
    this.#self.setProblem("crashes", safeModeProblem);
    const first = firstAppearance(this.#options, prefix, binary, proof, safeModeProblem);
    let end: "leave" | "over" | undefined;
    try {
      const presence = this.#present(client, first);
      return (end = await safeMode({ prefix, presence, clock, log }, (s) => this.#untilLeaveAsked(s), signal));
    } finally {
      if (end !== "over") await this.#stopInPlace(prefix, client, end === undefined ? stopWaitMs : 0);
      this.#self.presence = undefined;
      this.#self.setProblem("crashes", undefined);
    }
  }

  /** Whoever has lived long enough has not crashed. */
  async #calm(prefix: Prefix, signal: AbortSignal): Promise<void> {
    await this.#deps.clock.sleep(crashWindowMs, signal);
    await forgetStarts(prefix);
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

  async #announce(founded: boolean, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    const server = this.#self.supervisor?.server;
    if (founded && server) await assertUnknown(server, clock, signal);
    await this.#view.until(() => this.#view.complete && this.#self.presence?.written === true, signal);
    this.#self.phase = this.#leaving ? "leaving" : "running";
    this.#self.tell();
    this.#isReady = true;
    this.#converging.ring();
    log.info({ role: this.#self.role() }, "ready");
    this.#setReady();
  }

  #onServerNews(news: ServerNews): void {
    const before = this.#self.news;
    if (!this.#self.hear(news)) {
      // The data folder may have begun anew all the same: what is nominated must be this instance.
      if (this.#self.presence?.wanted.record.instance !== this.#self.prefix?.state.instance) this.#self.showServer();
      return;
    }
    if (news.kind === "serving" && before.kind !== "serving") {
      const server = this.#self.supervisor?.server;
      if (server) this.#deps.onServerReady(server);
    }
    this.#deps.log.info({ server: news }, "server state");
    this.#self.showServer();
    this.#bell.ring();
    this.#view.ring();
    this.#self.tell();
  }

  async #untilLeaveAsked(signal: AbortSignal): Promise<"leave"> {
    while (!this.#leaving) await this.#bell.wait(signal);
    return "leave";
  }
}
