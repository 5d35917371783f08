import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { etcdBinary } from "./etcd.ts";
import { eventually } from "./eventually.ts";
import { Process } from "./process.ts";

export const repository = fileURLToPath(new URL("../..", import.meta.url));
export const quorate = join(repository, "bin", "quorate.js");

/** A demo in a folder of its own for temporary files, so that whatever it leaves is seen. */
export class Demo implements AsyncDisposable {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  /** Undefined where the test starts it by itself. */
  process: Process | undefined;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "quorate-demo-test-"));
    const ours = /^(ETCD|ETCDCTL|QUORATE)_|^npm_/;
    this.env = {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name) || name === "QUORATE_TEST_RUN")),
      QUORATE_ETCD_BIN: etcdBinary(),
      TMPDIR: this.folder,
      NO_COLOR: "1",
      TERM: "xterm",
    };
  }

  /** Starts `command`; default: the demo itself. */
  start(command: readonly [string, ...string[]] = [process.execPath, quorate, "demo"]): this {
    this.process = new Process("demo", command, this.env);
    return this;
  }

  get running(): Process {
    if (!this.process) throw new Error("The demo is not started");
    return this.process;
  }

  /** Waits for a text on standard output, and returns all of it. */
  async shows(text: string | RegExp, withinMs = 30_000): Promise<string> {
    try {
      return await eventually(
        `${String(text)} of the demo`,
        () => {
          const { stdout } = this.running;
          return (typeof text === "string" ? stdout.includes(text) : text.test(stdout)) && stdout;
        },
        withinMs,
      );
    } catch (error) {
      throw new Error(this.running.tail(60), { cause: error });
    }
  }

  /** Processes that were started with its folder, and files in it. */
  leftovers(): { readonly processes: readonly string[]; readonly files: readonly string[] } {
    const processes = readdirSync("/proc").flatMap((name) => {
      if (!/^[0-9]+$/.test(name)) return [];
      const line = about(name, "cmdline");
      return `${line} ${about(name, "environ")}`.includes(this.folder) ? [`${name}: ${line}`] : [];
    });
    return { processes, files: readdirSync(this.folder).filter((name) => name.startsWith("quorate")) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process?.kill();
    await eventually("the end of everything the demo started", () => {
      const { processes } = this.leftovers();
      // Whoever was left by a demo that failed its test is ended here.
      for (const line of processes) end(Number.parseInt(line));
      return processes.length === 0;
    });
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function about(pid: string, what: "cmdline" | "environ"): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
