import { z } from "zod";
import { QuorateError } from "../../errors.ts";
import { quote } from "../../keys.ts";
import { policyFields } from "./policy.ts";

/**
 * The JSON values of Quorate's own keys. Whoever can write to etcd can write these, so every one is parsed strictly, bounded in
 * size, and refused with a reason; fields that a later version adds are passed over.
 */

const hexId = z.string().regex(/^[0-9a-f]{1,16}$/);
const uuid = z.string().regex(/^[0-9a-f-]{36}$/);
const text = z.string().max(1_000);
const host = z.string().max(253);
const within = ([least, most]: readonly [number, number]): z.ZodNumber => z.number().int().min(least).max(most);

/** The fields of a policy that flags set. */
const policyValues = z.object({
  maxSeats: within(policyFields.maxSeats.bound),
  standbys: z.union([z.literal(0), z.literal(1)]),
  evenVoters: z.boolean(),
  strictReconfigCheck: z.boolean(),
  stabilizationMs: within(policyFields.stabilizationMs.bound),
  nomineeTimeoutMs: within(policyFields.nomineeTimeoutMs.bound),
  stallTimeoutMs: within(policyFields.stallTimeoutMs.bound),
  restartGraceMs: within(policyFields.restartGraceMs.bound),
});

const chooserName = z.string().regex(/^[A-Za-z0-9._-]{1,100}$/);

/** `/quorate/cluster`: says that this etcd is a cluster of Quorate's, and which. */
const marker = z.object({
  schema: z.literal(1),
  clusterId: hexId,
  foundedBy: text,
  /** The clusters whose data this one was made of, oldest first: who followed one of them follows this one. */
  predecessors: z.array(hexId).max(20).optional(),
});
export type Marker = z.infer<typeof marker>;

/** `/quorate/agents/<host>`: what an agent says of itself while its session lives. */
const agentRecord = z.object({
  schema: z.literal(1),
  /** Of the stored state: the same agent after a crash has the same one. */
  identity: uuid,
  /** Of the data folder: a new one whenever the data is new. */
  instance: uuid,
  quorate: text,
  /** Version of the etcd it would run; absent for an agent without a server. */
  etcd: text.optional(),
  zone: text,
  priority: z.number().int(),
  /** It offers to run a server. */
  volunteering: z.boolean(),
  server: z.enum(["none", "starting", "serving", "failed", "lost-data"]),
  /** Why the server is not what it should be. */
  problem: text.optional(),
  member: hexId.optional(),
  /** Key of the proof it gives at pre-flight: whoever answers at its URLs must know it. */
  proof: text,
  /** The founder's flags it was started with: where they differ from the cluster's policy, that rules. */
  flags: policyValues.partial().optional(),
  /** The chooser it has beside the built-in one. */
  chooser: chooserName.optional(),
  /** Whom it logs in as where there is authentication. */
  user: text.optional(),
  /** Where it gives certificates to hosts that join. */
  join: z.array(text).max(8).optional(),
});
export type AgentRecord = z.infer<typeof agentRecord>;

/** `/quorate/nominated/<host>`: the seat behind a nomination. */
const seat = z.object({
  schema: z.literal(1),
  instance: uuid,
  member: hexId.optional(),
  role: z.enum(["learner", "voter"]),
  standby: z.boolean(),
});
export type SeatRecord = z.infer<typeof seat>;

/** `/quorate/step`: a member call, recorded before it is sent. */
const step = z.object({
  schema: z.literal(1),
  op: z.enum(["add-learner", "promote", "remove", "update-urls"]),
  agent: text.optional(),
  member: hexId.optional(),
  peerUrls: z.array(text).max(8).optional(),
  /** Create revision of the election key of the leader that recorded it. */
  leaderRevision: z.number().int(),
  passOver: z.boolean().optional(),
});
export type StepRecord = z.infer<typeof step>;

/** Names of a wish that a plan tells: more than any cluster has seats. */
export const mostWishesTold = 100;
/** `/quorate/closing`: somebody said yes to size 0. It counts for the size that was written in the same txn. */
const closing = z.object({ schema: z.literal(1), by: host });
export type ClosingRecord = z.infer<typeof closing>;

/** `/quorate/closed`: the cluster was shut down by size 0. */
const closed = z.object({
  schema: z.literal(1),
  /** The agent that has the only seat, ends last, and is to be started first. */
  host,
  /** The size that is written again when it starts. */
  formerSize: within([1, 1_000]),
});
export type ClosedRecord = z.infer<typeof closed>;

/** `/quorate/plan`: the leader's plan as of its last change. */
const planRecord = z.object({
  schema: z.literal(1),
  leader: text,
  /** What the size key asks for, as the leader understood it. */
  ideal: z.number().int(),
  /** Size 0 is asked for: the cluster is to be shut down. */
  closing: z.boolean().optional(),
  /** Why the size key's own value is not in force. */
  sizeRefused: text.optional(),
  kind: z.enum(["step", "waiting", "settled"]),
  because: text,
  /** How many more voters may die; absent while that is not known. */
  failureTolerance: z.number().int().optional(),
  /** What keeps the cluster from its ideal size. */
  blockedBy: text.optional(),
  /** What is done once the first of that has changed. */
  next: text.optional(),
  /** What the last member call was refused for, by the gate or by etcd. */
  held: text.optional(),
  /** Volunteers that failed the pre-flight, and why. */
  unfit: z
    .array(z.object({ agent: host, reason: text }))
    .max(20)
    .optional(),
  voters: z.number().int(),
  learners: z.number().int(),
  /** The wish of a chooser of one's own that the plan rests on: a chooser runs nowhere but in the leader. */
  wish: z.object({ by: chooserName, seats: z.array(host).max(mostWishesTold).optional(), why: text.optional() }).optional(),
  /** Other things the operator should know. */
  notices: z.array(text).max(20),
});
export type PlanRecord = z.infer<typeof planRecord>;

/** `/quorate/events/<id>`: something that the leader did or saw. */
const event = z.object({
  schema: z.literal(1),
  step: z.enum([
    "lead",
    "stand-back",
    "space",
    "update-urls",
    "size",
    "policy",
    "leave",
    "pass-over",
    "nominate",
    "renominate",
    "withdraw",
    "add-learner",
    "promote",
    "move-leader",
    "remove",
    "close",
    "complete",
  ]),
  agent: text.optional(),
  member: text.optional(),
  /** What happened, in few words: `promoted h3 to voter`. */
  what: text,
  because: text,
  leader: text,
  leaderRevision: z.number().int(),
  /** The leader's wall time, for people: the order is that of the keys. */
  at: z.string().max(40).optional(),
  /** What it rests on. */
  facts: z
    .object({
      ideal: z.number().int(),
      members: z
        .array(
          z.object({
            name: host,
            role: z.enum(["voter", "learner"]),
            health: z.enum(["healthy", "behind", "not-started", "silent", "unheard", "gone", "failed", "lost-data"]),
          }),
        )
        .max(40),
      spares: z.array(host).max(20),
      toleranceBefore: z.number().int(),
      toleranceAfter: z.number().int(),
    })
    .optional(),
});
export type EventRecord = z.infer<typeof event>;

const nonce = z.object({ nonce: z.string().regex(/^[0-9a-f]{32}$/) });
export type NonceRecord = z.infer<typeof nonce>;

const reason = z.object({ reason: text });
export type ReasonRecord = z.infer<typeof reason>;

/** `/quorate/policy`, as it is written. What others wrote there is read field by field: `readClusterPolicy`. */
const policy = policyValues.extend({ schema: z.literal(1), chooser: chooserName });
export type PolicyRecord = z.infer<typeof policy>;

const schemas = { marker, agentRecord, seat, step, closing, closed, planRecord, event, nonce, reason, policy } as const;
type Schemas = typeof schemas;
export type RecordKind = keyof Schemas;
export type RecordOf<K extends RecordKind> = z.infer<Schemas[K]>;

/** The longest record there can be is a plan with 20 notices and 20 unfit volunteers of which every character is escaped: what is written can be read. */
const maxLength = 320_000;

/** The same few values are read by every look and at every ring. */
const kept = new Map<string, object>();
const most = { kept: 500, length: 4_000 };

/** The record in a value, or why it is none. Never throws. What is returned may be shared, and must not be changed. */
export function readRecord<K extends RecordKind>(kind: K, value: string): RecordOf<K> | { readonly refused: string } {
  if (value.length > most.length) return parseRecord(kind, value);
  const name = `${kind} ${value}`;
  let read = kept.get(name);
  if (!read) {
    if (kept.size >= most.kept) kept.clear();
    kept.set(name, (read = parseRecord(kind, value)));
  }
  return read as RecordOf<K> | { readonly refused: string };
}

function parseRecord<K extends RecordKind>(kind: K, value: string): RecordOf<K> | { readonly refused: string } {
  if (value.length > maxLength) return { refused: `it has ${value.length} characters, at most ${maxLength} are allowed` };
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch {
    return { refused: `${quote(value)} is not JSON` };
  }
  const result = schemas[kind].safeParse(json);
  if (result.success) return result.data as RecordOf<K>;
  const issue = result.error.issues[0];
  return { refused: issue ? `${issue.path.join(".") || "it"}: ${issue.message}` : "it does not fit" };
}

export function isRefused(record: object): record is { readonly refused: string } {
  return "refused" in record;
}

/** The text of a record; the other direction of {@link readRecord}. */
export function writeRecord<K extends RecordKind>(kind: K, record: RecordOf<K>): string {
  const value = JSON.stringify(record);
  // Who writes a record reads it back with the next look. Events are read by people: no two are the same.
  const read = kind === "event" ? parseRecord(kind, value) : readRecord(kind, value);
  if (isRefused(read)) throw new QuorateError("FAILED", `Cannot write a ${kind} record: ${read.refused}`);
  return value;
}

/** Cuts a text to what a record may hold. */
export function short(line: string): string {
  return line.length > 1_000 ? `${line.slice(0, 999)}…` : line;
}
