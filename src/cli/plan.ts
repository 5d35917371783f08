import { readFile, writeFile } from "node:fs/promises";
import {
  describeStep,
  factsOf,
  rehearse,
  renderPlan,
  toleranceIn,
  type ClusterSnapshot,
  type Facts,
  type Rehearsal,
} from "../chooser/index.ts";
import { onlook } from "../agent/lead/onlooker.ts";
import { readSaved, writeSaved, type Saved } from "../agent/lead/saved.ts";
import { listOf } from "../chooser/words.ts";
import { systemClock } from "../clock.ts";
import { messageOf, QuorateError } from "../errors.ts";
import { parseSize } from "../keys.ts";
import { withCluster, type Cluster } from "./client.ts";
import { whyNoAnswer } from "./cluster.ts";
import type { Io } from "./io.ts";
import type { ClientSettings } from "./options.ts";
import { encode, painter, plain, type Paint } from "./output.ts";
import { count } from "./roles.ts";

export interface PlanSettings extends ClientSettings {
  /** As if this were the size. */
  readonly size: string | undefined;
  /** Where to write what was seen. */
  readonly save: string | undefined;
  /** A file in place of a cluster. */
  readonly from: string | undefined;
}

const mostSteps = 60;

/** `quorate plan [--size N]`: what the chooser would do now, step by step, without doing it. */
export async function plan(settings: PlanSettings, io: Io): Promise<number> {
  const size = settings.size === undefined ? undefined : sizeOf(settings.size);
  if (settings.from !== undefined && settings.save !== undefined) {
    throw new QuorateError(
      "INVALID_OPTION",
      "Cannot use --save and --from together: what comes from a file is in a file already",
    );
  }
  const saved = settings.from === undefined ? await withCluster(settings, see) : await fromFile(settings.from);
  if (settings.save !== undefined) {
    await toFile(settings.save, saved);
    io.err(`note: what was seen is in ${plain(settings.save)}; \`quorate plan --from FILE\` plans from it again\n`);
  }
  const seen = size === undefined ? saved.snapshot : atSize(saved.snapshot, size);
  const rehearsal = rehearse(seen, saved.policy, mostSteps);
  if (settings.output !== "table") io.out(encode(planData(seen, size !== undefined, rehearsal), settings.output));
  else io.out(`${planLines(seen, size !== undefined, rehearsal, painter(io.color)).join("\n")}\n`);
  return 0;
}

/** Size 0 is planned for as if the time in which it can be taken back were over. */
function atSize(seen: ClusterSnapshot, size: number): ClusterSnapshot {
  if (size > 0) return { ...seen, idealClusterSize: size, closing: undefined };
  return { ...seen, closing: { askedForMs: longMs, closed: undefined } };
}

const longMs = 3_600_000;

/** @throws QuorateError INVALID_OPTION */
function sizeOf(text: string): number {
  const parsed = parseSize(text);
  if ("size" in parsed) return parsed.size;
  throw new QuorateError("INVALID_OPTION", `Cannot plan for that size: ${parsed.refused}`, {
    hint: "give a whole number, like `quorate plan --size 5`",
  });
}

async function see({ client, keys, signal }: Cluster): Promise<Saved> {
  const given = client.endpoints.urls();
  let seen: Awaited<ReturnType<typeof onlook>>;
  try {
    seen = await onlook({ client, keys, clock: systemClock }, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw await whyNoAnswer(client, given, error, signal);
  }
  if (!seen.ours) {
    throw new QuorateError("REFUSED", `Cannot plan: this cluster is not Quorate's (it has no key ${keys.cluster})`, {
      hint: "check --endpoints and --namespace",
    });
  }
  return { snapshot: seen.snapshot, policy: seen.policy };
}

async function fromFile(file: string): Promise<Saved> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new QuorateError("INVALID_OPTION", `Cannot read ${file}: ${messageOf(cause)}`, {
      hint: "`quorate plan --save FILE` writes such a file",
    });
  }
  return readSaved(text, file);
}

async function toFile(file: string, saved: Saved): Promise<void> {
  try {
    await writeFile(file, writeSaved(saved, systemClock.wallTime()));
  } catch (cause) {
    throw new QuorateError("FAILED", `Cannot write ${file}: ${messageOf(cause)}`);
  }
}

/** What is, then every step with its reason, then what it ends with. */
export function planLines(seen: ClusterSnapshot, assumed: boolean, { steps, ends }: Rehearsal, paint: Paint): string[] {
  const lines = [
    `${paint("bold", assumed ? `if the size were ${factsOf(seen).ideal}:` : "as things are:")} ${whatIs(factsOf(seen))}`,
  ];
  let before = toleranceIn(seen);
  steps.forEach(({ step, because, after }, i) => {
    const tolerance = toleranceIn(after);
    const changed = tolerance === before ? "" : ` (can lose ${before} -> ${tolerance})`;
    before = tolerance;
    const number = `${i + 1}.`.padStart(3);
    lines.push(`${number} ${paint("bold", plain(describeStep(step)))}${changed}`, `    because ${plain(because)}`);
  });
  const [first = "", ...more] = ends === undefined ? [`and so on: this is not over after ${mostSteps} steps`] : renderPlan(ends);
  const style = ends && "settled" in ends ? "green" : "yellow";
  return [...lines, paint(style, plain(steps.length === 0 || ends === undefined ? first : `then ${first}`)), ...more.map(plain)];
}

function whatIs({ ideal, members, spares, toleranceBefore }: Facts): string {
  const named = (role: "voter" | "learner"): string[] =>
    members.filter((m) => m.role === role).map((m) => (m.health === "healthy" ? m.name : `${m.name} (${m.health})`));
  const [voters, learners] = [named("voter"), named("learner")];
  const parts = [
    `${count(voters.length, "voter")}${voters.length === 0 ? "" : `, ${listOf(voters)}`}`,
    ...(learners.length === 0 ? [] : [`${count(learners.length, "learner")}, ${listOf(learners)}`]),
    spares.length === 0 ? "no spare" : `${count(spares.length, "spare")}, ${listOf(spares)}`,
    `size ${ideal}`,
    toleranceBefore < 0 ? "no quorum" : `can lose ${toleranceBefore}`,
  ];
  return plain(parts.join("; "));
}

/** The same for programs. */
export function planData(seen: ClusterSnapshot, assumed: boolean, { steps, ends }: Rehearsal): unknown {
  return {
    idealClusterSize: factsOf(seen).ideal,
    assumed,
    facts: factsOf(seen),
    steps: steps.map(({ step, because, after }) => ({
      what: describeStep(step),
      because,
      step,
      failureTolerance: toleranceIn(after),
    })),
    ends: ends === undefined ? null : { kind: "settled" in ends ? "settled" : "waiting", lines: renderPlan(ends), ...ends },
  };
}
