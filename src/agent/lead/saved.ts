import { z } from "zod";
import { readPolicy, type ChooserPolicy, type ClusterSnapshot } from "../../chooser/index.ts";
import { QuorateError } from "../../errors.ts";
import { quote } from "../../keys.ts";
import { quorateVersion } from "../version.ts";

/** What a plan is made from, as a file: for a cluster that is stuck, far away, or gone. */
export interface Saved {
  readonly snapshot: ClusterSnapshot;
  readonly policy: ChooserPolicy;
}

const name = z.string().min(1).max(1_000);
const ms = z.number().min(0);
const zone = z.string().max(1_000).default("");
const priority = z.number().int().default(0);
const revision = z.number().int().min(0).default(0);
const names = z.array(name).max(1_000).default([]);

const member = z
  .object({
    id: name,
    agent: name.optional(),
    role: z.enum(["voter", "learner"]),
    started: z.boolean(),
    raftLeader: z.boolean(),
    answers: z.boolean(),
    heard: z.boolean().optional(),
    healthyForMs: ms,
    unansweredForMs: ms,
    knownForMs: ms,
    lag: z.number().min(0).optional(),
    stalledForMs: ms,
    agentLive: z.boolean(),
    report: z.enum(["failed", "lost-data"]).optional(),
    zone,
    priority,
    sinceRevision: revision,
  })
  .transform((m) => ({ ...m, agent: m.agent, heard: m.heard, lag: m.lag, report: m.report }));

const volunteer = z.object({
  agent: name,
  zone,
  priority,
  sinceRevision: revision,
  preflight: z.discriminatedUnion("state", [
    z.object({ state: z.literal("passed") }),
    z.object({ state: z.literal("pending") }),
    z.object({ state: z.literal("failed"), reason: z.string().max(1_000) }),
  ]),
});

const nomination = z
  .object({ agent: name, member: name.optional(), standby: z.boolean().default(false) })
  .transform((n) => ({ ...n, member: n.member }));

const openStep = z
  .object({ op: z.enum(["add-learner", "promote", "remove"]), agent: name.optional(), member: name.optional(), openForMs: ms })
  .transform((step) => ({ ...step, agent: step.agent, member: step.member }));

const wish = z.union([
  z.object({ by: name, failed: z.enum(["late", "threw", "no-list", "unknown"]), why: z.string().max(1_000).default("") }),
  z.object({ by: name, seats: names, faults: names }),
]);

const snapshot = z
  .object({
    planner: z.string().max(1_000).default(""),
    idealClusterSize: z.number().int().min(1).max(1_000),
    closing: z
      .object({ askedForMs: ms, closed: name.optional() })
      .transform((closing) => ({ ...closing, closed: closing.closed }))
      .optional(),
    members: z.array(member).max(1_000),
    volunteers: z.array(volunteer).max(1_000),
    nominations: z.array(nomination).max(1_000).default([]),
    leaving: names,
    restarting: names,
    passedOver: z
      .array(z.object({ agent: name, reason: z.string().max(1_000) }))
      .max(1_000)
      .default([]),
    paused: z.string().max(1_000).optional(),
    noSpace: z.boolean().default(false),
    openStep: openStep.optional(),
    leaderForMs: ms,
    wish: wish.optional(),
  })
  .transform(({ wish: wished, ...seen }): ClusterSnapshot => ({
    ...seen,
    closing: seen.closing,
    paused: seen.paused,
    openStep: seen.openStep,
    ...(wished === undefined ? {} : { wish: wished }),
  }));

const file = z.object({ schema: z.literal(1), snapshot, policy: z.unknown().optional() });

const longest = 10_000_000;

/** The text of a file that {@link readSaved} reads. `savedAt` is wall time, for people. */
export function writeSaved(saved: Saved, savedAt: Date): string {
  const whole = { schema: 1, quorate: quorateVersion, savedAt: savedAt.toISOString(), ...saved };
  return `${JSON.stringify(whole, undefined, 2)}\n`;
}

/**
 * Reads what {@link writeSaved} wrote, or somebody wrote by hand. Without a policy, the default.
 *
 * @throws QuorateError INVALID_OPTION that names the place in the file and what is wrong there.
 */
export function readSaved(text: string, from: string): Saved {
  const refuse = (why: string): never => {
    throw new QuorateError("INVALID_OPTION", `Cannot read the snapshot in ${from}: ${why}`, {
      hint: "`quorate plan --save FILE` writes one",
    });
  };
  if (text.length > longest) refuse(`it has ${text.length} characters, at most ${longest} are allowed`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    refuse(`${quote(text.trim())} is not JSON`);
  }
  const parsed = file.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refuse(`${issue?.path.join(".") || "it"}: ${issue?.message ?? "it does not fit"}`);
  }
  const seen = parsed.data.snapshot;
  const twice = seen.members.find(({ id }, i) => seen.members.findIndex((m) => m.id === id) !== i);
  if (twice !== undefined) refuse(`the member ${quote(twice.id)} stands in it twice`);
  if (seen.members.filter((m) => m.raftLeader).length > 1) refuse("more than one member is the raft leader");
  const { policy, refused } = readPolicy(parsed.data.policy ?? {});
  if (refused.length > 0) refuse(`policy: ${refused.join(", ")}`);
  return { snapshot: seen, policy };
}
