import { isHostname } from "../../keys.ts";
import type { CandidateFacts } from "../api/scheduler.ts";
import { readLabels } from "./rules.ts";

/** What the key of a candidate says. */
export interface CandidateRecord {
  readonly host: string;
  /** Of the program's taking part: another one of the same host has another. Empty where it has ended and keeps its candidacy. */
  readonly instance: string;
  readonly weight: number;
  readonly load: number;
  readonly drain: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

/** What the key of a result says. */
export interface ResultRecord {
  readonly hosts: readonly string[];
  readonly generation: number;
  /** Of round robin: who got a place last. */
  readonly cursor: string | undefined;
  /** Create revision of the key of the scheduler that has published it. */
  readonly scheduler: number;
  /** Why the hosts are left as they are. */
  readonly problem: string | undefined;
}

export type Facts = Omit<CandidateRecord, "instance" | "host">;

export const defaultFacts: Facts = { weight: 1, load: 0, drain: false, labels: {} };

const ofFacts = {
  weight: "has to be a number, 0 at least",
  load: "has to be a number, 0 at least",
  drain: "has to be true or false",
  labels: "has to be labels and their values, as text",
} as const;

/** What is given of them in place of what was. */
export function readFacts(
  given: CandidateFacts | Readonly<Record<string, unknown>>,
  before: Facts = defaultFacts,
): { readonly facts: Facts } | { readonly refused: string; readonly option: string } {
  const of = (option: keyof Facts): unknown => (given as Readonly<Record<string, unknown>>)[option] ?? before[option];
  const [weight, load, drain, labels] = [of("weight"), of("load"), of("drain"), readLabels(of("labels"))];
  const refused = (option: keyof typeof ofFacts) => ({ refused: ofFacts[option], option });
  if (!isQuantity(weight)) return refused("weight");
  if (!isQuantity(load)) return refused("load");
  if (typeof drain !== "boolean") return refused("drain");
  if (labels === undefined) return refused("labels");
  // A load that changes a little is not to be written each time.
  return { facts: { weight, load: Number(load.toPrecision(2)), drain, labels } };
}

function isQuantity(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

export function candidateText({ instance, weight, load, drain, labels }: Omit<CandidateRecord, "host">): string {
  return JSON.stringify({ instance, weight, load, drain, labels });
}

/** Undefined where it is none. */
export function parseCandidate(text: string, host: string): CandidateRecord | undefined {
  const fields = objectIn(text);
  if (fields === undefined || typeof fields["instance"] !== "string") return undefined;
  const read = readFacts(fields);
  return "refused" in read ? undefined : { host, instance: fields["instance"], ...read.facts };
}

export function resultText({ hosts, generation, cursor, scheduler, problem }: ResultRecord): string {
  return JSON.stringify({ hosts, generation, cursor, scheduler, problem });
}

/** Undefined where it is none. */
export function parseResult(text: string): ResultRecord | undefined {
  const { hosts, generation, cursor, scheduler, problem } = objectIn(text) ?? {};
  if (!Array.isArray(hosts) || !hosts.every((host) => typeof host === "string" && isHostname(host))) return undefined;
  if (new Set(hosts).size < hosts.length || !isRevision(generation) || !isRevision(scheduler)) return undefined;
  if (!isTextOrNone(cursor) || !isTextOrNone(problem)) return undefined;
  return { hosts: hosts as readonly string[], generation, cursor, scheduler, problem };
}

function isRevision(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function isTextOrNone(value: unknown): value is string | undefined {
  return value === undefined || typeof value === "string";
}

function objectIn(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}
