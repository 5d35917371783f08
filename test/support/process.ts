import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { eventually } from "./eventually.ts";

/** One line of an agent's log. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly tookMs: number;
}

const running = new Set<ChildProcess>();
// A runner that gives up must leave no agent behind; its etcd goes with it.
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** A process whose end is waited for, whose output is kept, and that never outlives the test. */
export class Process {
  readonly pid: number;
  readonly lines: LogLine[] = [];
  /** Never rejects. */
  readonly ended: Promise<Ended>;
  readonly what: string;
  stdout = "";
  stderr = "";
  readonly #child: ChildProcess;
  readonly #wakes = new Set<() => void>();
  #over: Ended | undefined;

  constructor(what: string, [command, ...args]: readonly [string, ...string[]], env: NodeJS.ProcessEnv) {
    this.what = what;
    const started = performance.now();
    const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    this.pid = Number(child.pid);
    running.add(child);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.stdout += `${line}\n`;
      const parsed = parse(line);
      if (parsed) this.lines.push(parsed);
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      child.once("error", (error) => (this.stderr += String(error)));
      child.once("close", (code, signal) => {
        running.delete(child);
        this.#over = { code, signal, stdout: this.stdout, stderr: this.stderr, tookMs: performance.now() - started };
        resolve(this.#over);
        this.#wake();
      });
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async kill(): Promise<Ended> {
    this.#child.kill("SIGKILL");
    return this.ended;
  }

  /** The first line of the log, from `from` on, that fits. Rejects with the end of the log when it does not come. */
  async line(what: string | ((line: LogLine) => boolean), withinMs = 20_000, from = 0): Promise<LogLine> {
    const fits = typeof what === "string" ? (line: LogLine) => line.msg === what : what;
    let at = from;
    return this.#until(typeof what === "string" ? `"${what}"` : String(what), withinMs, () => {
      while (at < this.lines.length) {
        const line = this.lines[at++];
        if (line && fits(line)) return line;
      }
      return undefined;
    });
  }

  /** Waits until stderr holds the text. */
  async says(text: string, withinMs = 10_000): Promise<void> {
    await this.#until(JSON.stringify(text), withinMs, () => this.stderr.includes(text) || undefined);
  }

  /** Waits for the end. Rejects with the end of the log when it does not come. */
  async end(withinMs: number): Promise<Ended> {
    return this.#until("its end", withinMs, () => this.#over, true);
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
  }

  async #until<T>(what: string, withinMs: number, check: () => T | undefined, ending = false): Promise<T> {
    const giveUpAt = performance.now() + withinMs;
    for (;;) {
      const found = check();
      if (found !== undefined) return found;
      const leftMs = giveUpAt - performance.now();
      if (leftMs <= 0) throw new Error(`${this.what}: not within ${withinMs} ms: ${what}\n${this.tail()}`);
      if (this.#over && !ending) throw new Error(`${this.what} has ended before ${what}\n${this.tail()}`);
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#wakes.delete(done);
          resolve();
        };
        const timer = setTimeout(done, leftMs);
        this.#wakes.add(done);
      });
    }
  }

  /** The end of what it said, for the message of a failure. */
  tail(lines = 25): string {
    const end = this.#over ? `ended with ${this.#over.signal ?? this.#over.code}` : "still running";
    return `--- ${this.what}, ${end}\n${this.stdout.trimEnd().split("\n").slice(-lines).join("\n")}\n${this.stderr}---`;
  }
}

function parse(line: string): LogLine | undefined {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return undefined;
  }
}

export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

export function nameOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** Waits for the end of a process that is not our child. */
export async function untilGone(pid: number, withinMs = 10_000): Promise<void> {
  await eventually(
    `the end of process ${pid}`,
    () => !existsSync(`/proc/${pid}`) || /^State:\s+[ZX]/m.test(statusOf(pid)),
    withinMs,
  );
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "State: X";
  }
}
