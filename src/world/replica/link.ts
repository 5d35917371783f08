import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { join } from "node:path";
import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import { feederExit } from "./feeder-settings.ts";
import type { FeederSettings } from "./feeder-settings.ts";
import type { ReplicaFolder } from "./folder.ts";
import { programPath } from "./programs.ts";
import { onMessages, send } from "./protocol.ts";
import type { FeederPosition, FeederState, FromFeeder, ToFeeder } from "./protocol.ts";

/** Between two tries to reach a feeder. */
const pauseMs = { first: 5, most: 10, failed: 2_000 };
/** How the kernel ends a process that has touched what it must not, or that has found itself to be wrong. */
const faults: readonly NodeJS.Signals[] = ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"];
/** After so many of those what they used is not used again, however sound it looks. */
const mostCrashes = 2;
/** A feeder that ends by itself this often in a row cannot be had. */
const mostFailures = 3;

/** How long the end of a feeder is waited for that was started here. */
const endMs = 1_000;

/**
 * The connection of one user to the feeder of a folder. It starts one where there is none, and again when that has died: of several
 * users one wins, by the folder's lock, and all use its feeder.
 */
export class FeederLink implements AsyncDisposable {
  readonly #folder: ReplicaFolder;
  readonly #settings: FeederSettings;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #onNews: () => void;
  readonly #over = new AbortController();
  readonly #running: Promise<void>;
  #socket: Socket | undefined;
  #greeted = false;
  #starting = false;
  #failures = 0;
  /** How often in a row a feeder was ended by what only a bad file, or a mistake of LMDB's, does. */
  #crashes = 0;
  /** Settles when the feeder that was started here last has ended. */
  #child: Promise<void> | undefined;
  #state: FeederState | undefined;
  #position: FeederPosition | undefined;
  #trouble: string | undefined;
  /** How often a connection was made. */
  connections = 0;

  /** `onNews` is called after anything has changed, and must not throw. */
  constructor(folder: ReplicaFolder, settings: FeederSettings, clock: Clock, log: Logger | undefined, onNews: () => void) {
    this.#folder = folder;
    this.#settings = settings;
    this.#clock = clock;
    this.#log = log;
    this.#onNews = onNews;
    this.#running = this.#run().catch(() => undefined);
  }

  /** What was told last; of the feeder before where there is none at present. */
  get state(): FeederState | undefined {
    return this.#state;
  }

  get position(): FeederPosition | undefined {
    return this.#position;
  }

  /** And greeted: until then `state` is what the feeder before has told. */
  get connected(): boolean {
    return this.#socket !== undefined && this.#greeted;
  }

  /** One was started from here, and goes on, or has not been heard of yet. */
  get starting(): boolean {
    return this.#starting;
  }

  /** Why there is no feeder, and will hardly be one. */
  get trouble(): string | undefined {
    return this.#state?.refused ?? this.#trouble;
  }

  tell(message: ToFeeder): void {
    if (this.#socket !== undefined) send(this.#socket, message);
  }

  /** Whether the feeder that was started here has ended; waits for it, for a second: others may use it. True where none was. */
  async ended(): Promise<boolean> {
    const child = this.#child;
    if (child === undefined) return true;
    const never = new AbortController();
    const late = this.#clock.sleep(endMs, never.signal).then(
      () => false,
      () => true,
    );
    const gone = await Promise.race([child.then(() => true), late]);
    never.abort();
    return gone;
  }

  /** The feeder ends where this was its last user. Idempotent. */
  async close(): Promise<void> {
    this.#over.abort(new Error("The replica was closed"));
    this.#socket?.destroy();
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run(): Promise<never> {
    for (let pause = pauseMs.first; ;) {
      const socket = await this.#dial();
      if (socket !== undefined) {
        pause = pauseMs.first;
        await this.#talk(socket);
        this.#onNews();
        this.#over.signal.throwIfAborted();
        continue;
      }
      if (!this.#starting) void this.#start();
      await this.#clock.sleep(this.#failures >= mostFailures ? pauseMs.failed : pause, this.#over.signal);
      pause = Math.min(2 * pause, pauseMs.most);
    }
  }

  async #dial(): Promise<Socket | undefined> {
    try {
      const { path, release } = await this.#folder.socketPath();
      try {
        const socket = connect({ path });
        socket.on("error", () => undefined);
        await once(socket, "connect", { signal: this.#over.signal });
        return socket;
      } finally {
        await release();
      }
    } catch {
      this.#over.signal.throwIfAborted();
      return undefined;
    }
  }

  /** Until the connection ends. */
  async #talk(socket: Socket): Promise<void> {
    if (this.#over.signal.aborted) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.#greeted = false;
    this.connections++;
    onMessages<FromFeeder>(socket, (message) => {
      this.#failures = 0;
      this.#trouble = undefined;
      if (message.kind === "at") this.#position = message;
      else this.#take(message);
      this.#onNews();
    });
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    this.#socket = undefined;
  }

  #take(state: FeederState): void {
    const { lastRelist } = state;
    if (lastRelist !== undefined && JSON.stringify(lastRelist) !== JSON.stringify(this.#state?.lastRelist)) {
      this.#log?.[lastRelist.cause === "empty" ? "debug" : "info"](
        { ...lastRelist, folder: this.#folder.path },
        "the replica was listed anew",
      );
    }
    const { clusterId, foreign } = state;
    if (foreign !== undefined && foreign !== this.#state?.foreign) {
      this.#log?.error({ foreign, clusterId, folder: this.#folder.path }, "another cluster answers, and is not listened to");
    }
    if (this.#state !== undefined && state.predecessors.length > this.#state.predecessors.length) {
      const predecessor = state.predecessors.at(-1);
      this.#log?.warn({ predecessor, folder: this.#folder.path }, "the cluster has a successor, which is followed");
    }
    if (state.refused !== undefined && this.#state?.refused === undefined) {
      this.#log?.warn({ why: state.refused, folder: this.#folder.path }, "no replica is kept");
    }
    this.#state = state;
    this.#greeted = true;
  }

  /** Never rejects. */
  async #start(): Promise<void> {
    this.#starting = true;
    try {
      const running = this.#runFeeder();
      this.#onNews();
      const ended = await running.catch(messageOf);
      if (ended !== undefined) {
        this.#failures++;
        this.#trouble = this.#failures >= mostFailures ? ended : undefined;
        this.#log?.warn({ why: ended, folder: this.#folder.path }, "the replica's feeder has ended");
        this.#onNews();
      }
    } finally {
      this.#starting = false;
    }
  }

  /** Resolves when it has ended, with the reason where that is no good one. It goes on without us. */
  async #runFeeder(): Promise<string | undefined> {
    const crashed = this.#crashes >= mostCrashes;
    const why = `${this.#crashes} feeders in a row were ended by a fault while they used it`;
    const args = [programPath("feeder-main"), JSON.stringify({ ...this.#settings, ...(crashed ? { distrust: why } : {}) })];
    const said = join(this.#folder.path, "feeder.log");
    // A file and no pipe: it may say something when we have gone.
    // Another user's feeder may have left one that is not ours to write.
    const log = await open(said, "w", 0o600).catch(() => undefined);
    // Not in our group: a ^C at our terminal is not for it, and other programs may use it when we have gone.
    const child = spawn(process.execPath, args, {
      detached: true,
      stdio: ["ignore", "ignore", log?.fd ?? "ignore"],
      cwd: this.#folder.path,
    });
    child.unref();
    this.#child = new Promise((resolve) => {
      child.once("error", () => resolve());
      child.once("exit", () => resolve());
    });
    let leave = (): void => undefined;
    const ended = await new Promise<string | undefined>((resolve) => {
      child.once("error", (error) => resolve(messageOf(error)));
      child.once("exit", (code, signal) => {
        this.#crashes = signal !== null && faults.includes(signal) ? this.#crashes + 1 : 0;
        const good = code === feederExit.done || code === feederExit.another;
        resolve(good ? undefined : `it ended with ${signal ?? `exit code ${code}`}`);
      });
      leave = () => {
        // It may wait still for whoever started it to come.
        child.kill("SIGTERM");
        resolve(undefined);
      };
      this.#over.signal.addEventListener("abort", leave, { once: true });
    });
    this.#over.signal.removeEventListener("abort", leave);
    await log?.close();
    if (ended === undefined) return undefined;
    const text = await readFile(said, "utf8").catch(() => "");
    return /^.*Error: .*$/m.exec(text)?.[0] ?? ended;
  }
}
