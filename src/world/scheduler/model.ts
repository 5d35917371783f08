import type { KeyRange, SchedulerKeys } from "../../keys.ts";
import { textOf } from "../names.ts";
import type { Entry, ReplicaNews } from "../replica/index.ts";
import { eligibleOf, exchange, isEligible } from "./eligible.ts";
import { isSame, plan } from "./plan.ts";
import type { Planned } from "./plan.ts";
import { parseCandidate, parseResult } from "./records.ts";
import type { CandidateRecord, ResultRecord } from "./records.ts";
import { parseRules, resolveRules } from "./rules.ts";
import type { Rules } from "./rules.ts";
import type { Candidate } from "./strategies/index.ts";

/** What is known of one namespace. */
export interface Namespace {
  readonly name: string;
  /** With its defaults, also where none are stored. */
  rules: Rules | { readonly refused: string };
  /** At which the options were written; 0 where there are none. */
  optionsRevision: number;
  readonly candidates: Map<string, CandidateRecord>;
  /** Kept as candidates change; empty where the rules cannot be read. */
  eligible: Candidate[];
  readonly active: Set<string>;
  /** Undefined where there is none, or none that can be read. */
  result: ResultRecord | undefined;
  resultRevision: number;
  /** The highest generation that was seen: what somebody writes over does not begin anew. */
  generation: number;
}

export interface Publication {
  readonly planned: Planned;
  readonly generation: number;
}

const defaults = resolveRules({});
const notJson = "its value is none that the scheduler writes";

/** All that is scheduled, as of one revision. Pure: it is told what the keys say, and says what is to be published. */
export class Model {
  readonly #keys: SchedulerKeys;
  readonly #onMalformed: (key: string, why: string) => void;
  readonly namespaces = new Map<string, Namespace>();
  revision = 0;

  constructor(keys: SchedulerKeys, onMalformed: (key: string, why: string) => void) {
    this.#keys = keys;
    this.#onMalformed = onMalformed;
  }

  /** The names of all that it changes something about. */
  apply(news: ReplicaNews): ReadonlySet<string> {
    const changed = new Set<string>();
    const take = (key: string, entry: Entry | undefined): void => {
      const name = this.#take(key, entry);
      if (name !== undefined) changed.add(name);
    };
    if (news.kind === "snapshot") {
      for (const entry of news.entries) take(entry.key, entry);
    } else {
      for (const change of news.changes) {
        if (change.type === "put") take(change.entry.key, change.entry);
        else take(change.key, undefined);
      }
    }
    this.revision = news.revision;
    return changed;
  }

  /** Undefined where what is published is what is to be. */
  next(name: string): Publication | undefined {
    const seen = this.namespaces.get(name);
    if (seen === undefined || (seen.optionsRevision === 0 && seen.candidates.size === 0 && seen.resultRevision === 0))
      return undefined;
    const { result } = seen;
    const former = result ?? { hosts: [], cursor: undefined, problem: undefined };
    const planned = planOrProblem(seen, former);
    if (result !== undefined && isSame(former, planned)) return undefined;
    return { planned, generation: seen.generation + 1 };
  }

  #of(name: string): Namespace {
    let found = this.namespaces.get(name);
    if (found === undefined) {
      const nothing = { rules: defaults, optionsRevision: 0, result: undefined, resultRevision: 0, generation: 0 };
      found = { name, ...nothing, candidates: new Map(), eligible: [], active: new Set() };
      this.namespaces.set(name, found);
    }
    return found;
  }

  #take(key: string, entry: Entry | undefined): string | undefined {
    const parsed = this.#keys.parse(key);
    if (parsed === undefined) {
      if (!isIn(key, this.#keys.schedulers)) this.#onMalformed(key, "it is none of the scheduler's keys");
      return undefined;
    }
    const namespace = this.#of(parsed.name);
    const text = entry === undefined ? undefined : textOf(entry.value);
    const { host } = parsed;
    if (parsed.of === "options") takeOptions(namespace, entry, text);
    else if (parsed.of === "result") takeResult(namespace, entry, text);
    else if (parsed.of === "place") {
      // One that hangs on no lease would be there for ever, and is nobody's.
      if (entry !== undefined && entry.lease !== "0") namespace.active.add(host!);
      else namespace.active.delete(host!);
    } else {
      const record = text === undefined ? undefined : parseCandidate(text, host!);
      takeCandidate(namespace, host!, record);
      if (record === undefined && entry !== undefined) this.#onMalformed(key, notJson);
    }
    if (entry === undefined) return parsed.name;
    const isUnread =
      (parsed.of === "options" && "refused" in namespace.rules) || (parsed.of === "result" && namespace.result === undefined);
    if (isUnread) this.#onMalformed(key, notJson);
    return parsed.name;
  }
}

/** Whatever happens in one namespace stays there. */
function planOrProblem(seen: Namespace, former: Parameters<typeof isSame>[0]): Planned {
  try {
    return plan({ ...seen, former });
  } catch (error) {
    const problem = `it cannot be scheduled: ${error instanceof Error ? error.message : String(error)}`;
    return { hosts: former.hosts, cursor: former.cursor, problem, proofs: [] };
  }
}

function takeCandidate({ candidates, eligible, rules }: Namespace, host: string, record: CandidateRecord | undefined): void {
  if (record === undefined) candidates.delete(host);
  else candidates.set(host, record);
  if (!("refused" in rules)) exchange(eligible, host, record !== undefined && isEligible(record, rules) ? record : undefined);
}

function takeOptions(namespace: Namespace, entry: Entry | undefined, text: string | undefined): void {
  namespace.optionsRevision = entry?.modRevision ?? 0;
  const parsed = text === undefined ? { refused: "they are not UTF-8" } : parseRules(text);
  if (entry === undefined) namespace.rules = defaults;
  else if ("refused" in parsed) namespace.rules = { refused: `its options cannot be read: ${parsed.refused}` };
  else namespace.rules = resolveRules(parsed.rules);
  namespace.eligible = "refused" in namespace.rules ? [] : eligibleOf(namespace.candidates.values(), namespace.rules);
}

function takeResult(namespace: Namespace, entry: Entry | undefined, text: string | undefined): void {
  namespace.resultRevision = entry?.modRevision ?? 0;
  namespace.result = text === undefined ? undefined : parseResult(text);
  namespace.generation = Math.max(namespace.generation, namespace.result?.generation ?? 0);
}

function isIn(key: string, { start, end }: KeyRange): boolean {
  return key >= start && key < end;
}
