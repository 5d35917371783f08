import { isHostname } from "../../keys.ts";
import type { ScheduleRules } from "../api/scheduler.ts";
import type { StrategyRule } from "./strategies/index.ts";

/** What is stored of {@link ScheduleRules}: only what somebody has named, in one form. */
export interface StoredRules extends Omit<ScheduleRules, "strategy"> {
  readonly strategy?: StrategyRule;
}

/** The same with its defaults: what a schedule keeps to. */
export interface Rules {
  readonly strategy: StrategyRule;
  /** Infinity: no limit. */
  readonly maxCount: number;
  readonly hostsFilter: ReadonlySet<string> | undefined;
  readonly selector: readonly (readonly [string, string])[];
  /** Undefined: that of each World. */
  readonly sessionTtl: number | undefined;
  readonly reuseLease: boolean;
  readonly persist: boolean | { readonly grace: number };
  /** Infinity: no limit. */
  readonly maxMoves: number;
}

export interface Refused {
  readonly refused: string;
  /** Which option it is; undefined where it is none of them. */
  readonly option: string | undefined;
}

const defaultHysteresis = 0.25;
const defaultLabel = "zone";
const mostHosts = 10_000;
const longestText = 300;
/** Seconds: what etcd grants at most, a good 285 years. */
const longestTtl = 9_000_000_000;

type Fields = Readonly<Record<string, unknown>>;
type Reader = (value: unknown) => unknown;

/** Of each option what it is, in one form; undefined where it is not one. */
const readers: { readonly [K in keyof Required<StoredRules>]: Reader } = {
  strategy: readStrategy,
  maxCount: (value) => (isCount(value, 1) ? value : undefined),
  hostsFilter: (value) => (areHosts(value) ? [...new Set(value)].sort() : undefined),
  selector: readLabels,
  sessionTtl: (value) => (isTtl(value) ? value : undefined),
  reuseLease: (value) => (typeof value === "boolean" ? value : undefined),
  persist: (value) => {
    if (typeof value === "boolean") return value;
    const { grace, ...more } = fieldsOf(value);
    return isTtl(grace) && isEmpty(more) ? { grace } : undefined;
  },
  maxMoves: (value) => (isCount(value, 1) ? value : undefined),
};

const expected: { readonly [K in keyof Required<StoredRules>]: string } = {
  strategy:
    'has to be "rr", "alpha", "hrw", "least", "spread", "all", or one like { name: "pin", hosts: [...] }, { name: "random", seed: 7 }, { name: "least", hysteresis: 0.25 }, { name: "spread", label: "zone" }',
  maxCount: "has to be a whole number, 1 at least",
  hostsFilter: `has to be a list of host names, ${mostHosts} at most`,
  selector: "has to be labels and their values, as text",
  sessionTtl: "has to be a number of seconds above 0",
  reuseLease: "has to be true or false",
  persist: "has to be true, false, or { grace: SECONDS }",
  maxMoves: "has to be a whole number, 1 at least",
};

const names = Object.keys(readers) as (keyof StoredRules)[];

/** What was given, in one form, in the order in which it is stored. What is undefined was not given. */
export function readRules(given: ScheduleRules | Fields): { readonly rules: StoredRules } | Refused {
  const rules: Record<string, unknown> = {};
  for (const option of names) {
    const value: unknown = (given as Fields)[option];
    if (value === undefined) continue;
    const read = readers[option](value);
    if (read === undefined) return { refused: expected[option], option };
    rules[option] = read;
  }
  return { rules };
}

/** As it is stored. */
export function rulesText(rules: StoredRules): string {
  return JSON.stringify(rules);
}

/** What anybody may have stored. */
export function parseRules(text: string): { readonly rules: StoredRules } | Refused {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return { refused: "it is not JSON", option: undefined };
  }
  if (typeof fields !== "object" || fields === null || Array.isArray(fields))
    return { refused: "it is no JSON object", option: undefined };
  const strange = Object.keys(fields).find((name) => !Object.hasOwn(readers, name));
  if (strange !== undefined)
    return { refused: `it has ${JSON.stringify(strange.slice(0, 60))}, which is not known here`, option: undefined };
  const read = readRules(fields);
  return "refused" in read ? { ...read, refused: `${read.option} ${read.refused}` } : read;
}

export function resolveRules(stored: StoredRules): Rules {
  const strategy = stored.strategy ?? { name: "rr" };
  return {
    strategy,
    maxCount: stored.maxCount ?? (strategy.name === "all" ? Infinity : strategy.name === "pin" ? strategy.hosts.length : 1),
    hostsFilter: stored.hostsFilter === undefined ? undefined : new Set(stored.hostsFilter),
    selector: Object.entries(stored.selector ?? {}),
    sessionTtl: stored.sessionTtl,
    reuseLease: stored.reuseLease ?? false,
    persist: stored.persist ?? false,
    maxMoves: stored.maxMoves ?? Infinity,
  };
}

/** By name: what is given and is not what is stored. What a default says as well is no difference. */
export function differences(given: StoredRules, stored: StoredRules): string[] {
  const [before, after] = [shown(stored), shown({ ...stored, ...given })];
  return names.filter((option) => given[option] !== undefined && before[option] !== after[option]);
}

function shown(stored: StoredRules): Readonly<Record<string, string>> {
  const rules = resolveRules(stored);
  return Object.fromEntries(
    names.map((option) => {
      const value = rules[option];
      if (value === undefined || value === Infinity) return [option, "none"];
      return [option, JSON.stringify(value instanceof Set ? [...value] : value)];
    }),
  );
}

function readStrategy(value: unknown): StrategyRule | undefined {
  const { name, ...more } = typeof value === "string" ? { name: value } : fieldsOf(value);
  if (name === "least") {
    const { hysteresis = defaultHysteresis, ...rest } = more;
    return isEmpty(rest) && typeof hysteresis === "number" && hysteresis >= 0 && hysteresis < 1
      ? { name, hysteresis }
      : undefined;
  }
  if (name === "spread") {
    const { label = defaultLabel, ...rest } = more;
    return isEmpty(rest) && isText(label) ? { name, label } : undefined;
  }
  if (name === "pin") {
    const { hosts, ...rest } = more;
    return isEmpty(rest) && areHosts(hosts) && hosts.length > 0 ? { name, hosts: [...new Set(hosts)] } : undefined;
  }
  if (name === "random") {
    const { seed, ...rest } = more;
    return isEmpty(rest) && typeof seed === "number" && Number.isSafeInteger(seed) ? { name, seed } : undefined;
  }
  const isPlain = name === "rr" || name === "alpha" || name === "hrw" || name === "all";
  return isPlain && isEmpty(more) ? { name } : undefined;
}

/** Sorted, so that the same labels are the same text. */
export function readLabels(value: unknown): Readonly<Record<string, string>> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const labels = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return labels.length <= 100 && labels.every(([name, of]) => isText(name) && (of === "" || isText(of)))
    ? Object.fromEntries(labels)
    : undefined;
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** Also where what is there is undefined. */
function isEmpty(fields: Fields): boolean {
  return Object.values(fields).every((value) => value === undefined);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= longestText && value.isWellFormed();
}

function areHosts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length <= mostHosts && value.every((host) => typeof host === "string" && isHostname(host));
}

function isCount(value: unknown, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

function isTtl(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value <= longestTtl;
}
