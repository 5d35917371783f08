import type { Facts } from "../../chooser/index.ts";
import { messageOf } from "../../errors.ts";
import type { EndpointStatus } from "../../etcd/index.ts";
import type { Machine } from "../machine.ts";
import { carryOut, dropUpdate, updateUrls, type CarryOutDeps, type Outcome } from "./carry-out.ts";
import type { Look } from "./look.ts";

/** A member whose agent is back with other server URLs than etcd has for it. */
export interface Moved {
  readonly agent: string;
  readonly member: string;
  readonly learner: boolean;
  readonly urls: readonly string[];
  readonly before: readonly string[];
}

/**
 * The first member that has moved. Only the agent's own word counts, on its own lease: the one that runs that member's server now. A
 * voter must answer where it serves clients. Nobody moves to an address of another member.
 */
export function movedMember(look: Look, answered: (id: string) => boolean): Moved | undefined {
  const rows = look.membership.members;
  const moved = rows.flatMap((row): Moved[] => {
    const agent = [...look.seats].find(([, seat]) => seat.value.member === row.id)?.[0];
    const record = agent === undefined ? undefined : look.agents.get(agent);
    const offer = agent === undefined ? undefined : look.volunteers.get(agent);
    if (agent === undefined || !record || !offer || look.leaving.has(agent)) return [];
    if (offer.entry.lease === "0" || offer.entry.lease !== record.entry.lease) return [];
    const urls = offer.value;
    if (same(urls, row.peerUrls) || rows.some((other) => other !== row && overlap(urls, other.peerUrls))) return [];
    const runs = record.value.member === row.id && record.value.server === "serving";
    if (!row.learner && !(runs && answered(row.id))) return [];
    return [{ agent, member: row.id, learner: row.learner, urls, before: row.peerUrls }];
  });
  return moved.toSorted((a, b) => (a.agent < b.agent ? -1 : 1))[0];
}

function plain(urls: readonly string[]): readonly string[] {
  return urls.map((url) => (URL.canParse(url) ? new URL(url).href : url)).toSorted();
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return plain(a).join() === plain(b).join();
}

function overlap(a: readonly string[], b: readonly string[]): boolean {
  const others = plain(b);
  return plain(a).some((url) => others.includes(url));
}

export interface AddressDeps extends CarryOutDeps {
  readonly machine: Pick<Machine, "fetchText">;
}

interface Seen {
  readonly look: Look;
  readonly answers: ReadonlyMap<string, EndpointStatus>;
  readonly raftLeader: string | undefined;
  readonly facts: Facts;
}

/** After this long a change of URLs whose outcome is not known can not land any more. */
const landsWithinMs = 120_000;
/** Before the same change is made again, should etcd not keep the URLs as it was given them. */
const againMs = 60_000;
const proofMs = 1_000;

/**
 * Follows members to other addresses, one at a time, and before anything else is planned: the others cannot reach them where they
 * were. A voter keeps its seat and gets other URLs there; a learner is removed and, as a volunteer, added again: etcd before 3.5.31 takes
 * a learner for a voter once its URLs were changed.
 */
export class Addresses {
  readonly #deps: AddressDeps;
  #openSinceMs: number | undefined;
  #last: { readonly key: string; readonly atMs: number } | undefined;

  constructor(deps: AddressDeps) {
    this.#deps = deps;
  }

  /** Undefined: nobody has moved, or it is not the time for it. */
  async follow(seen: Seen, signal: AbortSignal): Promise<Outcome | undefined> {
    const { look } = seen;
    const open = look.step?.value;
    if (look.paused !== undefined || (open !== undefined && open.op !== "update-urls")) return undefined;
    const moved = movedMember(look, (id) => seen.answers.has(id));
    if (open !== undefined) return this.#complete(seen, moved, signal);
    this.#openSinceMs = undefined;
    if (moved === undefined) return undefined;
    const key = `${moved.member} ${moved.urls.join()}`;
    const { clock, log } = this.#deps;
    if (this.#last?.key === key && clock.nowMs() - this.#last.atMs < againMs) return undefined;
    const outcome = await this.#move(moved, seen, signal);
    log.info({ agent: moved.agent, from: moved.before, to: moved.urls, ...outcome }, "following a member to another address");
    if ("done" in outcome) this.#last = { key, atMs: clock.nowMs() };
    return outcome;
  }

  async #move(moved: Moved, { look, raftLeader, facts }: Seen, signal: AbortSignal): Promise<Outcome> {
    const { agent, member, urls } = moved;
    const because = `${agent} is back at ${urls.join(" and ")}, and was at ${moved.before.join(" and ")}`;
    if (moved.learner) {
      const step = { kind: "remove", agent, member, cause: "failed-learner", passOver: false } as const;
      return carryOut(
        this.#deps,
        step,
        `${because}; a learner is added again with its new address`,
        { look, raftLeader, facts },
        signal,
      );
    }
    const unproved = await this.#whyNotThere(moved, signal);
    if (unproved !== undefined) return { held: unproved };
    return updateUrls(this.#deps, moved, { because, facts }, { look, raftLeader }, signal);
  }

  /** A record whose outcome is not known: the same again while that is still what is wanted. */
  async #complete(seen: Seen, moved: Moved | undefined, signal: AbortSignal): Promise<Outcome> {
    const { clock } = this.#deps;
    const open = seen.look.step?.value;
    this.#openSinceMs ??= clock.nowMs();
    if (moved?.member === open?.member && moved !== undefined && same(moved.urls, open?.peerUrls ?? []))
      return this.#move(moved, seen, signal);
    const row = seen.look.membership.members.find(({ id }) => id === open?.member);
    if (open !== undefined && row !== undefined && open.agent !== undefined && same(row.peerUrls, open.peerUrls ?? [])) {
      // It has happened: the nomination and the event are written with the closing.
      const because = "the recorded change of its server URLs has happened";
      const call = { agent: open.agent, member: row.id, urls: open.peerUrls ?? [] };
      return updateUrls(this.#deps, call, { because, facts: seen.facts }, seen, signal);
    }
    const late = row !== undefined && moved === undefined && clock.nowMs() - this.#openSinceMs < landsWithinMs;
    return late ? { held: "a recorded change of server URLs may still land" } : dropUpdate(this.#deps, seen.look, signal);
  }

  /** What answers at the new URLs must be a server of a cluster that has this member. */
  async #whyNotThere({ agent, member, urls }: Moved, signal: AbortSignal): Promise<string | undefined> {
    const { machine, clock } = this.#deps;
    const wanted = new RegExp(`"id":${BigInt(`0x${member}`)}\\b`);
    for (const url of urls) {
      try {
        if (wanted.test(await machine.fetchText(`${url}/members`, proofMs, clock, signal))) continue;
        return `what answers at ${url}, the new address of ${agent}, is not of this cluster`;
      } catch (error) {
        signal.throwIfAborted();
        return `the new address ${url} of ${agent} does not answer: ${messageOf(error)}`;
      }
    }
    return undefined;
  }
}
