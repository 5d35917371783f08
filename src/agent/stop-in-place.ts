import type { Logger } from "pino";
import { listOf } from "../chooser/words.ts";
import type { Clock } from "../clock.ts";
import { QuorateError, messageOf } from "../errors.ts";
import type { EndpointStatus, EtcdClient, Membership } from "../etcd/index.ts";
import { statuses } from "./lead/look.ts";
import { raftLeaderOf } from "./lead/memory.ts";
import type { ResolvedOptions } from "./resolve.ts";

/** What a server that is to stop in place does not take along: the quorum, if it can be helped, and the raft leadership. */

interface StopDeps {
  readonly client: EtcdClient;
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A voter, as far as the stop of another is concerned. */
export interface OtherVoter {
  readonly name: string;
  /** It answers and follows the raft leader. */
  readonly takesPart: boolean;
  /** It announced that it stops in place, before this one did or after it. */
  readonly stops: "before" | "after" | undefined;
}

/** How long a stop waits for others to come back. */
export const stopWaitMs = 20_000;
const againMs = 250;
/** An election is over by then: where nobody can tell who the members are, there is no quorum to be kept. */
const lookMs = 3_000;
const statusMs = 1_000;
const handOverMs = 2_000;

/**
 * The voters whose return a voter waits for before it stops, as there would be no quorum without it and them; none where it may stop
 * now. Those that stop at the same time go in the order in which they announced it. Nobody waits where there is no quorum to be kept,
 * where everybody stops, or where nobody is away whose return would help.
 */
export function waitsFor(others: readonly OtherVoter[]): readonly string[] {
  const quorum = Math.floor((others.length + 1) / 2) + 1;
  const there = others.filter(({ takesPart }) => takesPart);
  if (there.length + 1 < quorum) return [];
  if (there.filter(({ stops }) => stops !== "before").length >= quorum) return [];
  if (there.every(({ stops }) => stops !== undefined)) return [];
  return others.filter(({ takesPart, stops }) => !takesPart || stops === "before").map(({ name }) => name);
}

/**
 * Before the server of member `own` stops: waits at most `waitMs` while that would cost the quorum, and hands raft leadership over.
 * The stop must have been announced. Rejects with the signal's reason only.
 */
export async function beforeStop(deps: StopDeps, own: string, waitMs: number, signal: AbortSignal): Promise<void> {
  const { clock, log } = deps;
  const untilMs = clock.nowMs() + waitMs;
  for (let said = ""; ;) {
    const seen = await see(deps, own, signal);
    if (seen === undefined) return;
    const missing = waitsFor(seen.others);
    const over = clock.nowMs() >= untilMs;
    if (missing.length === 0 || over) {
      if (missing.length > 0 && waitMs > 0)
        log.warn({ missing }, "stopping although that costs the quorum: nobody came back in time");
      return handOver(deps, seen, own, signal);
    }
    const names = listOf(missing);
    if (names !== said)
      log.info({ missing }, `waiting for ${names} before this server stops: there is no quorum without it and them`);
    said = names;
    await clock.sleep(againMs, signal);
  }
}

interface Seen {
  readonly membership: Membership;
  readonly answers: ReadonlyMap<string, EndpointStatus>;
  readonly raftLeader: string | undefined;
  readonly others: readonly OtherVoter[];
}

/** Undefined where that cannot be read, or `own` is no voter. */
async function see({ client, options: { keys } }: StopDeps, own: string, signal: AbortSignal): Promise<Seen | undefined> {
  try {
    const { start: range, end } = keys.restarting;
    const membership = await client.readMembership({ signal, timeoutMs: lookMs, look: [{ range, end }] });
    const answers = await statuses(client, membership.members, statusMs, signal);
    const raftLeader = raftLeaderOf(membership.members, answers);
    const announced = new Map(
      membership.ranges.flat().map((entry) => [keys.restarting.nameIn(entry.key), entry.createRevision] as const),
    );
    const voters = membership.members.filter(({ learner }) => !learner);
    const self = voters.find(({ id }) => id === own);
    if (!self) return undefined;
    const sinceRevision = announced.get(self.name) ?? Infinity;
    const others = voters
      .filter((row) => row !== self)
      .map((row): OtherVoter => {
        const at = announced.get(row.name);
        return {
          name: row.name === "" ? `member ${row.id}` : row.name,
          takesPart: raftLeader !== undefined && answers.get(row.id)?.raftLeader === raftLeader,
          stops: at === undefined ? undefined : at < sinceRevision ? "before" : "after",
        };
      });
    return { membership, answers, raftLeader, others };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof QuorateError) return undefined;
    throw error;
  }
}

/** To the voter that stays, and is the furthest. Else etcd does that itself while it stops, when its clients are cut off already. */
async function handOver(
  { client, options, log }: StopDeps,
  { membership, answers, raftLeader, others }: Seen,
  own: string,
  signal: AbortSignal,
): Promise<void> {
  const [url] = options.advertiseClientUrls;
  if (raftLeader !== own || url === undefined) return;
  const rank = (name: string): number => {
    const other = others.find((one) => one.name === name);
    return other?.takesPart === true ? (other.stops === undefined ? 2 : 1) : 0;
  };
  const indexOf = (id: string): number => answers.get(id)?.appliedIndex ?? 0;
  const [to] = membership.members
    .filter(({ name, id, learner }) => !learner && id !== own && rank(name) > 0)
    .sort((a, b) => rank(b.name) - rank(a.name) || indexOf(b.id) - indexOf(a.id));
  if (to === undefined) return;
  try {
    await client.moveLeader(url, to.id, { signal, timeoutMs: handOverMs });
    log.info({ to: to.name }, "raft leadership handed over before this server stops");
  } catch (error) {
    signal.throwIfAborted();
    log.debug({ reason: messageOf(error) }, "raft leadership was not handed over");
  }
}
