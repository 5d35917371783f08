import { byText } from "./rank.ts";
import type { AgentName, MemberId } from "./snapshot.ts";

export function nameOf(m: { readonly agent: AgentName | undefined; readonly id: MemberId }): string {
  return m.agent ?? `member ${m.id}`;
}

/** `h1`, `h1 and h2`, `h1, h2 and h3`: in order of name. */
export function listOf(names: readonly string[]): string {
  const sorted = names.toSorted(byText);
  return sorted.length < 2 ? sorted.join("") : `${sorted.slice(0, -1).join(", ")} and ${sorted.at(-1) ?? ""}`;
}

/** A plural for the counts that are part of the configuration, not running figures. */
export function count(n: number, noun: string, plural: string = `${noun}s`): string {
  return `${n} ${n === 1 ? noun : plural}`;
}
