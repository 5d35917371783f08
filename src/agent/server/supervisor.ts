import type { Logger } from "pino";
import { Doorbell, firstOf, type Clock } from "../../clock.ts";
import { QuorateError, isRetryable, messageOf } from "../../errors.ts";
import type { EtcdClient, MemberRow, Membership } from "../../etcd/index.ts";
import type { EtcdServerOptions, ServerExit } from "../../embed/index.ts";
import type { ControlView } from "../control/control-view.ts";
import { isRefused, readRecord, short, type SeatRecord } from "../control/records.ts";
import type { Machine, RunningServer } from "../machine.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { serverTlsOf } from "../resolve-tls.ts";
import type { Together } from "../begin/join.ts";
import type { Prefix } from "../begin/state.ts";
import { serverRole, type Role } from "./role.ts";

/** What the supervisor tells the rest of the agent. */
export type ServerNews =
  | { readonly kind: "none" }
  | { readonly kind: "starting"; readonly memberId: string }
  | { readonly kind: "serving"; readonly memberId: string; readonly clusterId: string; readonly learner: boolean }
  | { readonly kind: "failed"; readonly memberId: string; readonly problem: string }
  | { readonly kind: "lost-data"; readonly memberId: string | undefined; readonly problem: string };

export interface SupervisorDeps {
  readonly machine: Machine;
  readonly options: ResolvedOptions;
  readonly prefix: Prefix;
  readonly binary: string;
  readonly client: EtcdClient;
  readonly view: ControlView;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called before etcd is started on the agent's ports. */
  readonly freePorts: () => Promise<void>;
  readonly onNews: (news: ServerNews) => void;
  readonly onExit: (exit: ServerExit) => void;
  readonly onError: (error: unknown) => void;
}

/** Exits within {@link crashWindowMs} after which the server counts as failed. */
const crashesForFailed = 3;
const crashWindowMs = 60_000;
const firstPauseMs = 250;
const longestPauseMs = 10_000;
/** While a server starts from its own data, the cluster is asked this often whether the seat still exists. */
const lookAgainMs = 1_000;

/** A server that needs others waits for them as long as it takes. */
const longestStartMs = 24 * 3_600_000;

/** While there is nothing to run, so that nothing else tells when the seat is gone, the same. */
const lostLookMs = 5_000;

/** Runs the one etcd of this host, when there is to be one: level-triggered, one decision at a time ({@link serverRole}). */
export class ServerSupervisor implements AsyncDisposable {
  readonly #deps: SupervisorDeps;
  readonly #bell = new Doorbell();
  readonly #starting = new AbortController();
  #server: RunningServer | undefined;
  #start: Promise<void> | undefined;
  #startSignal: AbortController | undefined;
  #membership: Membership | undefined;
  #lookedAt = -1;
  #readAtMs = 0;
  /** Revision of the seat's key as it was heard of last; 0 without one. */
  #heard = -1;
  /** The server ended by itself, or did not start: whether the seat is still there has to be asked before it is started again. */
  #doubt = false;
  #crashes: number[] = [];
  #pauseUntilMs = 0;
  #learner: boolean | undefined;
  #stopped = false;

  constructor(deps: SupervisorDeps) {
    this.#deps = deps;
  }

  /** The server that serves now. */
  get server(): RunningServer | undefined {
    return this.#server;
  }

  /** Founds a cluster: of one, or with those that found it together. Settles when the server serves, for which most of them are needed. */
  async found(
    together: Together | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly memberId: string; readonly clusterId: string }> {
    const { machine, options, prefix } = this.#deps;
    const token = together?.token ?? `quorate-${machine.randomUUID()}`;
    const members = together?.members ?? [{ name: options.hostname, peerUrls: options.advertiseServerUrls }];
    await this.#launch(
      {
        boot: { state: "new", token, initialCluster: () => Promise.resolve(members) },
        ...(together === undefined ? {} : { startTimeoutMs: longestStartMs }),
      },
      signal,
    );
    const server = this.#server;
    if (!server)
      throw new QuorateError("SERVER_EXITED", "Cannot found a cluster: etcd ended as soon as it served", { retryable: false });
    const { memberId, clusterId } = server;
    await prefix.save({ clusterId, seat: { memberId, token } });
    this.#learner = false;
    this.#deps.onNews({ kind: "serving", memberId, clusterId, learner: false });
    return { memberId, clusterId };
  }

  /** Keeps to the role until aborted. Errors worth ending for are thrown: a taken port, a missing binary. */
  async run(signal: AbortSignal): Promise<never> {
    const { clock, view, options } = this.#deps;
    const seat = options.keys.seats.key(options.hostname);
    view.subscribe(this.#bell, signal, (key) => key === seat);
    for (;;) {
      let waitMs: number | undefined;
      try {
        waitMs = await this.#round(signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!isRetryable(error)) throw error;
        this.#deps.log.debug({ err: error }, "server round failed; trying again");
        waitMs = 300;
      }
      if (waitMs === undefined) await this.#bell.wait(signal);
      else {
        const pauseMs = waitMs;
        await firstOf<void>(
          signal,
          (own) => this.#bell.wait(own),
          (own) => clock.sleep(pauseMs, own),
        );
      }
    }
  }

  /** Looks again: membership may have changed. */
  ring(): void {
    this.#membership = undefined;
    this.#lookedAt = -1;
    this.#bell.ring();
  }

  /** Stops the server in place, keeping its data. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#starting.abort(new DOMException("The agent stops", "AbortError"));
    await this.#start?.catch(() => undefined);
    await this.#server?.stop();
    this.#server = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** One look at everything, one action. Returns how long to wait for a ring at most. */
  async #round(signal: AbortSignal): Promise<number | undefined> {
    const { machine, prefix, options, view, clock } = this.#deps;
    const nomination = this.#nomination();
    const entry = view.get(options.keys.seats.key(options.hostname));
    const version = entry?.modRevision ?? 0;
    // Whatever was read before the leader's last word about this host is too old to act on; that may be that there is none any more.
    if (version !== this.#heard) {
      this.#heard = version;
      this.#lookedAt = -1;
      this.#membership = undefined;
    }
    const seatIsDoubtful = prefix.state.seat !== undefined && nomination?.member !== prefix.state.seat.memberId && view.complete;
    if (this.#doubt) {
      // A look that was under way when the server ended says nothing of why; and it may end again during this one.
      this.#doubt = false;
      this.#membership = undefined;
      // Where nobody answers, the server's own data is all there is to go on.
      await this.#look(version, signal).catch(() => undefined);
      signal.throwIfAborted();
    } else if (seatIsDoubtful && this.#lookedAt !== version && !this.#membership) await this.#look(version, signal);
    const data = await machine.inspectDataDir(prefix.dataDir);
    const role = serverRole({
      state: prefix.state,
      data,
      running: this.#server !== undefined || this.#start !== undefined,
      nomination,
      membership: this.#membership,
    });
    this.#deps.log.debug({ role: role.kind, data, nomination: nomination?.member }, "server role");
    switch (role.kind) {
      case "look":
        await this.#look(version, signal);
        return 0;
      case "idle":
        this.#deps.onNews({ kind: "none" });
        return undefined;
      case "lost-data":
        this.#deps.onNews({
          kind: "lost-data",
          memberId: nomination?.member ?? prefix.state.seat?.memberId,
          problem: role.because,
        });
        // The seat that keeps this host from starting anew may be removed at any time, and no event of its own tells.
        if (!this.#membership || clock.nowMs() - this.#readAtMs < lostLookMs) return lostLookMs;
        this.#membership = undefined;
        return 0;
      case "give-up":
        await this.#giveUp(role.memberId);
        return 0;
      case "join":
      case "run":
        return this.#keepRunning(role, data, version, clock.nowMs(), signal);
    }
  }

  async #keepRunning(
    role: Extract<Role, { kind: "join" | "run" }>,
    data: string,
    version: number,
    nowMs: number,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    if (this.#server) {
      await this.#tellServing(this.#server, signal);
      return this.#learner === true ? 1_000 : undefined;
    }
    if (this.#start) {
      // Own data, no quorum yet or no seat any more: only the others can tell.
      if (role.kind === "run") await this.#look(version, signal).catch(() => undefined);
      return lookAgainMs;
    }
    if (this.#doubt) return 0; // It ended since this round looked.
    if (nowMs < this.#pauseUntilMs) return this.#pauseUntilMs - nowMs;
    if (this.#crashes.length < crashesForFailed) this.#deps.onNews({ kind: "starting", memberId: role.memberId });
    this.#begin(role, data);
    return lookAgainMs;
  }

  /** Starts in the background: a server that waits for a quorum must not keep the agent from hearing that its seat is gone. */
  #begin(role: Extract<Role, { kind: "join" | "run" }>, data: string): void {
    const { machine, prefix, options, client } = this.#deps;
    if (this.#stopped) return;
    const abort = new AbortController();
    this.#startSignal = abort;
    const own = AbortSignal.any([abort.signal, this.#starting.signal]);
    const task = async (): Promise<void> => {
      if (role.kind === "run" && data === "has-data") return this.#launch({ startTimeoutMs: longestStartMs }, own);
      const token = prefix.state.seat?.token ?? `quorate-${machine.randomUUID()}`;
      await prefix.save({ seat: { memberId: role.memberId, token } });
      let first: readonly MemberRow[] | undefined = role.kind === "join" ? role.members : undefined;
      return this.#launch(
        {
          boot: {
            state: "existing",
            token,
            initialCluster: async (s) => {
              const rows = first ?? (await client.readMembership({ signal: s })).members;
              first = undefined;
              return rows.map((row) => ({
                name: row.id === role.memberId ? options.hostname : `member-${row.id}`,
                peerUrls: row.peerUrls,
              }));
            },
          },
        },
        own,
      );
    };
    this.#start = task()
      .catch((error: unknown) => {
        if (own.aborted) return;
        this.#doubt = true;
        this.#crashed(role.memberId, error);
      })
      .finally(() => {
        this.#start = undefined;
        this.#startSignal = undefined;
        this.#bell.ring();
      });
  }

  async #launch(how: Pick<EtcdServerOptions, "boot" | "startTimeoutMs">, signal: AbortSignal): Promise<void> {
    const { machine, options, prefix, binary, clock, log, freePorts, onExit } = this.#deps;
    await freePorts();
    const strictReconfigCheck = await this.#strictly();
    const [clientTls, peerTls] = [serverTlsOf(options.tls.clients), serverTlsOf(options.tls.peers)];
    const server = await machine.startServer(
      {
        binary,
        name: options.hostname,
        dataDir: prefix.dataDir,
        listenClientUrls: options.clientUrls,
        listenPeerUrls: options.serverUrls,
        advertiseClientUrls: options.advertiseClientUrls,
        advertisePeerUrls: options.advertiseServerUrls,
        ...(clientTls === undefined ? {} : { clientTls }),
        ...(peerTls === undefined ? {} : { peerTls }),
        strictReconfigCheck,
        autoCompactionRetention: options.autoCompactionRetention,
        quotaBackendBytes: options.quotaBackendBytes,
        log,
        ...how,
      },
      { clock },
      signal,
    );
    this.#server = server;
    this.#learner = undefined;
    void server.exited.then((exit) => {
      if (this.#server === server) this.#server = undefined;
      this.#membership = undefined;
      this.#doubt = !exit.asked;
      onExit(exit);
      if (!exit.asked && !exit.removed) {
        this.#crashed(
          server.memberId,
          new QuorateError(
            "SERVER_EXITED",
            `etcd ended by itself (${exit.signal ?? `exit code ${exit.code ?? "unknown"}`}): ${exit.lastLines.at(-1) ?? "it said nothing"}`,
            {
              retryable: true,
              data: { lastLines: exit.lastLines },
            },
          ),
        );
      }
      this.ring();
    });
  }

  /** The cluster's policy; before that is known, what it was last, and for a founder its own. */
  async #strictly(): Promise<boolean> {
    const { prefix, view, options } = this.#deps;
    const known = view.policy()?.strictReconfigCheck;
    const strictly = known ?? prefix.state.strictReconfigCheck ?? options.policy.strictReconfigCheck;
    if (prefix.state.strictReconfigCheck !== strictly) await prefix.save({ strictReconfigCheck: strictly });
    return strictly;
  }

  async #tellServing(server: RunningServer, signal: AbortSignal): Promise<void> {
    const { client, options, onNews } = this.#deps;
    const seat = this.#nomination();
    // The leader's word says when to look; the server itself says what it is.
    if (this.#learner !== false) {
      const [url] = options.advertiseClientUrls;
      const status =
        url === undefined ? undefined : await client.status(url, { signal, timeoutMs: 1_000 }).catch(() => undefined);
      signal.throwIfAborted();
      this.#learner = status?.learner ?? (seat ? seat.role === "learner" : true);
    }
    this.#crashes = [];
    onNews({ kind: "serving", memberId: server.memberId, clusterId: server.clusterId, learner: this.#learner });
  }

  /** The cluster does not list the seat: stop, keep the data aside, be ready for another nomination. */
  async #giveUp(memberId: string): Promise<void> {
    const { machine, prefix, clock, log, onNews } = this.#deps;
    log.info({ member: memberId }, "this seat was removed; stopping its server");
    this.#startSignal?.abort(new DOMException("The seat is gone", "AbortError"));
    await this.#start?.catch(() => undefined);
    await this.#server?.stop();
    this.#server = undefined;
    const archive = await machine.archiveDataDir(prefix.dataDir, { keep: 3, clock });
    if (archive !== undefined) log.info({ archive }, "data of the removed member kept");
    // Data starts anew from here: what was added for the old instance is not ours.
    await prefix.save({ seat: undefined, instance: machine.randomUUID() });
    this.#crashes = [];
    this.#pauseUntilMs = 0;
    onNews({ kind: "none" });
  }

  #crashed(memberId: string, error: unknown): void {
    const { clock, log, onError, onNews } = this.#deps;
    const nowMs = clock.nowMs();
    this.#crashes = [...this.#crashes.filter((at) => nowMs - at < crashWindowMs), nowMs];
    this.#pauseUntilMs = nowMs + Math.min(longestPauseMs, firstPauseMs * 2 ** (this.#crashes.length - 1));
    log.warn({ err: error, crashes: this.#crashes.length }, "server ended");
    onError(error);
    if (this.#crashes.length >= crashesForFailed) onNews({ kind: "failed", memberId, problem: short(messageOf(error)) });
  }

  async #look(version: number, signal: AbortSignal): Promise<void> {
    this.#membership = await this.#deps.client.readMembership({ signal, timeoutMs: 1_500 });
    this.#readAtMs = this.#deps.clock.nowMs();
    this.#lookedAt = version;
  }

  #nomination(): SeatRecord | undefined {
    const { view, options } = this.#deps;
    const entry = view.get(options.keys.seats.key(options.hostname));
    if (!entry) return undefined;
    const record = readRecord("seat", entry.value);
    return isRefused(record) ? undefined : record;
  }
}
