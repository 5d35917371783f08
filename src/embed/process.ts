import { spawn, type ChildProcess } from "node:child_process";
import type { Logger } from "pino";
import { type Observable, ReplaySubject } from "rxjs";
import type { Clock } from "../clock.ts";
import { type EtcdLogLine, LineSplitter, LogReading, relog } from "./log.ts";
import { setprivWithDeathSignal, systemPath } from "./tools.ts";

/** How a server ended. */
export interface ServerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines it wrote, raw, 50 at most. */
  readonly lastLines: readonly string[];
  /** We asked it to stop. */
  readonly asked: boolean;
  /** Its log says that the cluster has removed this member. Its word alone: it may be wrong about which cluster. */
  readonly removed: boolean;
}

export interface ProcessOptions {
  readonly binary: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Stays open in the child, as descriptor 3. */
  readonly fd: number;
  readonly log: Logger | undefined;
  /** Working folder; ours by default. */
  readonly cwd?: string;
  /** Gets each line of its log as it wrote it. */
  readonly onLine?: (raw: string) => void;
}

const linesReplayed = 50;
let warned = false;

/** One run of the etcd binary, from fork to the last byte of its log. */
export class EtcdProcess {
  readonly reading = new LogReading();
  /** Settles when the process is gone and its log read to the end. Never rejects. */
  readonly exited: Promise<ServerExit>;
  /** Settles at the first sign of serving, or with the exit. */
  readonly readyOrGone: Promise<ServerExit | undefined>;
  /** Why there is no process at all. */
  spawnError: Error | undefined;
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #lines = new ReplaySubject<EtcdLogLine>(linesReplayed);
  #asked = false;

  private constructor(command: readonly string[], options: ProcessOptions, clock: Clock) {
    const [file = "", ...args] = command;
    this.#clock = clock;
    // Detached: a ^C at the terminal goes to the agent alone, which may want its server for the way out.
    this.#child = spawn(file, args, {
      detached: true,
      stdio: ["ignore", "ignore", "pipe", options.fd],
      env: { ...options.env, PATH: systemPath },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let ready = (): void => undefined;
    const served = new Promise<undefined>((resolve) => {
      ready = () => resolve(undefined);
    });
    const splitter = new LineSplitter((raw) => {
      const line = this.reading.read(raw);
      if (options.log) relog(options.log, line);
      options.onLine?.(raw);
      this.#lines.next(line);
      if (this.reading.ready) ready();
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => splitter.write(text));
    this.exited = new Promise((resolve) => {
      const settle = (code: number | null, signal: NodeJS.Signals | null): void => {
        splitter.end();
        this.#lines.complete();
        const { lastLines, removed } = this.reading;
        resolve({ code, signal, lastLines: [...lastLines], asked: this.#asked, removed });
      };
      this.#child.once("close", settle);
      this.#child.once("error", (error) => {
        if (this.#child.pid !== undefined) return;
        this.spawnError = error;
        settle(null, null);
      });
    });
    this.readyOrGone = Promise.race([served, this.exited]);
  }

  /** Forks etcd so that it dies with this process, whatever ends it. */
  static async spawn(options: ProcessOptions, clock: Clock): Promise<EtcdProcess> {
    return new EtcdProcess([...(await tiedToUs(options.log)), options.binary, ...options.args], options, clock);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What it logs. A late subscriber gets the last 50 lines first. Completes when the process is gone. */
  get lines$(): Observable<EtcdLogLine> {
    return this.#lines.asObservable();
  }

  /** SIGTERM, then SIGKILL after `timeoutMs`. A further call with less time hurries it. Settles when the process is gone. */
  async stop(timeoutMs: number): Promise<ServerExit> {
    if (!this.#asked) {
      this.#asked = true;
      this.#child.kill("SIGTERM");
    }
    const gone = new AbortController();
    const killLater = this.#clock.sleep(timeoutMs, gone.signal).then(
      () => this.#child.kill("SIGKILL"),
      () => undefined,
    );
    const exit = await this.exited;
    gone.abort();
    await killLater;
    return exit;
  }
}

/**
 * What stands before etcd on the command line. `setpriv` has the kernel kill it when our main thread dies; the shell covers the
 * moment before, by not becoming etcd when we are not its parent any more. Both `exec`: the pid stays the one we know.
 */
async function tiedToUs(log: Logger | undefined): Promise<string[]> {
  const setpriv = await setprivWithDeathSignal();
  if (setpriv !== undefined) {
    return [setpriv, "--pdeathsig", "KILL", "/bin/sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', String(process.pid)];
  }
  if (!warned) log?.warn("There is no setpriv that knows --pdeathsig: an etcd may outlive this process when that is killed");
  warned = true;
  return [];
}
