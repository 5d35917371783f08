import type { Change } from "../../../src/etcd/index.ts";
import type { SchedulerKeys } from "../../../src/keys.ts";
import { parseResult } from "../../../src/world/scheduler/records.ts";

/** What etcd's own history says of schedules with one place each, revision by revision. */
export class History {
  readonly wrong: string[] = [];
  /** Whoever has published: create revisions of their election keys. */
  readonly published = new Set<number>();
  /** Ever elected. */
  readonly elected = new Set<number>();
  readonly #keys: SchedulerKeys;
  readonly #standing = new Map<string, number>();
  readonly #places = new Map<string, Map<string, number>>();
  readonly #results = new Map<string, { readonly hosts: readonly string[]; readonly generation: number }>();

  constructor(keys: SchedulerKeys) {
    this.#keys = keys;
  }

  /** In order, all of each revision. */
  take(changes: readonly Change[]): void {
    for (let from = 0; from < changes.length;) {
      const at = revisionOf(changes[from]!);
      let to = from;
      while (to < changes.length && revisionOf(changes[to]!) === at) to++;
      this.#takeRevision(changes.slice(from, to));
      from = to;
    }
  }

  /** They are judged by what was so before. */
  #takeRevision(changes: readonly Change[]): void {
    const leader = Math.min(...this.#standing.values());
    if (leader !== Infinity) this.elected.add(leader);
    for (const change of changes) this.#take(change, leader);
    for (const [name, places] of this.#places)
      if (places.size > 1)
        this.#say(`at ${revisionOf(changes[0]!)} ${[...places.keys()].join(" and ")} have the place of ${name}`);
  }

  active(name: string): readonly string[] {
    return [...(this.#places.get(name)?.keys() ?? [])];
  }

  listed(name: string): readonly string[] {
    return this.#results.get(name)?.hosts ?? [];
  }

  #take(change: Change, leader: number): void {
    const key = change.type === "put" ? change.entry.key : change.key;
    if (this.#keys.schedulers.nameIn(key) !== undefined) {
      if (change.type === "put") this.#standing.set(key, change.entry.createRevision);
      else this.#standing.delete(key);
      return;
    }
    const parsed = this.#keys.parse(key);
    if (parsed?.of === "result" && change.type === "put") this.#takeResult(parsed.name, change.entry, leader);
    if (parsed?.of === "place") this.#takePlace(parsed.name, parsed.host, change);
  }

  #takeResult(
    name: string,
    { value, modRevision: at }: { readonly value: string; readonly modRevision: number },
    leader: number,
  ): void {
    const result = parseResult(value);
    if (result === undefined) return this.#say(`at ${at} ${name} has a result nobody can read`);
    const former = this.#results.get(name);
    const { hosts, generation, scheduler } = result;
    this.#results.set(name, result);
    this.published.add(scheduler);
    if (scheduler !== leader) this.#say(`at ${at} ${scheduler} publishes ${name}, and ${leader} leads`);
    if (generation !== (former?.generation ?? 0) + 1)
      this.#say(`at ${at} generation ${generation} of ${name} comes after ${former?.generation ?? 0}`);
    const others = this.active(name).filter((host) => !hosts.includes(host));
    const coming = hosts.filter((host) => former?.hosts.includes(host) !== true);
    if (coming.length > 0 && others.length > 0)
      this.#say(`at ${at} ${coming.join()} comes to ${name} while ${others.join()} has its place`);
    if (hosts.length > 1) this.#say(`at ${at} ${name} lists ${hosts.join()}`);
  }

  #takePlace(name: string, host: string, change: Change): void {
    const places = this.#places.get(name) ?? new Map<string, number>();
    this.#places.set(name, places);
    if (change.type === "del") places.delete(host);
    else {
      places.set(host, change.entry.createRevision);
      if (!this.listed(name).includes(host))
        this.#say(`at ${change.entry.modRevision} ${host} takes a place in ${name}, and is not listed`);
    }
  }

  #say(what: string): void {
    this.wrong.push(what);
  }
}

/** What one host has said of itself: it counted itself as scheduled from `atMs` until `lastMs` at least. */
export interface Belief {
  readonly host: string;
  readonly name: string;
  /** Later places have higher ones. */
  readonly revision: number;
  readonly atMs: number;
  lastMs: number;
}

/** Who counted itself as scheduled after another one had come in its place. */
export function overlaps(beliefs: readonly Belief[]): string[] {
  const wrong: string[] = [];
  for (const name of new Set(beliefs.map((one) => one.name))) {
    const inTurn = beliefs.filter((one) => one.name === name).toSorted((a, b) => a.revision - b.revision);
    let last: Belief | undefined;
    for (const one of inTurn) {
      if (last !== undefined && one.atMs <= last.lastMs)
        wrong.push(`${one.host} began in ${name} at ${one.atMs}, and ${last.host} had its place until ${last.lastMs}`);
      if (last === undefined || one.lastMs > last.lastMs) last = one;
    }
  }
  return wrong;
}

function revisionOf(change: Change): number {
  return change.type === "put" ? change.entry.modRevision : change.revision;
}
