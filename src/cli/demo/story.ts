import { within, type Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import type { ClusterView } from "../cluster.ts";
import { chooserLine, isHealthy, strengthOf } from "../roles.ts";
import { hasSize } from "../size.ts";

/** What a story needs of a demo. */
export interface Stage {
  readonly clock: Clock;
  setSize(size: number): Promise<void>;
  /** Kills an agent that the cluster can spare, and names it. */
  kill(): Promise<string>;
  start(host: string): void;
  until(shows: (view: ClusterView) => boolean, signal: AbortSignal): Promise<ClusterView>;
  /** A step begins, or is over. */
  tell(line: string): void;
  view(): ClusterView | undefined;
}

export interface Chapter {
  readonly name: string;
  readonly tookMs: number;
  readonly end: string;
}

/**
 * Form 3, grow to 5, kill one, heal, shrink to 1.
 *
 * @throws QuorateError WAIT_TIMEOUT when a step takes longer than its deadline, which is generous.
 */
export async function playStory(stage: Stage, signal: AbortSignal): Promise<Chapter[]> {
  const chapters: Chapter[] = [];
  const chapter = async (name: string, deadlineMs: number, play: (own: AbortSignal) => Promise<ClusterView>): Promise<void> => {
    stage.tell(`${name} ...`);
    const startMs = stage.clock.nowMs();
    const view = await within(deadlineMs, stage.clock, signal, play, () => late(name, deadlineMs, stage.view()));
    const one = { name, tookMs: stage.clock.nowMs() - startMs, end: ending(view) };
    chapters.push(one);
    stage.tell(`${name}: ${seconds(one.tookMs)}, ${one.end}`);
  };

  let victim = "";
  await chapter("form 3", 60_000, (own) => stage.until((view) => serves(view, 3), own));
  await chapter("grow to 5", 60_000, async (own) => {
    await stage.setSize(5);
    return stage.until((view) => serves(view, 5), own);
  });
  await chapter("kill one", 30_000, async (own) => {
    victim = await stage.kill();
    return stage.until((view) => view.hosts.some((host) => host.name === victim && !isHealthy(host)), own);
  });
  await chapter(`heal (${victim} starts again)`, 90_000, (own) => {
    stage.start(victim);
    return stage.until((view) => serves(view, 5), own);
  });
  await chapter("shrink to 1", 120_000, async (own) => {
    await stage.setSize(1);
    return stage.until((view) => serves(view, 1), own);
  });
  return chapters;
}

/** Settled at this size, and every voter answers. */
export function serves(view: ClusterView, size: number): boolean {
  const { voters, healthyVoters } = strengthOf(view);
  return hasSize(view, size) && healthyVoters === voters;
}

function ending(view: ClusterView): string {
  const { voters, healthyVoters } = strengthOf(view);
  return healthyVoters === voters ? chooserLine(view) : `${healthyVoters} of ${voters} voters go on`;
}

function late(name: string, deadlineMs: number, view: ClusterView | undefined): QuorateError {
  const state = view ? `${strengthOf(view).members} members, ${chooserLine(view)}` : "no server answers";
  return new QuorateError("WAIT_TIMEOUT", `Cannot ${name} within ${deadlineMs / 1000} s: ${state}`);
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** How long each chapter took, as a table of text. */
export function summary(chapters: readonly Chapter[]): string[] {
  const name = Math.max(...chapters.map((one) => one.name.length));
  const total = chapters.reduce((sum, one) => sum + one.tookMs, 0);
  const lines = chapters.map((one) => `  ${one.name.padEnd(name)}  ${seconds(one.tookMs).padStart(7)}  ${one.end}`);
  return [...lines, `  ${"in all".padEnd(name)}  ${seconds(total).padStart(7)}`];
}
