import { dynamicSize } from "../chooser/index.ts";
import type { EtcdClient } from "../etcd/index.ts";
import type { Binary } from "./begin/binary.ts";
import type { Prefix } from "./begin/state.ts";
import type { ControlView } from "./control/control-view.ts";
import type { Appearance, Presence } from "./control/presence.ts";
import type { ResolvedOptions } from "./resolve.ts";
import type { ServerNews, ServerSupervisor } from "./server/supervisor.ts";
import type { AgentPhase, AgentStatus } from "./status.ts";
import { quorateVersion } from "./version.ts";

/** What can be wrong with a host. */
export type ProblemAbout = "crashes" | "ports" | "space" | "etcd" | "certificates" | "joins";

/** What an agent knows of itself: its status for those who hold it, and the keys that show it to the others. */
export class Self {
  /** What it holds, each from the moment on at which it is there. */
  prefix: Prefix | undefined;
  client: EtcdClient | undefined;
  supervisor: ServerSupervisor | undefined;
  presence: Presence | undefined;
  /** `tell` is to follow a change of these. */
  phase: AgentPhase = "starting";
  leading = false;
  /** Why it cannot lead. */
  cannotLead: string | undefined;
  readonly #options: ResolvedOptions;
  readonly #view: ControlView;
  readonly #onStatus: (status: AgentStatus) => void;
  readonly #problems = new Map<ProblemAbout, string>();
  #news: ServerNews = { kind: "none" };
  #told = "";

  constructor(options: ResolvedOptions, view: ControlView, onStatus: (status: AgentStatus) => void) {
    this.#options = options;
    this.#view = view;
    this.#onStatus = onStatus;
  }

  /** The last news of its server. */
  get news(): ServerNews {
    return this.#news;
  }

  role(): AgentStatus["role"] {
    if (this.#news.kind === "serving") return this.#news.learner ? "learner" : "voter";
    return this.#options.server ? "spare" : "client";
  }

  /** Takes in news of the server, which `showServer` and `tell` are to follow. False where they say what the last ones said. */
  hear(news: ServerNews): boolean {
    if (JSON.stringify(this.#news) === JSON.stringify(news)) return false;
    this.#news = news;
    return true;
  }

  /** The first of what is wrong is shown. */
  setProblem(about: ProblemAbout, problem: string | undefined): void {
    if (problem === undefined) this.#problems.delete(about);
    else this.#problems.set(about, problem);
    this.showServer();
    this.tell();
  }

  /** Writes what the server is into this agent's keys. */
  showServer(): void {
    const news = this.#news;
    const serves = news.kind === "serving" && !news.learner;
    this.presence?.show({
      endpoints: serves ? this.#options.advertiseClientUrls.join(",") : undefined,
      record: {
        server: news.kind,
        member: "memberId" in news ? news.memberId : undefined,
        instance: this.prefix?.state.instance ?? "",
        problem: this.#problem(),
      },
    });
  }

  /** Hands the status out where it has changed. */
  tell(): void {
    const plan = this.#view.plan();
    const serving = this.#news.kind === "serving";
    const status: AgentStatus = {
      hostname: this.#options.hostname,
      phase: this.phase,
      role: this.role(),
      leader: this.#view.leader(),
      leading: this.leading,
      prefix: this.prefix?.folder ?? this.#options.prefix,
      clusterId: this.prefix?.state.clusterId,
      memberId: "memberId" in this.#news ? this.#news.memberId : undefined,
      serverPid: this.supervisor?.server?.pid,
      clientUrls: serving ? this.#options.advertiseClientUrls : [],
      endpoints: this.client?.endpoints.urls() ?? this.#options.seeds,
      members: [...this.#view.seats()].filter(([, seat]) => seat.member !== undefined).map(([host]) => host),
      idealClusterSize: plan?.ideal,
      failureTolerance: plan?.failureTolerance,
      because: plan?.because,
      problem: this.#problem() ?? this.cannotLead,
    };
    const text = JSON.stringify(status);
    if (text === this.#told) return;
    this.#told = text;
    this.#onStatus(status);
  }

  #problem(): string | undefined {
    return "problem" in this.#news ? this.#news.problem : [...this.#problems.values()][0];
  }
}

/** What an agent shows of itself at first, before its server has news. */
export function firstAppearance(
  { zone, priority, advertiseServerUrls, server, given, chooser, login, joinUrls }: ResolvedOptions,
  { state }: Prefix,
  binary: Binary | undefined,
  proof: string,
  unfit: string | undefined,
): Appearance {
  const volunteering = server && unfit === undefined;
  return {
    record: {
      schema: 1,
      identity: state.identity,
      instance: state.instance,
      quorate: quorateVersion,
      ...(binary ? { etcd: binary.version } : {}),
      zone,
      priority,
      volunteering,
      server: "none",
      proof,
      ...(Object.keys(given.policy).length === 0 ? {} : { flags: given.policy }),
      ...(chooser === dynamicSize ? {} : { chooser: chooser.name }),
      ...(login === undefined ? {} : { user: login.user }),
      ...(joinUrls.length === 0 ? {} : { join: [...joinUrls] }),
    },
    volunteer: volunteering ? advertiseServerUrls.join(",") : undefined,
    endpoints: undefined,
    leaving: undefined,
    converged: undefined,
  };
}
