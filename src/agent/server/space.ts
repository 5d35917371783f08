import type { Logger } from "pino";
import { listOf } from "../../chooser/words.ts";
import type { Clock } from "../../clock.ts";
import { QuorateError, messageOf } from "../../errors.ts";
import {
  alarms,
  compact,
  defragment,
  disarm,
  type EndpointStatus,
  type EtcdClient,
  type MemberRow,
  type Membership,
} from "../../etcd/index.ts";
import type { ControlView } from "../control/control-view.ts";
import { short, writeRecord } from "../control/records.ts";
import type { ResolvedOptions } from "../resolve.ts";

export interface SpaceDeps {
  readonly client: EtcdClient;
  readonly options: Pick<ResolvedOptions, "hostname" | "keys" | "advertiseClientUrls" | "quotaBackendBytes">;
  readonly view: ControlView;
  readonly clock: Clock;
  readonly log: Logger;
  /** The own server serves as a voter. */
  readonly votes: () => boolean;
  /** What keeps etcd from taking writes; undefined when nothing does any more. */
  readonly onProblem: (problem: string | undefined) => void;
}

const lookMs = 5_000;
const callMs = 2_000;
/** A database of many gigabytes takes its time. */
const upkeepMs = 600_000;
/** One request may take 1.5 MiB; with less room than that and a little, the alarm would be back at once. */
const roomBytes = 2 * 1024 * 1024;
/** Before making room again where the last time did not help for long. */
const pauseMs = { first: 5_000, most: 300_000 };
/** Before asking again whether keys were deleted, which costs no more than a compaction. */
const usedPauseMs = 15_000;
const helpedMs = 600_000;

/** What became of one attempt. `used`: nothing can be freed without deleting keys, or with a larger quota. */
type Attempt = { readonly smallestAt: number } & (
  { readonly kind: "freed"; readonly what: string } | { readonly kind: "used"; readonly bytes: number }
);

/**
 * Heals NOSPACE, the alarm under which etcd refuses every put and every new lease, so that no leader could be elected to do it: the
 * agent whose server is the raft leader forgets the history, defragments the others first and itself last, and takes the alarm back.
 * CORRUPT is only told: anyone can raise it, and nobody is replaced for it.
 */
export async function keepSpace(deps: SpaceDeps, signal: AbortSignal): Promise<never> {
  const { clock, log } = deps;
  let told: string | undefined;
  let pause = 0;
  let notBeforeMs = 0;
  let freedMs = -Infinity;
  /** The revision at which the files were last made as small as they get. */
  let smallestAt = 0;
  const tell = (problem: string | undefined): void => {
    if (problem === told) return;
    told = problem;
    if (problem !== undefined) log.warn({ problem }, "etcd has raised an alarm");
    else log.info("etcd takes writes again");
    deps.onProblem(problem);
  };
  for (let waitMs = lookMs; ;) {
    await clock.sleep(waitMs, signal);
    waitMs = lookMs;
    const own = await ownStatus(deps, signal);
    if (own === undefined) continue;
    if (raised(own, "CORRUPT")) tell(corrupt);
    else if (!raised(own, "NOSPACE")) tell(undefined);
    else if (own.raftLeader !== own.memberId)
      tell("etcd has no space left and refuses writes; the agent beside the raft leader frees some");
    else if (clock.nowMs() >= notBeforeMs) {
      if (told === undefined) tell("etcd has no space left and refuses writes; freeing some");
      if (clock.nowMs() - freedMs > helpedMs) pause = 0;
      pause = Math.min(pauseMs.most, Math.max(pauseMs.first, 2 * pause));
      let used = false;
      try {
        const attempt = await makeRoom(deps, smallestAt, signal);
        smallestAt = attempt.smallestAt;
        used = attempt.kind === "used";
        if (attempt.kind === "used") tell(usedUp(attempt.bytes, deps.options.quotaBackendBytes));
        else {
          freedMs = clock.nowMs();
          waitMs = 0;
          log.warn({ what: attempt.what }, "made room in etcd");
          await tellEvent(deps, attempt.what, signal);
        }
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof QuorateError)) throw error;
        log.warn({ err: error }, "making room in etcd failed; trying again");
      }
      notBeforeMs = clock.nowMs() + (used ? Math.min(pause, usedPauseMs) : pause);
    }
  }
}

const corrupt =
  "etcd says that the data of a member is CORRUPT and refuses everything: `etcdctl alarm list` names it; take it away on that host (stop the agent, move its data aside, start it), then `etcdctl alarm disarm`";

function usedUp(bytes: number, quota: number): string {
  return `etcd's space is used up: ${mib(bytes)} MiB of keys and a quota of ${mib(quota)} MiB; delete keys, which it still accepts, or start all agents again with a larger --quota-backend-bytes`;
}

function mib(bytes: number): number {
  return Math.round(bytes / 1024 / 1024);
}

function raised({ errors }: EndpointStatus, alarm: string): boolean {
  return errors.some((error) => error.includes(alarm));
}

async function ownStatus({ client, options, votes }: SpaceDeps, signal: AbortSignal): Promise<EndpointStatus | undefined> {
  const [url] = options.advertiseClientUrls;
  if (url === undefined || !votes()) return undefined;
  try {
    return await client.status(url, { signal, timeoutMs: callMs });
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** Everything in it is done through the raft leader's side of the cluster and needs neither a put nor a lease. */
async function makeRoom(deps: SpaceDeps, smallestAt: number, signal: AbortSignal): Promise<Attempt> {
  const { client, options, log } = deps;
  const membership = await client.readMembership({ signal });
  await compact(client, membership.revision, { signal, timeoutMs: upkeepMs });
  const { revision } = membership;
  const before = await ownStatus(deps, signal);
  // What is in use now is what the files shrink to: defragmenting stops a server for a while, so not for nothing. Only etcd 3.4 counts
  // what a compaction freed from the write after it on, and there is none under the alarm.
  const isKnown = before?.version.startsWith("3.4.") !== true || revision === smallestAt;
  if (before && isKnown && before.dbSizeInUse + roomBytes > options.quotaBackendBytes)
    return { kind: "used", bytes: before.dbSizeInUse, smallestAt };
  const done: string[] = [];
  for (const row of lastOf(membership, before?.memberId)) {
    const [url] = row.clientUrls;
    if (url === undefined) continue;
    try {
      await defragment(client, url, { signal, timeoutMs: upkeepMs });
      done.push(row.name);
    } catch (error) {
      signal.throwIfAborted();
      // One that is away raises the alarm anew when it is back and still too large.
      log.warn({ member: row.id, reason: messageOf(error) }, "not defragmented");
    }
  }
  const after = await ownStatus(deps, signal);
  if (after && after.dbSize + roomBytes > options.quotaBackendBytes)
    return { kind: "used", bytes: after.dbSizeInUse, smallestAt: revision };
  const call = { signal, timeoutMs: callMs };
  for (const alarm of await alarms(client, call)) if (alarm.kind === "NOSPACE") await disarm(client, alarm, call);
  const shrunk = before && after ? ` (${mib(before.dbSize)} -> ${mib(after.dbSize)} MiB)` : "";
  return {
    kind: "freed",
    smallestAt: revision,
    what: `freed space${shrunk}: forgot the history up to ${revision}, defragmented ${listOf(done)}`,
  };
}

/** The own member last: as the raft leader it holds up everybody. */
function lastOf({ members }: Membership, own: string | undefined): readonly MemberRow[] {
  return members.toSorted((a, b) => Number(a.id === own) - Number(b.id === own));
}

/** There may be no leader to tell it, so this agent does. */
async function tellEvent({ client, options, view, clock, log }: SpaceDeps, what: string, signal: AbortSignal): Promise<void> {
  const { keys, hostname } = options;
  try {
    const { revision } = await client.get(keys.cluster, { signal });
    const value = writeRecord("event", {
      schema: 1,
      step: "space",
      agent: hostname,
      what: short(what),
      because: "etcd had no space left and refused writes (NOSPACE)",
      leader: view.leader() ?? "",
      leaderRevision: 0,
      at: clock.wallTime().toISOString(),
    });
    const id = `${String(revision).padStart(16, "0")}-space`;
    await client.put(keys.events.key(id), value, { signal });
  } catch (error) {
    signal.throwIfAborted();
    log.info({ reason: messageOf(error) }, "the event was not written");
  }
}
