import {
  defaultPolicy,
  dynamicSize,
  policyBounds,
  readFields,
  type Bound,
  type Chooser,
  type ChooserPolicy,
} from "../../chooser/index.ts";
import { listOf } from "../../chooser/words.ts";
import { quote } from "../../keys.ts";

/**
 * What a cluster keeps to, whoever leads it: written at `/quorate/policy` by its founder, changed by `quorate policy set`, and never
 * by the flags of an agent that comes later.
 */
export interface ClusterPolicy extends Pick<
  ChooserPolicy,
  "maxSeats" | "standbys" | "evenVoters" | "strictReconfigCheck" | "stabilizationMs" | "nomineeTimeoutMs" | "stallTimeoutMs"
> {
  /** How long an agent that announced a restart keeps its seat. Default 300,000. */
  readonly restartGraceMs: number;
  /** The chooser that decides. Only agents that have it may lead. Default `dynamicsize`. */
  readonly chooser: string;
}

/** The fields that flags set, and so people. */
export type PolicyField = Exclude<keyof ClusterPolicy, "chooser">;

/** The founder's flags that somebody gave. */
export type PolicyFlags = { readonly [F in PolicyField]?: ClusterPolicy[F] | undefined };

export const defaultClusterPolicy: ClusterPolicy = {
  maxSeats: defaultPolicy.maxSeats,
  standbys: defaultPolicy.standbys,
  evenVoters: defaultPolicy.evenVoters,
  strictReconfigCheck: defaultPolicy.strictReconfigCheck,
  stabilizationMs: defaultPolicy.stabilizationMs,
  nomineeTimeoutMs: defaultPolicy.nomineeTimeoutMs,
  stallTimeoutMs: defaultPolicy.stallTimeoutMs,
  restartGraceMs: 300_000,
  chooser: dynamicSize.name,
};

/** Each field with the flag that sets it, what it may be, and what it is in few words. Times are in milliseconds. */
export const policyFields = {
  maxSeats: { flag: "max-seats", bound: policyBounds.maxSeats, means: "seats that are filled at most, whatever the size" },
  standbys: {
    flag: "standbys",
    bound: policyBounds.standbys,
    means: "learners kept in sync beyond the size, to step in at once",
  },
  evenVoters: {
    flag: "even-voters",
    bound: policyBounds.evenVoters,
    means: "an even number of seats are all voters, in place of a learner in the last one",
  },
  strictReconfigCheck: {
    flag: "strict-reconfig-check",
    bound: policyBounds.strictReconfigCheck,
    means: "etcd runs with its own check as well (slower growth)",
  },
  stabilizationMs: {
    flag: "stabilization",
    bound: policyBounds.stabilizationMs,
    means: "uninterrupted health of a learner before it becomes a voter",
  },
  nomineeTimeoutMs: {
    flag: "nominee-timeout",
    bound: policyBounds.nomineeTimeoutMs,
    means: "a nominee that has not started its server by then is given up",
  },
  stallTimeoutMs: {
    flag: "stall-timeout",
    bound: policyBounds.stallTimeoutMs,
    means: "a learner that is behind and stands still for so long is given up",
  },
  // etcd grants no lease below two seconds.
  restartGraceMs: {
    flag: "restart-grace",
    bound: [2_000, 86_400_000],
    means: "an agent that announced a restart keeps its seat for so long",
  },
} as const satisfies Readonly<Record<PolicyField, { readonly flag: string; readonly bound: Bound; readonly means: string }>>;

/** In the order in which people see them. */
export const policyFieldNames = Object.keys(policyFields) as readonly PolicyField[];

const clusterBounds: Readonly<Record<string, Bound>> = Object.fromEntries(
  policyFieldNames.map((field) => [field, policyFields[field].bound]),
);

const longest = 10_000;

/**
 * Reads a policy as anyone may have written it, over `base`: a field that is missing, or is not what it must be, keeps the value of
 * `base`; the latter is said in `refused`. Fields of a later version are ignored. Never throws.
 */
export function readClusterPolicy(
  text: string,
  base: ClusterPolicy = defaultClusterPolicy,
): { readonly policy: ClusterPolicy; readonly refused: readonly string[] } {
  const none = (why: string): ReturnType<typeof readClusterPolicy> => ({ policy: base, refused: [why] });
  if (text.length > longest) return none(`it has ${text.length} characters, at most ${longest} are allowed`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return none(`${quote(text)} is not JSON`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) return none("it is not an object");
  const fields = new Map<string, unknown>(Object.entries(json));
  if (fields.get("schema") !== 1) return none("its schema is not 1");
  const { read, refused } = readFields(fields, clusterBounds);
  const policy: ClusterPolicy = { ...base, ...(read as Partial<ClusterPolicy>) };
  const chooser = fields.get("chooser");
  if (chooser === undefined) return { policy, refused };
  if (isChooserName(chooser)) return { policy: { ...policy, chooser }, refused };
  return { policy, refused: [...refused, "chooser is not a name"] };
}

export function isChooserName(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9._-]{1,100}$/.test(value);
}

/** What the policy key and the one beside it, which holds what was last in force, say together. */
export interface PolicySeen {
  /** The good fields of the policy key, else the last good ones, else the defaults. */
  readonly inForce: ClusterPolicy;
  /** The policy key is there, whatever is in it. */
  readonly written: boolean;
  /** What a leader last saw in force; undefined where none has led yet. */
  readonly last: ClusterPolicy | undefined;
  /** What cannot be read in the policy key, field by field. */
  readonly refused: readonly string[];
}

export function policySeen(text: string | undefined, lastText: string | undefined): PolicySeen {
  // Every ring and every look asks, and hardly ever is the answer another one.
  const known = readLast;
  if (known !== undefined && known.text === text && known.lastText === lastText) return known.seen;
  const seen = readPolicies(text, lastText);
  readLast = { text, lastText, seen };
  return seen;
}

let readLast: { readonly text: string | undefined; readonly lastText: string | undefined; readonly seen: PolicySeen } | undefined;

function readPolicies(text: string | undefined, lastText: string | undefined): PolicySeen {
  const last = lastText === undefined ? undefined : readClusterPolicy(lastText).policy;
  const base = last ?? defaultClusterPolicy;
  if (text === undefined) return { inForce: base, written: false, last, refused: [] };
  const { policy, refused } = readClusterPolicy(text, base);
  return { inForce: policy, written: true, last, refused };
}

/** What differs between two policies, in words: `max-seats 7 -> 5`. */
export interface PolicyChange {
  readonly field: keyof ClusterPolicy;
  readonly from: number | boolean | string;
  readonly to: number | boolean | string;
}

/** Which fields of `to` differ from `from`; a field that `to` does not have does not differ. */
export function policyChanges(from: ClusterPolicy, to: PolicyFlags & { readonly chooser?: string }): PolicyChange[] {
  return ([...policyFieldNames, "chooser"] as const).flatMap((field) => {
    const value = to[field];
    return value === undefined || value === from[field] ? [] : [{ field, from: from[field], to: value }];
  });
}

export function describeChange({ field, from, to }: PolicyChange): string {
  const name = field === "chooser" ? field : policyFields[field].flag;
  return `${name} ${showPolicyValue(field, from)} -> ${showPolicyValue(field, to)}`;
}

/**
 * One sentence that names the founder's flags of other agents that say something else than the cluster's policy, and whose they
 * are; undefined where none does.
 */
export function differingFlags(given: ReadonlyMap<string, PolicyFlags>, policy: ClusterPolicy): string | undefined {
  const differing = policyFieldNames.flatMap((field) => {
    const hosts = [...given].filter(([, flags]) => flags[field] !== undefined && flags[field] !== policy[field]);
    return hosts.length === 0 ? [] : [`--${policyFields[field].flag} of ${listOf(hosts.map(([host]) => host))}`];
  });
  return differing.length === 0 ? undefined : `the cluster's policy rules, not the flags that differ: ${differing.join(", ")}`;
}

/** The chooser of one's own that goes by this name; undefined for the built-in one, which every agent has. */
export function chooserOf(name: string, own: Chooser): Chooser | undefined {
  return name === dynamicSize.name ? undefined : own.name === name ? own : undefined;
}

/** Why an agent with this chooser may not lead a cluster that goes by the one of that name; undefined where it may. */
export function whyNotLead(name: string, own: Pick<Chooser, "name">): string | undefined {
  if (name === dynamicSize.name || name === own.name) return undefined;
  return `the cluster's chooser is ${name}, and this agent has ${own.name === dynamicSize.name ? "only the built-in one" : own.name}`;
}

/** What an agent says of itself that tells whether it may lead: one without an etcd never does. */
export interface MayLead {
  readonly etcd?: string | undefined;
  readonly chooser?: string | undefined;
}

/** The agents that could lead but for the chooser, which they do not have. */
export function withoutChooser(name: string, agents: Iterable<readonly [string, MayLead]>): readonly string[] {
  return [...agents].flatMap(([host, { etcd, chooser = dynamicSize.name }]) =>
    etcd === undefined || whyNotLead(name, { name: chooser }) === undefined ? [] : [host],
  );
}

/** One sentence that names them; undefined where there are none. */
export function whoCanNotLead(name: string, agents: Iterable<readonly [string, MayLead]>): string | undefined {
  const hosts = withoutChooser(name, agents);
  if (hosts.length === 0) return undefined;
  const [verb, they] = hosts.length === 1 ? ["does", "it"] : ["do", "they"];
  return `${listOf(hosts)} ${verb} not have the chooser ${name}, so ${they} can not lead`;
}

/** A value as its flag takes it. */
export function showPolicyValue(field: keyof ClusterPolicy, value: number | boolean | string): string {
  return typeof value === "number" && field.endsWith("Ms") ? showDuration(value) : String(value);
}

/** `5m` of 300,000, `1500ms` of 1,500: the largest unit that leaves no rest. */
export function showDuration(ms: number): string {
  const [unit, size] = ms === 0 ? (["s", 1] as const) : (units.find(([, length]) => ms % length === 0) ?? (["ms", 1] as const));
  return `${ms / size}${unit}`;
}

const units = [
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
] as const;
