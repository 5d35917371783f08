import { QuorateError } from "../errors.ts";
import { whyNotUrl } from "../keys.ts";
import type { AgentOptions } from "./options.ts";

/** What several options are checked by. Each throws QuorateError INVALID_OPTION, which names the option. */

export function refuse(option: string, what: string, hint?: string): never {
  throw new QuorateError("INVALID_OPTION", `Cannot use option ${option}: ${what}`, {
    data: { option },
    ...(hint === undefined ? {} : { hint }),
  });
}

export function urls(
  option: keyof AgentOptions,
  given: readonly string[] | undefined,
  otherwise: readonly string[],
): readonly string[] {
  const list = (given ?? otherwise).map((url) => url.trim().replace(/\/$/, ""));
  if (list.length > 8) refuse(option, `there are ${list.length} URLs, at most 8 are allowed`);
  for (const url of list) {
    const why = whyNotUrl(url);
    if (why !== undefined) refuse(option, why, "give URLs like http://192.0.2.7:2379");
  }
  if (new Set(list).size !== list.length) refuse(option, "a URL stands in it twice", "give each once");
  return list;
}

export function whole(option: keyof AgentOptions, value: number, least: number, most: number, unit = ""): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    refuse(option, `it must be a whole number from ${least} to ${most}${unit}: current value is ${String(value)}`);
  }
  return value;
}

/** The text of one option that becomes part of keys, flags or records: short, and nothing a terminal would act on. */
export function label(option: keyof AgentOptions, text: string): string {
  if (text.length > 253 || /[\u0000-\u001f\u007f]/.test(text)) refuse(option, "it must be at most 253 printable characters");
  return text;
}
