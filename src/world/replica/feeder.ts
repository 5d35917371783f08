import { chmod, chown, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { uptime } from "node:os";
import { systemClock } from "../../clock.ts";
import { messageOf, QuorateError } from "../../errors.ts";
import { EtcdClient, MemberEndpoints } from "../../etcd/index.ts";
import { keysUnder } from "../../keys.ts";
import type { FeederSettings } from "./feeder-settings.ts";
import { bootId, groupId, presentCluster } from "./folder.ts";
import type { ReplicaFolder } from "./folder.ts";
import { Follow } from "./follow.ts";
import { Generations, TooLarge } from "./generations.ts";
import type { Estate } from "./generations.ts";
import { onMessages, send } from "./protocol.ts";
import { wiresThrough } from "./way.ts";
import type { FeederPosition, FeederState, ToFeeder } from "./protocol.ts";

/** How long it waits for its first user. */
const firstUserMs = 10_000;
/** Quiet times are kept on disk this often, and the endpoints asked for. */
const noteMs = 5_000;
/** A file that was judged this recently is not judged again for the next user. */
const judgedMs = 1_000;
/** A user that does not read is told the latest only, once it reads again. */
const mostUnsent = 64 * 1024;

/**
 * Feeds one folder until its last user has gone; the folder is locked. `left`: what an earlier feeder left there. `unwanted` fires when
 * whoever started it has gone: nobody is waited for any more.
 */
export async function feed(
  settings: FeederSettings,
  folder: ReplicaFolder,
  left: Estate | undefined,
  unwanted: AbortSignal,
): Promise<void> {
  await new Feeder(settings, folder, left).run(unwanted);
}

class Feeder {
  readonly #settings: FeederSettings;
  readonly #folder: ReplicaFolder;
  readonly #left: Estate | undefined;
  readonly #users = new Map<Socket, { behind: boolean }>();
  readonly #over = new AbortController();
  readonly #generations: Generations;
  readonly #members: MemberEndpoints;
  #endpoints: readonly string[];
  #client!: EtcdClient;
  #follow: Follow | undefined;
  #refused: string | undefined;
  #foreign: string | undefined;
  #judgedMs = -Infinity;
  #judging: Promise<void> | undefined;
  #scheduled = false;

  constructor(settings: FeederSettings, folder: ReplicaFolder, left: Estate | undefined) {
    this.#settings = settings;
    this.#left = left;
    this.#folder = folder;
    this.#endpoints = settings.endpoints;
    this.#members = new MemberEndpoints(settings.endpoints);
    this.#generations = new Generations({
      folder,
      keys: keysUnder(settings.namespace),
      client: () => this.#client,
      endpoints: () => this.#endpoints,
      bootId: bootId(settings.bootIdPath),
      group: settings.group,
      mostBytes: settings.mostBytes,
      uptimeMs: () => 1_000 * uptime(),
      nowMs: () => systemClock.nowMs(),
      onState: () => {
        this.#tellState();
      },
      onPosition: () => {
        this.#tellPosition();
      },
      onDamaged: (why) => {
        this.#distrust(why);
      },
      onTooLarge: (why) => {
        this.#follow?.relist({ cause: "size", why });
      },
    });
  }

  async run(unwanted: AbortSignal): Promise<void> {
    const server = await this.#listen();
    if (unwanted.aborted) this.#leaveIfAlone();
    unwanted.addEventListener("abort", () => {
      this.#leaveIfAlone();
    });
    try {
      this.#endpoints = [...new Set([...this.#settings.endpoints, ...(this.#left?.record.endpoints ?? [])])];
      const first = await this.#generations.inherit(this.#left, this.#settings.clusterId, this.#settings.distrust);
      await this.#folder.removeFiles(this.#generations.name);
      this.#judgedMs = systemClock.nowMs();
      const clusterId = presentCluster(this.#settings.clusterId, this.#left?.record) ?? this.#generations.clusterId;
      this.#client = EtcdClient.create({
        endpoints: this.#endpoints,
        clock: systemClock,
        ...(await wiresThrough(this.#settings, systemClock)),
        ...(this.#settings.login === undefined ? {} : { login: this.#settings.login }),
        ...(clusterId === undefined ? {} : { clusterId }),
        onForeign: ({ endpoint, found }) => {
          this.#foreign = `${endpoint} belongs to cluster ${found}`;
          this.#tellState();
        },
        markerKey: keysUnder(this.#settings.namespace).cluster,
        onSuccessor: ({ predecessor }) => {
          this.#generations.succeeded(predecessor);
          this.#foreign = undefined;
        },
      });
      const range = keysUnder(this.#settings.namespace).aroundWorld;
      const follow = new Follow(this.#client, range, this.#generations, systemClock, this.#over.signal);
      this.#follow = follow;
      this.#tellState();
      void this.#keep();
      await follow.run(first).catch((error: unknown) => this.#endOf(error));
    } finally {
      for (const user of this.#users.keys()) user.destroy();
      server.close();
      await this.#generations.close();
      await (this.#client as EtcdClient | undefined)?.close();
    }
  }

  /** What ends the following: nobody is left, or it cannot be done at all. Then users are told, and served no more than that. */
  async #endOf(error: unknown): Promise<void> {
    if (this.#over.signal.aborted) return;
    if (!(error instanceof TooLarge) && !(error instanceof QuorateError)) throw error;
    this.#refused = messageOf(error);
    this.#generations.withdraw();
    await this.#folder.removeFiles(undefined);
    await new Promise<void>((resolve) => {
      this.#over.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  async #listen(): Promise<Server> {
    const server = createServer((user) => {
      this.#welcome(user);
    });
    const { path, release } = await this.#folder.socketPath();
    // Whoever holds the lock is alone: what is there is left of a feeder that was killed.
    await rm(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    const { group } = this.#settings;
    if (group !== undefined) await chown(path, -1, groupId(group));
    await chmod(path, group === undefined ? 0o600 : 0o660);
    if (path.startsWith("/proc/")) server.once("close", () => void release());
    systemClock.sleep(firstUserMs, this.#over.signal).then(
      () => {
        this.#leaveIfAlone();
      },
      () => undefined,
    );
    return server;
  }

  #welcome(user: Socket): void {
    const state = { behind: false };
    this.#users.set(user, state);
    user.on("error", () => undefined);
    user.once("close", () => {
      this.#users.delete(user);
      this.#generations.forgetDeadReaders();
      this.#leaveIfAlone();
    });
    user.on("drain", () => {
      if (!state.behind) return;
      state.behind = false;
      send(user, this.#state());
      send(user, this.#position());
    });
    onMessages<ToFeeder>(user, (message) => {
      if (message.kind === "want") {
        // It may be the file that has gone back, and not the cluster that is ahead.
        this.#generations.verify();
        this.#follow?.want(message.revision);
      }
      // What is said of an earlier file is over.
      else if (message.file === this.#generations.name) this.#follow?.relist({ cause: message.cause, why: message.why });
    });
    void this.#admit(user);
  }

  /** Nobody maps a file that was not judged a moment ago: it may have been damaged since it was written. */
  async #admit(user: Socket): Promise<void> {
    if (this.#generations.name !== undefined && systemClock.nowMs() - this.#judgedMs > judgedMs)
      await (this.#judging ??= this.#judge());
    send(user, this.#state());
    send(user, this.#position());
  }

  async #judge(): Promise<void> {
    const doubt = await this.#generations.judge();
    this.#judging = undefined;
    this.#judgedMs = systemClock.nowMs();
    if (doubt === undefined) {
      // What was not told meanwhile: nobody was to hear of the file.
      this.#tellState();
      return;
    }
    this.#distrust(doubt);
  }

  #distrust(why: string): void {
    this.#generations.withdraw();
    this.#follow?.relist({ cause: "damaged", why });
  }

  #leaveIfAlone(): void {
    if (this.#users.size === 0) this.#over.abort(new Error("The last user has gone"));
  }

  #state(): FeederState {
    const { name, clusterId, live, lost, progressPossible, relists, lastRelist, skipped, predecessors } = this.#generations;
    return {
      kind: "state",
      pid: process.pid,
      endpoints: this.#endpoints,
      live,
      relists,
      skipped,
      predecessors,
      ...(name === undefined ? {} : { file: name }),
      ...(clusterId === undefined ? {} : { clusterId }),
      ...(lost === undefined ? {} : { lost }),
      ...(progressPossible === undefined ? {} : { progress: progressPossible }),
      ...(lastRelist === undefined ? {} : { lastRelist }),
      ...(this.#refused === undefined ? {} : { refused: this.#refused }),
      ...(this.#foreign === undefined ? {} : { foreign: this.#foreign }),
    };
  }

  #position(): FeederPosition {
    return { kind: "at", ...this.#generations.position, applied: this.#generations.applied };
  }

  #tellState(): void {
    if (this.#judging === undefined) this.#tell(this.#state());
  }

  /** Once a turn. */
  #tellPosition(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#tell(this.#position());
    });
  }

  #tell(message: FeederState | FeederPosition): void {
    for (const [user, state] of this.#users) {
      if (user.writableLength > mostUnsent) state.behind = true;
      else send(user, message);
    }
  }

  /** Until the end: what a next feeder can start from, and where the cluster is found. */
  async #keep(): Promise<void> {
    try {
      for (;;) {
        await systemClock.sleep(noteMs, this.#over.signal);
        this.#generations.note();
        await this.#learnEndpoints();
      }
    } catch {
      // The signal has fired.
    }
  }

  async #learnEndpoints(): Promise<void> {
    if (!this.#generations.live) return;
    const found = await this.#client.readMembership({ signal: this.#over.signal }).catch(() => undefined);
    const all = found && this.#members.of(found);
    if (all === undefined || all.join() === this.#endpoints.join()) return;
    this.#endpoints = all;
    this.#client.endpoints.set(all);
    await this.#generations.writeRecord();
    this.#tellState();
  }
}
