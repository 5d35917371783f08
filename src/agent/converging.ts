import { appendFile } from "node:fs/promises";
import type { Logger } from "pino";
import { Doorbell } from "../clock.ts";
import type { Clock } from "../clock.ts";
import { QuorateError, messageOf } from "../errors.ts";
import { watchRange } from "../etcd/index.ts";
import type { EtcdClient, KeyValue, WatchNews } from "../etcd/index.ts";
import type { ConvergerPart } from "../world/api/converger.ts";
import { answerOf, statementIn } from "../world/converged/answer.ts";
import type { Statement } from "../world/converged/answer.ts";
import type { PartsHere } from "../world/converged/here.ts";
import type { ControlView } from "./control/control-view.ts";
import type { Presence } from "./control/presence.ts";
import { isRefused, readRecord, type PlanRecord, type SeatRecord } from "./control/records.ts";
import type { ResolvedOptions } from "./resolve.ts";
import type { ServerNews } from "./server/supervisor.ts";
import type { AgentPhase } from "./status.ts";

/** What an agent knows of itself, as far as it is converged or not. */
export interface OwnState {
  /** As `Agent.ready` says it. */
  readonly ready: boolean;
  readonly phase: AgentPhase;
  readonly news: ServerNews;
  /** Its folder belongs to a seat. */
  readonly hasSeat: boolean;
  /** The leader's word for this host. */
  readonly seat: Pick<SeatRecord, "member"> | undefined;
  readonly leader: string | undefined;
  readonly plan: Pick<PlanRecord, "leader" | "kind"> | undefined;
}

/** The parts of an agent. */
export const partNames = ["agent", "seat", "server", "cluster"] as const;
type PartName = (typeof partNames)[number];

/**
 * Which of them are converged. `agent`: it is ready, and is not about to end. `seat`: if it is nominated its member is added, and if it
 * is not it has no seat left. `server`: it serves for that seat, or there is none. `cluster`: there is a leader, and it is settled; those
 * that have a seat vouch for that, and hundreds of others need not say so too at every step.
 */
export function ownParts({ ready, phase, news, hasSeat, seat, leader, plan }: OwnState): Readonly<Record<PartName, boolean>> {
  return {
    agent: ready && phase === "running",
    seat: seat === undefined ? !hasSeat : seat.member !== undefined,
    server: seat === undefined ? news.kind === "none" : news.kind === "serving" && news.memberId === seat.member,
    cluster: (seat === undefined && !hasSeat) || (leader !== undefined && plan?.leader === leader && plan.kind === "settled"),
  };
}

/** What an agent that ends because all are converged says of it: whoever has missed the moment ends for that too. */
export const convergedReason = "converged";

interface ConvergingDeps {
  readonly options: ResolvedOptions;
  readonly here: PartsHere;
  readonly view: ControlView;
  readonly clock: Clock;
  readonly log: Logger;
  readonly own: () => OwnState;
  /** All hosts are converged, and this agent is to end then. Called once. */
  readonly onEnd: () => void;
  readonly onError: (error: unknown) => void;
}

/** What one agent says of itself, and what all say. */
export class Converging {
  readonly #deps: ConvergingDeps;
  /** In which it says what it is. */
  readonly #key: string;
  readonly #bell = new Doorbell();
  readonly #parts: readonly (readonly [PartName, ConvergerPart])[];
  readonly #statements = new Map<string, Statement>();
  #presence: Presence | undefined;
  #live = false;
  /** All hosts were converged at some revision, this one included. */
  #wasConverged = false;
  /** This life of the agent has said something that counts. */
  #said = false;
  /** At which it said first that it is converged. */
  #saidConvergedAt = Infinity;
  #ended = false;
  #answer: boolean | undefined;
  /** What the status file says last. */
  #filed: boolean | undefined;

  constructor(deps: ConvergingDeps) {
    this.#deps = deps;
    const { here, options } = deps;
    this.#key = options.keys.converged.key(options.hostname);
    this.#parts = partNames.map((name) => [name, here.register(`agent/${name}`)] as const);
    here.onChange(() => {
      if (!this.#ended) this.#presence?.show({ converged: this.said });
    });
  }

  /** As it is written into the cluster. */
  get said(): string {
    return String(this.#deps.here.converged === true);
  }

  /** What is said from now on is said there. */
  saysThrough(presence: Presence): void {
    this.#presence = presence;
  }

  /** Something that the agent knows of itself may have changed. */
  ring(): void {
    this.#bell.ring();
  }

  /** @throws QuorateError INVALID_OPTION where the status file cannot be written */
  async begin(): Promise<void> {
    const { convergedStatusFile: file } = this.#deps.options;
    if (file === undefined) return;
    try {
      await this.#file(file, false);
    } catch (cause) {
      throw new QuorateError("INVALID_OPTION", `Cannot write the status file ${file}: ${messageOf(cause)}`, {
        cause,
        hint: "name a file that this user may write with --converged-status-file",
        data: { option: "convergedStatusFile" },
      });
    }
  }

  /** From the moment on at which the agent has joined, at revision `since`, until aborted. */
  async run(client: EtcdClient, since: number, signal: AbortSignal): Promise<never> {
    const { options, view, clock, log } = this.#deps;
    const { keys, hostname } = options;
    const [seat, nomination] = [keys.seats.key(hostname), keys.nominated.key(hostname)];
    const families = [keys.leader, keys.restarting, keys.leaving];
    view.subscribe(this.#bell, signal, (key) => {
      return key === keys.plan || key === seat || key === nomination || families.some(({ prefix }) => key.startsWith(prefix));
    });
    const asked = options.convergedExit || options.convergedStatusFile !== undefined;
    const range = asked ? keys.converged : { start: this.#key, end: `${this.#key}\u0000` };
    const watching = watchRange(client, range, (news) => this.#take(news), { clock, log }, signal);
    const looking = this.#look(since, signal);
    try {
      return await Promise.race([watching, looking]);
    } finally {
      await Promise.allSettled([watching, looking]);
    }
  }

  async #look(since: number, signal: AbortSignal): Promise<never> {
    for (;;) {
      if (this.#deps.options.convergedExit && !this.#ended && (this.#wasConverged || this.#othersEnd(since))) {
        // From now on it says nothing else: others may have to hear it still.
        this.#ended = true;
        await this.#tell(true);
        this.#deps.onEnd();
      }
      if (!this.#ended) {
        const now = ownParts(this.#deps.own());
        for (const [name, part] of this.#parts) part.set(now[name]);
        await this.#tell(this.#live ? this.#all() : undefined);
      }
      await this.#bell.wait(signal);
    }
  }

  /** Another agent has ended because all were converged, this one included: it is only that this one has not seen it. */
  #othersEnd(since: number): boolean {
    const { view, options } = this.#deps;
    return [options.keys.restarting, options.keys.leaving].some((family) =>
      view.under(family).some(([, { value, modRevision }]) => {
        const record = readRecord("reason", value);
        return modRevision > Math.max(since, this.#saidConvergedAt) && !isRefused(record) && record.reason === convergedReason;
      }),
    );
  }

  /** Each change by itself, also where several arrive together: the moment at which all are converged may be a short one. */
  #take(news: WatchNews): void {
    if (news.kind === "state") this.#live = news.live;
    else if (news.kind === "snapshot") {
      this.#statements.clear();
      this.#said = false;
      for (const entry of news.entries) this.#put(entry);
      this.#note();
    } else {
      for (const change of news.changes) {
        if (change.type === "put") this.#put(change.entry);
        else this.#delete(change.key);
        if (!news.coalesced && !news.resynced) this.#note();
      }
      this.#note();
      this.#defend(news.changes);
    }
    this.#bell.ring();
  }

  #put({ key, value, lease, modRevision }: KeyValue): void {
    const { options, log } = this.#deps;
    const statement = statementIn(options.keys.converged, key, value);
    if (statement?.converged === undefined) log.warn({ key }, "a key that says what is converged cannot be read");
    if (statement !== undefined) this.#statements.set(key, statement);
    if (key !== this.#key) return;
    // What an earlier life has said is on another lease.
    this.#said = lease === this.#presence?.session?.lease;
    if (this.#said && statement?.converged === true) this.#saidConvergedAt = Math.min(this.#saidConvergedAt, modRevision);
  }

  #delete(key: string): void {
    this.#statements.delete(key);
    if (key === this.#key) this.#said = false;
  }

  #note(): void {
    if (this.#all() === true) this.#wasConverged = true;
  }

  /** What this agent says is nobody else's to change. */
  #defend(changes: Extract<WatchNews, { kind: "changes" }>["changes"]): void {
    const lease = this.#presence?.session?.lease;
    for (const change of changes) {
      const of = change.type === "put" ? change.entry.key : change.key;
      if (of === this.#key && !(change.type === "put" && change.entry.lease === lease)) this.#presence?.lost(of);
    }
  }

  /** Undefined while this agent is not among them. */
  #all(): boolean | undefined {
    return this.#said ? answerOf(this.#statements.values()).converged : undefined;
  }

  async #tell(answer: boolean | undefined): Promise<void> {
    const { options, log, onError } = this.#deps;
    const { convergedStatusFile: file, convergedExit } = options;
    if (file === undefined && !convergedExit) return;
    if (answer !== this.#answer) {
      this.#answer = answer;
      if (answer !== undefined) log.info(answer ? "all hosts are converged" : "not all hosts are converged");
    }
    if (file === undefined || (answer === true) === this.#filed) return;
    await this.#file(file, answer === true).catch((error: unknown) => {
      log.warn({ err: error, file }, "the status file could not be written");
      onError(error);
    });
  }

  async #file(path: string, converged: boolean): Promise<void> {
    this.#filed = converged;
    await appendFile(path, `${converged}\n`);
  }
}
