import { once } from "node:events";
import { connect } from "node:net";
import { uptime } from "node:os";
import { within, type Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import type { SshRoute } from "../../ssh/index.ts";
import { ReplicaFolder, ownFolder } from "./folder.ts";
import { onMessages } from "./protocol.ts";
import type { FeederPosition, FeederState, FromFeeder, Relist } from "./protocol.ts";

/** One replica of this host, as somebody sees it who does not use it. */
export interface ReplicaLook {
  readonly folder: string;
  /** `prefix`: the one that an agent keeps; `own`: that of the programs of this user which have no other. */
  readonly of: "prefix" | "own";
  /** `closed`: this user may not read it. `cold`: nobody uses it. `unanswered`: its feeder did not answer in time. Else as ReplicaStatus. */
  readonly state: "closed" | "cold" | "unanswered" | "starting" | "live" | "stale" | "direct";
  /** Why programs of this user do not use it; why no copy is kept. */
  readonly because: string | undefined;
  readonly clusterId: string | undefined;
  /** Path of the file in force. */
  readonly file: string | undefined;
  readonly feederPid: number | undefined;
  readonly revision: number | undefined;
  /** Since the cluster was heard, in milliseconds; 0 while changes arrive. */
  readonly ageMs: number | undefined;
  readonly lastRelist: Relist | undefined;
  /** Of another cluster that answers on a known address. */
  readonly foreign: string | undefined;
  /** Why the cluster is out of reach. */
  readonly lost: string | undefined;
}

/** A feeder judges its file before it greets somebody: one of 1 GiB takes longer. */
const greetingMs = 2_000;

/**
 * The replicas there are on this host: the one under the prefix, and this user's own of that cluster (of any, where it is not known).
 * Starts nothing, maps nothing and changes nothing.
 */
export async function lookAtReplicas(
  of: {
    readonly prefixFolder: string;
    readonly namespace: string;
    readonly ssh: SshRoute | undefined;
    readonly clusterId: string | undefined;
    readonly clock: Clock;
  },
  signal: AbortSignal,
): Promise<readonly ReplicaLook[]> {
  const looks: (ReplicaLook | undefined)[] = [await lookAt(new ReplicaFolder(of.prefixFolder), "prefix", of.clock, signal)];
  if (of.clusterId !== undefined) {
    looks.push(await lookAt(ownFolder(of.clusterId, of), "own", of.clock, signal));
  }
  return looks.filter((one) => one !== undefined);
}

async function lookAt(
  folder: ReplicaFolder,
  of: ReplicaLook["of"],
  clock: Clock,
  signal: AbortSignal,
): Promise<ReplicaLook | undefined> {
  const nothing = {
    ...{ folder: folder.path, of, because: undefined, clusterId: undefined, file: undefined, feederPid: undefined },
    ...{ revision: undefined, ageMs: undefined, lastRelist: undefined, foreign: undefined, lost: undefined },
  };
  const why = await folder.whyNotUsable();
  if (why !== undefined) return { ...nothing, state: "closed", because: `${why}: its programs use a folder of their own` };
  const record = await folder.record();
  const known = record === undefined ? nothing : { ...nothing, clusterId: record.clusterId, file: folder.filePath(record.file) };
  const greeting = await greetingOf(folder, clock, signal);
  if (greeting === undefined) return record === undefined ? undefined : { ...known, state: "cold" };
  if (greeting === "unanswered") return { ...known, state: "unanswered" };
  const { state, position } = greeting;
  const isThere = state.file !== undefined;
  return {
    ...known,
    state: !isThere ? (state.refused === undefined ? "starting" : "direct") : state.live ? "live" : "stale",
    because: state.refused,
    clusterId: state.clusterId ?? known.clusterId,
    file: state.file === undefined ? undefined : folder.filePath(state.file),
    feederPid: state.pid,
    revision: isThere ? position.revision : undefined,
    ageMs: !isThere ? undefined : state.live ? 0 : Math.max(0, 1_000 * uptime() - position.heardMs),
    lastRelist: state.lastRelist,
    foreign: state.foreign,
    lost: state.lost,
  };
}

/** What the feeder says to everybody who comes; undefined where there is none. */
async function greetingOf(
  folder: ReplicaFolder,
  clock: Clock,
  signal: AbortSignal,
): Promise<{ readonly state: FeederState; readonly position: FeederPosition } | "unanswered" | undefined> {
  const socket = await dial(folder, signal);
  if (socket === undefined) return undefined;
  const late = new QuorateError("DEADLINE", `Cannot ask the feeder of ${folder.path}: it does not answer`);
  try {
    return await within(
      greetingMs,
      clock,
      signal,
      () =>
        new Promise((resolve) => {
          let state: FeederState | undefined;
          onMessages<FromFeeder>(socket, (message) => {
            if (message.kind === "state") state = message;
            else if (state !== undefined) resolve({ state, position: message });
          });
          // It ended in this moment.
          socket.once("close", () => resolve(undefined));
        }),
      () => late,
    );
  } catch (error) {
    if (error !== late) throw error;
    return "unanswered";
  } finally {
    socket.destroy();
  }
}

async function dial(folder: ReplicaFolder, signal: AbortSignal): Promise<ReturnType<typeof connect> | undefined> {
  try {
    const { path, release } = await folder.socketPath();
    try {
      const socket = connect({ path });
      socket.on("error", () => undefined);
      await once(socket, "connect", { signal });
      return socket;
    } finally {
      await release();
    }
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}
