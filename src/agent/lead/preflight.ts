import type { Logger } from "pino";
import { z } from "zod";
import type { VolunteerSeen } from "../../chooser/snapshot.ts";
import type { Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import type { EtcdClient, Leadership } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { Machine } from "../machine.ts";
import { isProof, isUnreached, preflightPath } from "../server/preflight-stub.ts";
import { short, writeRecord } from "../control/records.ts";
import type { Look } from "./look.ts";

const answerSchema = z.object({
  hostname: z.string().max(253),
  proof: z.string().max(200),
  etcd: z.string().max(100),
  freeBytes: z.number(),
  unreachable: z.array(z.string().max(1_000)).max(64),
});

interface Result {
  /** What the result is about: another instance or other URLs need another proof. */
  readonly subject: string;
  readonly outcome: VolunteerSeen["preflight"];
  readonly atMs: number;
  readonly tries: number;
  /** Peer URLs that were not asked for, as their members were silent: to be tried when they are not. */
  readonly spared: readonly string[];
}

interface Deps {
  readonly machine: Machine;
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger;
  readonly leadership: Leadership;
  /** Rung when a result is there. */
  readonly done: () => void;
}

/** An agent that lives has heard of the removal of its seat by then: its server may be pausing after a crash. */
const outdatedMs = 15_000;

/**
 * Proves volunteers before their URLs reach etcd: the leader writes a nonce, the volunteer answers on its own server URL, and the
 * leader fetches the answer through the advertised one. One bogus learner URL makes every member send it hundreds of requests.
 */
export class Preflights {
  readonly #deps: Deps;
  readonly #results = new Map<string, Result>();
  readonly #running = new Map<string, Promise<void>>();
  /** What agents report of seats that are gone, and since when. */
  readonly #outdated = new Map<string, { readonly member: string; readonly sinceMs: number }>();

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  of(host: string, look: Look): VolunteerSeen["preflight"] {
    const record = look.agents.get(host)?.value;
    if (record?.server === "lost-data" || record?.server === "failed") {
      if (this.#isOutdated(host, record.member, look)) return { state: "pending" };
      return { state: "failed", reason: record.problem ?? `its server is ${record.server}` };
    }
    const result = this.#results.get(host);
    return result && result.subject === subjectOf(host, look) ? result.outcome : { state: "pending" };
  }

  /**
   * Whether it speaks of a seat that was removed, which it has not heard of yet: for as long as that may take. A voter that lost its data
   * and has no spare is removed, and nobody else is to lose a seat for the moment in which it is neither member nor volunteer.
   */
  #isOutdated(host: string, member: string | undefined, { membership }: Look): boolean {
    const nowMs = this.#deps.clock.nowMs();
    if (member === undefined || membership.members.some((row) => row.id === member)) {
      this.#outdated.delete(host);
      return false;
    }
    const before = this.#outdated.get(host);
    if (before?.member !== member) this.#outdated.set(host, { member, sinceMs: nowMs });
    return nowMs - (before?.member === member ? before.sinceMs : nowMs) < outdatedMs;
  }

  /**
   * Starts what is missing: every volunteer without a seat that has not been proved, or failed a while ago. Nobody has to reach the
   * peer URLs of `silent` members: who dies must not take with it those that could replace it.
   */
  ensure(look: Look, dbSize: number, signal: AbortSignal, silent: ReadonlySet<string> = new Set()): void {
    const { clock } = this.#deps;
    for (const host of this.#results.keys()) if (!look.volunteers.has(host)) this.#results.delete(host);
    for (const [host, urls] of look.volunteers) {
      if (this.#running.size >= 8) return;
      if (this.#running.has(host) || look.seats.get(host)?.value.member !== undefined) continue;
      const subject = subjectOf(host, look);
      if (subject === undefined) continue;
      const before = this.#results.get(host);
      if (before?.subject === subject) {
        if (before.outcome.state === "passed" && before.spared.every((url) => silent.has(url))) continue;
        if (before.outcome.state === "failed" && clock.nowMs() - before.atMs < Math.min(30_000, 1_000 * 2 ** before.tries))
          continue;
      }
      const tries = before?.subject === subject ? before.tries + 1 : 0;
      const proof = look.agents.get(host)?.value.proof ?? "";
      const task = this.#prove(host, urls.value, { secret: proof, dbSize, silent }, signal)
        .then(({ reason, spared }) => {
          const outcome: VolunteerSeen["preflight"] =
            reason === undefined ? { state: "passed" } : { state: "failed", reason: short(reason) };
          this.#results.set(host, { subject, outcome, atMs: clock.nowMs(), tries, spared });
          this.#deps.log.debug({ host, outcome }, "pre-flight done");
        })
        .catch((error: unknown) => {
          this.#deps.log.debug({ host, err: error }, "pre-flight given up");
        })
        .finally(() => {
          this.#running.delete(host);
          this.#deps.done();
        });
      this.#running.set(host, task);
    }
  }

  /** Settles when nothing runs any more. */
  async idle(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  async #prove(host: string, urls: readonly string[], wanted: Wanted, signal: AbortSignal): Promise<Verdict> {
    const { machine, client, keys, leadership } = this.#deps;
    const nonce = machine.randomBytes(16).toString("hex");
    const key = keys.preflight.key(host);
    const asked = await client.txn(
      { compare: [leadership.fence()], then: [{ put: key, value: writeRecord("nonce", { nonce }) }] },
      { signal, repeatable: true },
    );
    if (!asked.succeeded) return { reason: "the leader has changed", spared: [] };
    const spared = new Set<string>();
    try {
      for (const url of urls) {
        const verdict = await this.#ask({ host, url, nonce, ...wanted }, signal);
        for (const one of verdict.spared) spared.add(one);
        if (verdict.reason !== undefined) return verdict;
      }
      return { reason: undefined, spared: [...spared] };
    } finally {
      await client
        .txn(
          { compare: [{ key, value: writeRecord("nonce", { nonce }) }], then: [{ del: key }] },
          { repeatable: true, timeoutMs: 1_000 },
        )
        .catch(() => undefined);
    }
  }

  async #ask(asked: Asked, signal: AbortSignal): Promise<Verdict> {
    const { url, nonce } = asked;
    const { machine, clock } = this.#deps;
    const giveUpAtMs = clock.nowMs() + 4_000;
    let reason = "no answer";
    // The volunteer opens its listener when the nonce reaches it: the first tries may be too early.
    for (let waitMs = 10; clock.nowMs() < giveUpAtMs; waitMs = Math.min(200, waitMs * 2)) {
      await clock.sleep(waitMs, signal);
      let text: string;
      try {
        text = await machine.fetchText(`${url}${preflightPath}?nonce=${nonce}`, 2_500, clock, signal);
      } catch (error) {
        signal.throwIfAborted();
        reason = `its server URL ${url} does not answer this leader: ${messageOf(error)}`;
        continue;
      }
      return judge(text, asked);
    }
    return { reason, spared: [] };
  }
}

/** Undefined while there is nothing to prove; also while a former server of that host still runs: its data and instance go with it. */
function subjectOf(host: string, look: Look): string | undefined {
  const record = look.agents.get(host)?.value;
  const urls = look.volunteers.get(host)?.value;
  return record?.server === "none" && urls ? `${record.instance} ${record.etcd ?? ""} ${record.proof} ${urls.join()}` : undefined;
}

interface Wanted {
  readonly secret: string;
  readonly dbSize: number;
  readonly silent: ReadonlySet<string>;
}

interface Asked extends Wanted {
  readonly host: string;
  readonly url: string;
  readonly nonce: string;
}

/** Why a volunteer is not proved; without a reason it is. */
interface Verdict extends Pick<Result, "spared"> {
  readonly reason: string | undefined;
}

/** Whether an answer proves the volunteer. */
export function judge(text: string, { host, url, nonce, secret, dbSize, silent }: Asked): Verdict {
  const refused = (reason: string): Verdict => ({ reason, spared: [] });
  let answer: z.infer<typeof answerSchema>;
  try {
    answer = answerSchema.parse(JSON.parse(text));
  } catch {
    return refused(`what answers at ${url} is not its agent`);
  }
  if (answer.hostname !== host || !isProof(secret, nonce, answer.proof))
    return refused(`what answers at ${url} is another agent (${answer.hostname})`);
  const spared = [...silent].filter((peer) => answer.unreachable.some((problem) => isUnreached(problem, peer)));
  const problem = answer.unreachable.find((one) => !spared.some((peer) => isUnreached(one, peer)));
  if (problem !== undefined) return refused(`from ${host}, ${problem}`);
  const needed = Math.max(2 * dbSize, 160 * 1024 * 1024);
  if (answer.freeBytes < needed) {
    return refused(
      `its disk has ${mib(answer.freeBytes)} MiB free, ${mib(needed)} MiB are needed (two write-ahead logs and twice the database)`,
    );
  }
  return { reason: undefined, spared };
}

function mib(bytes: number): number {
  return Math.floor(bytes / 1024 / 1024);
}
