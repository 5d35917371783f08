import { spawn, type ChildProcess } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { aborted, systemClock } from "../../clock.ts";
import { findEtcd } from "../../embed/store.mjs";
import { setprivWithDeathSignal } from "../../embed/tools.ts";
import { QuorateError, messageOf } from "../../errors.ts";
import { Ended, endOnSignals } from "../demo/endings.ts";
import { launcher } from "../demo/fleet.ts";
import { hues } from "../demo/frame.ts";
import type { Io } from "../io.ts";
import { painter, plain, type Style } from "../output.ts";
import { agentsOf, parseProcfile, writeProcfile, type Proc } from "./procfile.ts";

export interface UpSettings {
  readonly size: number | undefined;
  readonly procfile: string | undefined;
  readonly folder: string | undefined;
  readonly token: string | undefined;
  readonly state: "new" | "existing" | undefined;
  readonly etcdBin: string | undefined;
}

const defaultSize = 3;
const firstPort = 2379;
/** After SIGTERM. A stop in place may wait for others for 20 s. */
const patienceMs = 30_000;

/**
 * `quorate up`: several agents, or whatever a Procfile says, on this machine, each line of theirs with its name before it. ^C stops all of them
 * in place: what they hold is there at the next start.
 */
export async function up(settings: UpSettings, io: Io): Promise<number> {
  const procs = await procsOf(settings, io);
  const endings = endOnSignals(systemClock);
  try {
    const etcd = await findEtcd({
      etcdBin: settings.etcdBin,
      env: { ...io.env },
      signal: endings.signal,
      log: (line) => {
        io.err(`${line}\n`);
      },
    });
    return await new Procs(procs, etcd.binary, await setprivWithDeathSignal(), io).run(endings.signal);
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    return error.exitCode;
  } finally {
    endings.release();
  }
}

/** What the file says; where there is none yet it is written, for so many agents. */
async function procsOf(settings: UpSettings, io: Io): Promise<readonly Proc[]> {
  const { procfile, size, folder, token, state } = settings;
  const text = procfile === undefined ? undefined : await textOf(procfile);
  if (text !== undefined && procfile !== undefined) {
    for (const [name, value] of Object.entries({
      size,
      prefix: folder,
      "initial-cluster-token": token,
      "initial-cluster-state": state,
    })) {
      if (value !== undefined) throw usage(name, `${procfile} is there already, and says what to run`);
    }
    const procs = parseProcfile(text, procfile);
    if (procs.length === 0) throw usage("procfile", `there is nothing to run in ${procfile}`);
    return procs;
  }
  const count = size ?? defaultSize;
  if (count < 1 || count > 15) throw usage("size", `it must be 1 to 15: current value is ${count}`);
  const procs = agentsOf({ size: count, folder: resolve(folder ?? "quorate-up"), token, state, firstPort });
  if (procfile !== undefined) {
    await writeFile(procfile, writeProcfile(procs), { flag: "wx" });
    io.err(`${procfile} is written\n`);
  }
  return procs;
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw usage("procfile", `${file} cannot be read: ${messageOf(error)}`);
  }
}

function usage(option: string, why: string): QuorateError {
  return new QuorateError("INVALID_OPTION", `Cannot use option ${option}: ${why}`, { data: { option } });
}

/** Processes that run until all have ended, or are asked to. */
class Procs {
  readonly #procs: readonly Proc[];
  readonly #etcd: string;
  readonly #setpriv: string | undefined;
  readonly #io: Io;
  readonly #running = new Map<string, ChildProcess>();
  #failed = false;
  #isEnding = false;

  constructor(procs: readonly Proc[], etcd: string, setpriv: string | undefined, io: Io) {
    this.#procs = procs;
    this.#etcd = etcd;
    this.#setpriv = setpriv;
    this.#io = io;
  }

  async run(signal: AbortSignal): Promise<number> {
    const gone = Promise.all(this.#procs.map((proc, i) => this.#start(proc, hues[i % hues.length])));
    try {
      await Promise.race([gone, aborted(signal)]);
      return this.#failed ? 1 : 0;
    } finally {
      this.#isEnding = true;
      await this.#end(gone);
    }
  }

  /** Settles when it has ended. */
  #start({ name, command }: Proc, hue: Style | undefined): Promise<void> {
    const paint = painter(this.#io.color);
    const width = Math.max(...this.#procs.map((one) => one.name.length));
    const say = (line: string): void => {
      this.#io.out(`${paint(hue, `${name.padEnd(width)} │`)} ${plain(line)}\n`);
    };
    // The first word may be one that this machine has not in its PATH.
    const [, word = "", rest = ""] = /^(\S+)(.*)$/.exec(command) ?? [];
    const program = word === "quorate" ? [process.execPath, launcher] : word === "etcd" ? [this.#etcd] : [word];
    const shell = ["/bin/sh", "-c", `exec "$@" ${rest}`, "sh", ...program];
    const [file = "", ...args] = this.#setpriv === undefined ? shell : [this.#setpriv, "--pdeathsig", "KILL", ...shell];
    return new Promise((resolve) => {
      // Detached: a ^C at the terminal goes to us alone, who end them in good order.
      const env = { ...this.#io.env, QUORATE_ETCD_BIN: this.#etcd };
      const child = spawn(file, args, { detached: true, stdio: ["ignore", "pipe", "pipe"], env });
      this.#running.set(name, child);
      for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", say);
      child.once("error", (error) => {
        say(`cannot be started: ${error.message}`);
        this.#failed = true;
        this.#running.delete(name);
        resolve();
      });
      child.once("close", (code, killed) => {
        this.#running.delete(name);
        if (!this.#isEnding) {
          say(`ended with ${killed ?? `status ${code}`}`);
          this.#failed ||= code !== 0;
        }
        resolve();
      });
    });
  }

  async #end(gone: Promise<unknown>): Promise<void> {
    for (const child of this.#running.values()) child.kill("SIGTERM");
    const over = new AbortController();
    const killLater = systemClock.sleep(patienceMs, over.signal).then(
      () => {
        for (const child of this.#running.values()) child.kill("SIGKILL");
      },
      () => undefined,
    );
    await gone;
    over.abort();
    await killLater;
  }
}
