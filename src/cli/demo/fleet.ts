import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { forgetStartsIn } from "../../agent/begin/crashes.ts";
import { aborted, firstOf, type Clock } from "../../clock.ts";
import { agentFlags, logFlags, variableOf, type Env } from "../options.ts";
import { freePorts } from "./ports.ts";
import { descendantsOf, runsWith } from "../process-tree.ts";

/** One agent of the demo: a process of its own, with a folder and two ports that stay its own. */
export interface DemoAgent {
  readonly host: string;
  readonly clientUrl: string;
  readonly serverUrl: string;
  readonly process: "running" | "killed" | "ended";
}

interface Slot {
  readonly host: string;
  readonly clientUrl: string;
  readonly serverUrl: string;
  child: ChildProcess | undefined;
  process: DemoAgent["process"];
  gone: Promise<void>;
}

export interface FleetOptions {
  readonly count: number;
  readonly idealClusterSize: number;
  readonly etcdBin: string;
  /** `setpriv`, where it can tie a process to its parent. */
  readonly setpriv: string | undefined;
  readonly env: Env;
  readonly clock: Clock;
  /** One line that an agent wrote: JSON from its log, or text from standard error. */
  readonly onLine: (host: string, line: string) => void;
  readonly onChange: () => void;
}

/** The launcher, from src/cli/demo as from dist/cli/demo. */
export const launcher = fileURLToPath(new URL("../../../bin/quorate.js", import.meta.url));

/** The agents of a demo. Holding this object means that they, their servers and their folder are gone once `close()` has settled. */
export class Fleet implements AsyncDisposable {
  readonly folder: string;
  readonly #options: FleetOptions;
  readonly #slots: readonly Slot[];
  #closing: Promise<void> | undefined;

  private constructor(folder: string, slots: readonly Slot[], options: FleetOptions) {
    this.folder = folder;
    this.#slots = slots;
    this.#options = options;
  }

  /** Makes the folder and finds the ports. Nothing runs yet. */
  static async create(options: FleetOptions): Promise<Fleet> {
    const ports = await freePorts(options.count * 2);
    const folder = await mkdtemp(join(tmpdir(), "quorate-demo-"));
    const slots = Array.from({ length: options.count }, (_, i): Slot => {
      return {
        host: `h${i + 1}`,
        clientUrl: `http://127.0.0.1:${ports[2 * i] ?? 0}`,
        serverUrl: `http://127.0.0.1:${ports[2 * i + 1] ?? 0}`,
        child: undefined,
        process: "ended",
        gone: Promise.resolve(),
      };
    });
    return new Fleet(folder, slots, options);
  }

  get agents(): readonly DemoAgent[] {
    return this.#slots;
  }

  get clientUrls(): readonly string[] {
    return this.#slots.map((slot) => slot.clientUrl);
  }

  /** The arguments of one agent. The first one founds the cluster: it has no seeds. */
  argumentsOf(host: string): readonly string[] {
    const slot = this.#slot(host);
    const others = this.#slots.filter((one) => one !== slot).map((one) => one.clientUrl);
    return [
      "run",
      `--hostname=${slot.host}`,
      ...(slot === this.#slots[0] ? [] : [`--seeds=${others.join(",")}`]),
      `--client-urls=${slot.clientUrl}`,
      `--server-urls=${slot.serverUrl}`,
      `--prefix=${join(this.folder, slot.host)}`,
      `--ideal-cluster-size=${this.#options.idealClusterSize}`,
      "--session-ttl=3s",
      `--etcd-bin=${this.#options.etcdBin}`,
      "--log-format=json",
      "--log-level=info",
    ];
  }

  start(host: string): void {
    const slot = this.#slot(host);
    if (this.#closing !== undefined || slot.process === "running") return;
    const command = [process.execPath, launcher, ...this.argumentsOf(host)];
    const [file = "", ...args] =
      this.#options.setpriv === undefined ? command : [this.#options.setpriv, "--pdeathsig", "KILL", ...command];
    // Detached: a ^C at the terminal goes to the demo alone, which sees to the agents. The user's own settings of Quorate are not meant for them.
    const child = spawn(file, args, { detached: true, stdio: ["ignore", "pipe", "pipe"], env: withoutOurs(this.#options.env) });
    slot.child = child;
    slot.process = "running";
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        this.#options.onLine(slot.host, line);
      });
    }
    slot.gone = new Promise((resolve) => {
      const over = (): void => {
        if (slot.process === "running") slot.process = "ended";
        this.#options.onChange();
        resolve();
      };
      child.once("close", over);
      child.once("error", over);
    });
    this.#options.onChange();
  }

  /** As a power cut would: the kernel takes its server along. */
  async kill(host: string): Promise<void> {
    const slot = this.#slot(host);
    if (slot.process !== "running") return;
    slot.process = "killed";
    await this.#end([slot]);
    await forgetStartsIn(join(this.folder, slot.host));
    this.#options.onChange();
  }

  /** Kills everything and removes the folder. There is nothing to come back to, so nothing is stopped gently. */
  close(): Promise<void> {
    return (this.#closing ??= (async () => {
      await this.#end(this.#slots.filter((slot) => slot.process === "running"));
      await rm(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    })());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(slots: readonly Slot[]): Promise<void> {
    const pids = slots.flatMap((slot) => slot.child?.pid ?? []);
    const servers = descendantsOf(pids);
    if (this.#options.setpriv === undefined && servers.length === 0) await this.#askToStop(slots);
    for (const slot of slots) slot.child?.kill("SIGKILL");
    await Promise.all(slots.map((slot) => slot.gone));
    const { clock } = this.#options;
    const endMs = clock.nowMs() + 5_000;
    const never = new AbortController().signal;
    // The kernel ends them with their agents; what it could not end is ended here.
    for (let left = servers; left.length > 0; left = left.filter((pid) => runsWith(pid, this.folder))) {
      if (this.#options.setpriv === undefined || clock.nowMs() > endMs) for (const pid of left) kill(pid);
      if (clock.nowMs() > endMs + 1_000) return;
      await clock.sleep(10, never);
    }
  }

  /** Where the kernel does not tie a server to its agent, the agent has to stop it: twice SIGTERM is a hurry. */
  async #askToStop(slots: readonly Slot[]): Promise<void> {
    const { clock } = this.#options;
    const never = new AbortController();
    for (const slot of slots) slot.child?.kill("SIGTERM");
    await clock.sleep(200, never.signal);
    for (const slot of slots) slot.child?.kill("SIGTERM");
    await firstOf<void>(
      never.signal,
      (own) => clock.sleep(5_000, own),
      async (own) => {
        await Promise.race([Promise.all(slots.map((slot) => slot.gone)), aborted(own)]);
      },
    );
  }

  #slot(host: string): Slot {
    const slot = this.#slots.find((one) => one.host === host);
    if (!slot) throw new Error(`There is no agent ${host} in this demo`);
    return slot;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It is gone already.
  }
}

function withoutOurs(env: Env): NodeJS.ProcessEnv {
  const ours = new Set<string>([...Object.values(agentFlags), ...Object.values(logFlags)].map(variableOf));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ours.has(name)));
}
