import { readFileSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Prefix } from "./state.ts";

/** Which run of the machine this is, and for how long it is up. The order of starts on one machine, without wall time. */
export interface Boot {
  readonly id: string;
  /** Milliseconds. */
  readonly upMs: number;
}

/** Starts that no orderly end has followed yet, on one run of the machine: a reboot is nobody's crash. */
export const startsSchema = z.object({ boot: z.string().max(100), atMs: z.array(z.number()).max(100) });
export type Starts = z.infer<typeof startsSchema>;

const crashesForSafeMode = 3;
/** Crashes count together for so long, and an agent that has run for so long is well again. */
export const crashWindowMs = 300_000;
const remembered = 10;

/** Linux's own; undefined elsewhere, where crashes are not counted. */
export function bootOfMachine(): Boot | undefined {
  try {
    const id = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    const upMs = 1_000 * Number(readFileSync("/proc/uptime", "latin1").split(" ", 1)[0]);
    return Number.isFinite(upMs) ? { id, upMs } : undefined;
  } catch {
    return undefined;
  }
}

/** What a start finds of those before it, and what it leaves for those behind it. */
export function counted(before: Starts | undefined, now: Boot): { readonly crashes: number; readonly starts: Starts } {
  const recent = before?.boot === now.id ? before.atMs.filter((at) => now.upMs - at < crashWindowMs && at <= now.upMs) : [];
  return { crashes: recent.length, starts: { boot: now.id, atMs: [...recent, now.upMs].slice(-remembered) } };
}

/** Notes the start. True where it follows so many crashes that the agent is to do no more than it must. */
export async function noteStart(prefix: Prefix, boot: Boot | undefined): Promise<boolean> {
  if (boot === undefined) return false;
  const { crashes, starts } = counted(prefix.state.starts, boot);
  await prefix.save({ starts });
  return crashes >= crashesForSafeMode;
}

/** An orderly end, or a life that was long enough: what was before does not count any more. A full disk is no reason to fail. */
export async function forgetStarts(prefix: Prefix): Promise<void> {
  if (prefix.state.starts !== undefined) await prefix.save({ starts: undefined }).catch(() => undefined);
}

/** For who kills agents on purpose: what it did is no crash. The agent of that folder must be gone. */
export async function forgetStartsIn(folder: string): Promise<void> {
  const file = join(folder, "state.json");
  try {
    const { starts: _starts, ...state } = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
    await writeFile(`${file}.next`, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
    await rename(`${file}.next`, file);
  } catch {
    // It had not come as far as to have one.
  }
}
