import { setMaxListeners } from "node:events";
import { rm } from "node:fs/promises";
import type { Logger } from "pino";
import { aborted, firstOf, within, type Clock } from "../clock.ts";
import { QuorateError, isRetryable } from "../errors.ts";
import { archiveDataDir, assertPortsFree, inspectDataDir, type EtcdServer, type ServerExit } from "../embed/index.ts";
import { EtcdClient, campaign, grantLease, type Membership, type Session } from "../etcd/index.ts";
import { writeRecord } from "./records.ts";
import { chooseBinary, fitsCluster, type Binary } from "./binary.ts";
import { ControlView } from "./control-view.ts";
import { Doorbell } from "./doorbell.ts";
import { beginning, join, writeFirstKeys } from "./join.ts";
import { lead } from "./lead/lead.ts";
import { Presence, type Appearance } from "./presence.ts";
import { temporaryPrefixRoot, type ResolvedOptions } from "./resolve.ts";
import { ServerSupervisor, type ServerNews } from "./server/supervisor.ts";
import { freshState, Prefix } from "./state.ts";
import type { AgentExit, AgentPhase, AgentStatus } from "./status.ts";
import { Volunteer } from "./volunteer.ts";
import { quorateVersion } from "./version.ts";

interface LifeDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Key of the proof this agent gives at pre-flight. */
  readonly proof: string;
  readonly onStatus: (status: AgentStatus) => void;
  readonly onServerReady: (server: EtcdServer) => void;
  readonly onServerExited: (exit: ServerExit) => void;
  readonly onError: (error: unknown) => void;
}

/** A founder listens this long for others that know its address from another cluster. */
const founderDoubtMs = 3_000;
/** A leave becomes a stop in place after this long. */
const leaveMs = 30_000;
/** How long a restarting agent keeps its seat. */
const restartGraceMs = 300_000;

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
  #problem: string | undefined;
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
    const { clock, log } = this.#deps;
    const options = this.#options;
    if (options.server) await assertPorts(options);
    await using prefix = await Prefix.open(options.prefix, temporaryPrefixRoot(), options.hostname);
    this.#prefix = prefix;
    const binary = options.server ? await chooseBinary(options, log, signal) : undefined;
    if (options.newCluster) await startAnew(prefix, clock, log);
    const data = await inspectDataDir(prefix.dataDir);
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

    const own = begin.kind === "join" ? [] : options.advertiseClientUrls;
    await using client = EtcdClient.create({
      endpoints: [...new Set([...own, ...(begin.kind === "join" ? begin.through : prefix.state.endpoints)])],
      clock,
      log: log.child({ part: "etcd" }),
      ...(prefix.state.clusterId === undefined || begin.kind === "found" ? {} : { clusterId: prefix.state.clusterId }),
    });
    this.#client = client;
    const volunteer =
      binary &&
      new Volunteer(
        {
          options,
          view: this.#view,
          clock,
          log,
          folder: prefix.folder,
          etcdVersion: binary.version,
          portsInUse: () => this.#news.kind === "serving" || this.#news.kind === "starting",
          onProblem: (problem) => {
            this.#setProblem(problem);
          },
        },
        this.#deps.proof,
      );
    await using supervisor = binary && volunteer ? this.#superviseWith(prefix, client, binary, volunteer) : undefined;
    this.#supervisor = supervisor;

    let leftOver: AgentExit | undefined;
    const ending = new AbortController();
    const living = AbortSignal.any([signal, ending.signal]);
    setMaxListeners(100, living); // Every part of the agent listens to it; Node would call more than ten a leak.
    const parts: Promise<unknown>[] = [];
    try {
      if (begin.kind === "found") await this.#found(prefix, supervisor, living);
      // A server with data serves before anybody is asked: a power cut of all hosts heals itself.
      const serving = begin.kind === "continue" ? this.#keep("server", supervisor?.run(living), ending, parts) : undefined;
      this.#phase = begin.kind === "found" ? "running" : "joining";
      this.#tell();
      const seen = await firstOf<Membership | "leave">(
        living,
        (s) =>
          join({ client, options, clock, log }, { clusterId: prefix.state.clusterId, hasData: begin.kind === "continue" }, s),
        (s) => this.#untilLeaveAsked(s),
      );
      if (seen === "leave") return { exitCode: 0, error: undefined, how: "stopped", notice: undefined };
      if (prefix.state.clusterId === undefined) await prefix.save({ clusterId: seen.clusterId });
      const unfit = binary && (await fitsCluster(binary, client, seen, living));
      if (unfit !== undefined) {
        log.warn({ problem: unfit }, "this host cannot hold a seat");
        this.#setProblem(unfit);
      }
      const presence = new Presence(
        { client, keys: options.keys, hostname: options.hostname, clock, log, view: this.#view, ttlMs: options.sessionTtlMs },
        this.#firstAppearance(prefix, binary, unfit),
      );
      this.#presence = presence;
      this.#showServer();
      this.#keep("view", this.#view.follow(client, { clock, log }, living), ending, parts);
      const present = new AbortController();
      const presentSignal = AbortSignal.any([living, present.signal]);
      const presenceDone = this.#keep(
        "presence",
        presence.run((session, s) => this.#onSession(session, s), presentSignal),
        ending,
        parts,
        present.signal,
      );
      if (!serving) this.#keep("server", supervisor?.run(living), ending, parts);
      this.#keep("volunteer", volunteer?.run(living), ending, parts);
      this.#keep("endpoints", this.#followEndpoints(prefix, client, living), ending, parts);
      this.#keep("restarted", this.#endRestart(prefix, client, living), ending, parts);
      this.#keep("ready", this.#announce(begin.kind === "found", living), ending, parts);
      try {
        await this.#untilLeaveAsked(living);
        leftOver = await this.#leave(living);
      } finally {
        // The session ends while the server still serves it, so that the keys go at once and not with the lease.
        this.#phase = "stopping";
        this.#tell();
        const keepsSeat = prefix.state.seat !== undefined && options.prefix !== undefined;
        if (leftOver?.how !== "left" && keepsSeat) await this.#announceRestart(client).catch(() => undefined);
        present.abort(new DOMException("The agent ends", "AbortError"));
        await presenceDone;
      }
      return leftOver;
    } catch (error) {
      if (ending.signal.aborted && !signal.aborted) throw ending.signal.reason;
      throw error;
    } finally {
      ending.abort(new DOMException("The agent ends", "AbortError"));
      await Promise.allSettled(parts);
    }
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
    const { clock, log, onServerExited, onError } = this.#deps;
    return new ServerSupervisor({
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

  async #found(prefix: Prefix, supervisor: ServerSupervisor | undefined, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    if (!supervisor || !this.#client) throw new QuorateError("FAILED", "Cannot found a cluster without a server");
    const { clusterId } = await supervisor.found(signal);
    await writeFirstKeys(
      { client: this.#client, options: this.#options, clock, log },
      { schema: 1, clusterId, foundedBy: this.#options.hostname },
      signal,
    );
    const { memberId } = prefix.state.seat ?? { memberId: "" };
    const { keys, hostname, advertiseServerUrls } = this.#options;
    await this.#client.txn(
      {
        then: [
          { put: keys.nominated.key(hostname), value: advertiseServerUrls.join(",") },
          {
            put: keys.seats.key(hostname),
            value: writeRecord("seat", {
              schema: 1,
              instance: prefix.state.instance,
              member: memberId,
              role: "voter",
              standby: false,
            }),
          },
        ],
      },
      { signal, repeatable: true },
    );
  }

  #firstAppearance(prefix: Prefix, binary: Binary | undefined, unfit: string | undefined): Appearance {
    const { zone, priority, advertiseServerUrls, server } = this.#options;
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
      },
      volunteer: volunteering ? advertiseServerUrls.join(",") : undefined,
      endpoints: undefined,
      leaving: undefined,
    };
  }

  /** While a session lives: campaign, and lead when elected. Agents without a server option, and guests of a plain etcd, never lead. */
  async #onSession(session: Session, signal: AbortSignal): Promise<never> {
    const { clock, log } = this.#deps;
    const { keys, hostname, server } = this.#options;
    const client = this.#client;
    if (!server || !client) return aborted(signal);
    for (;;) {
      const leadership = await campaign(
        {
          client,
          session,
          prefix: keys.leader.prefix,
          value: hostname,
          clock,
          log,
          untilDeleted: (key, revision, s) => this.#untilDeleted(key, revision, s),
        },
        signal,
      );
      try {
        this.#leading = true;
        this.#tell();
        await lead(
          { client, keys, clock, log: log.child({ part: "leader" }), view: this.#view, options: this.#options },
          leadership,
          signal,
        );
      } catch (error) {
        signal.throwIfAborted();
        const over = leadership.signal.aborted || isRetryable(error);
        if (!over) log.error({ err: error }, "leading failed; letting another agent lead");
        this.#deps.onError(error);
        await leadership.resign().catch(() => undefined);
        await clock.sleep(over ? 250 : 10_000, signal);
      } finally {
        this.#leading = false;
        this.#tell();
      }
    }
  }

  async #untilDeleted(key: string, revision: number, signal: AbortSignal): Promise<void> {
    const bell = new Doorbell();
    const done = new AbortController();
    this.#view.subscribe(bell, AbortSignal.any([signal, done.signal]));
    try {
      while (!this.#view.complete || this.#view.revision < revision || this.#view.get(key)?.createRevision === revision)
        await bell.wait(signal);
    } finally {
      done.abort();
    }
  }

  /** Keeps the client on the endpoints of the cluster as they change, and on disk for the next start. */
  async #followEndpoints(prefix: Prefix, client: EtcdClient, signal: AbortSignal): Promise<never> {
    const { advertiseClientUrls, seeds } = this.#options;
    const bell = new Doorbell();
    this.#view.subscribe(bell, signal);
    for (;;) {
      const known = this.#view.endpoints();
      if (known.length > 0) {
        const votes = this.#news.kind === "serving" && !this.#news.learner;
        const others = known.filter((url) => !advertiseClientUrls.includes(url));
        const list = [...new Set([...(votes ? advertiseClientUrls : []), ...others])];
        const all = [...new Set([...list, ...seeds.filter((url) => votes || !advertiseClientUrls.includes(url))])];
        if (list.length > 0) client.endpoints.set(all, votes ? advertiseClientUrls[0] : undefined);
        const keep = [...known].sort();
        if (keep.join() !== prefix.state.endpoints.join()) await prefix.save({ endpoints: keep });
      } else if (!this.#options.server) await this.#followMembers(client, signal).catch(() => undefined);
      this.#tell();
      if (known.length > 0 || this.#options.server) await bell.wait(signal);
      else {
        await firstOf<void>(
          signal,
          (own) => bell.wait(own),
          (own) => this.#deps.clock.sleep(30_000, own),
        );
      }
    }
  }

  /** A plain etcd has no endpoint keys: its member list says where its voters serve. */
  async #followMembers(client: EtcdClient, signal: AbortSignal): Promise<void> {
    const { members } = await client.readMembership({ signal });
    const urls = members.filter((row) => !row.learner).flatMap((row) => row.clientUrls);
    client.endpoints.set([...new Set([...this.#options.seeds, ...urls])]);
  }

  async #announce(founded: boolean, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    if (founded) await this.#assertUnknown(signal);
    const bell = new Doorbell();
    this.#view.subscribe(bell, signal);
    for (;;) {
      if (this.#view.complete && this.#presence?.written === true) break;
      await firstOf<void>(
        signal,
        (own) => bell.wait(own),
        (own) => clock.sleep(50, own),
      );
    }
    this.#phase = this.#leaving ? "leaving" : "running";
    this.#tell();
    log.info({ role: this.#role() }, "ready");
    this.#setReady();
  }

  /** A cluster that knows this host's address sends it messages with another cluster id: then there is one to join, not to found. */
  async #assertUnknown(signal: AbortSignal): Promise<void> {
    const server = this.#supervisor?.server;
    if (!server) return;
    const known = new Promise<never>((_, reject) => {
      const subscription = server.lines$.subscribe(({ msg }) => {
        if (!msg.includes("request cluster ID mismatch")) return;
        subscription.unsubscribe();
        reject(
          new QuorateError(
            "WRONG_CLUSTER",
            "Cannot found a cluster: members of another cluster know this host by its server URL",
            {
              hint: "join that cluster with --seeds, or give this host another server URL",
            },
          ),
        );
      });
      signal.addEventListener("abort", () => {
        subscription.unsubscribe();
      });
    });
    known.catch(() => undefined);
    await Promise.race([known, this.#deps.clock.sleep(founderDoubtMs, signal)]);
  }

  #onServerNews(news: ServerNews): void {
    const before = this.#news;
    if (JSON.stringify(before) === JSON.stringify(news)) return;
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

  #setProblem(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#showServer();
    this.#tell();
  }

  async #untilLeaveAsked(signal: AbortSignal): Promise<"leave"> {
    while (!this.#leaving) await this.#bell.wait(signal);
    return "leave";
  }

  /** Leaves: offers nothing any more, and waits to be replaced or let go. */
  async #leave(signal: AbortSignal): Promise<AgentExit> {
    const { clock, log } = this.#deps;
    this.#phase = "leaving";
    this.#tell();
    log.info("leaving");
    this.#presence?.show({ volunteer: undefined, leaving: "asked to leave", record: { volunteering: false } });
    const bell = new Doorbell();
    const done = new AbortController();
    this.#view.subscribe(bell, AbortSignal.any([signal, done.signal]));
    const stays = (notice: string): AgentExit => ({ exitCode: 0, error: undefined, how: "stopped", notice });
    try {
      return await within<AgentExit>(
        leaveMs,
        clock,
        signal,
        async (own) => {
          for (;;) {
            const seat = this.#prefix?.state.seat;
            if (
              !seat &&
              this.#view.get(this.#options.keys.seats.key(this.#options.hostname)) === undefined &&
              this.#news.kind === "none"
            ) {
              return { exitCode: 0, error: undefined, how: "left", notice: undefined };
            }
            if (seat && this.#view.complete && !this.#somebodyStays()) {
              return stays(this.#lastWords());
            }
            await bell.wait(own);
          }
        },
        () => new QuorateError("WAIT_TIMEOUT", "nobody let this agent go"),
      );
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof QuorateError && error.code === "WAIT_TIMEOUT")) throw error;
      const because = this.#view.plan()?.because;
      log.warn({ because }, "not let go in time; stopping in place");
      return stays(
        `it was not let go within ${leaveMs / 1_000} s${because === undefined ? "" : ` (${because})`}: it stays a member`,
      );
    } finally {
      done.abort();
    }
  }

  /** Who has to be started for the cluster to serve again: every voter that is left, as each may hold the newest data. */
  #lastWords(): string {
    const voters = [...this.#view.seats()]
      .filter(([, seat]) => seat.role === "voter" && seat.member !== undefined)
      .map(([host]) => host);
    if (voters.length <= 1) return `nobody else is left: this host keeps the data; start ${this.#options.hostname} first`;
    return `nobody else is left: ${voters.join(" and ")} keep the data together; start them first`;
  }

  /** Another agent that could hold a seat, and is not leaving as well. */
  #somebodyStays(): boolean {
    for (const [host, record] of this.#view.agents()) {
      if (host === this.#options.hostname) continue;
      if (!record.volunteering && record.member === undefined) continue;
      if (this.#view.get(this.#options.keys.leaving.key(host)) === undefined) return true;
    }
    return false;
  }

  /** The restart that this host announced is over when its server serves again, or when there is no seat to come back to. */
  async #endRestart(prefix: Prefix, client: EtcdClient, signal: AbortSignal): Promise<never> {
    const key = this.#options.keys.restarting.key(this.#options.hostname);
    const bell = new Doorbell();
    this.#view.subscribe(bell, signal);
    for (;;) {
      const over = this.#news.kind === "serving" || (this.#news.kind === "none" && prefix.state.seat === undefined);
      const announced = over && this.#phase !== "stopping" && this.#view.get(key) !== undefined;
      if (!announced) {
        await bell.wait(signal);
        continue;
      }
      try {
        await client.txn({ then: [{ del: key }] }, { signal, repeatable: true });
        await bell.wait(signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!isRetryable(error)) throw error;
        await this.#deps.clock.sleep(250, signal);
      }
    }
  }

  /** Keeps the seat for a while although the session ends. */
  async #announceRestart(client: EtcdClient): Promise<void> {
    const { clock } = this.#deps;
    const { keys, hostname } = this.#options;
    await within(
      2_000,
      clock,
      new AbortController().signal,
      async (s) => {
        const lease = await grantLease(client, { ttlMs: restartGraceMs, clock }, s);
        await client.put(keys.restarting.key(hostname), writeRecord("reason", { reason: "stopped in place" }), {
          lease,
          signal: s,
        });
      },
      () => new QuorateError("DEADLINE", "Cannot announce the restart in time"),
    );
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
      problem: "problem" in this.#news ? this.#news.problem : this.#problem,
    };
    const text = JSON.stringify(status);
    if (text === this.#status) return;
    this.#status = text;
    this.#deps.onStatus(status);
  }
}

async function assertPorts(options: ResolvedOptions): Promise<void> {
  await assertPortsFree([...options.clientUrls, ...options.serverUrls]);
}

/** `--new-cluster`: what the prefix held belongs to the past; data is kept aside. */
async function startAnew(prefix: Prefix, clock: Clock, log: Logger): Promise<void> {
  const archive = await archiveDataDir(prefix.dataDir, { keep: 3, clock });
  if (archive !== undefined) log.warn({ archive }, "the data of the former cluster is kept aside");
  else await rm(prefix.dataDir, { recursive: true, force: true });
  const { identity, instance } = freshState(prefix.state.hostname);
  await prefix.save({ identity, instance, clusterId: undefined, seat: undefined, endpoints: [] });
}
