import { QuorateError } from "../../errors.ts";
import type { Context, Opened } from "../context.ts";
import { WorldError } from "../error.ts";
import { shown } from "../names.ts";
import { patiently } from "../write.ts";
import { differences, parseRules, rulesText } from "./rules.ts";
import type { StoredRules } from "./rules.ts";

export interface Agreed {
  readonly rules: StoredRules;
  /** At which they were written. */
  readonly revision: number;
}

/**
 * The options in force: what is given where nothing is stored, else what is stored. With `change` what is given takes the place of that of
 * it which is stored.
 *
 * @throws WorldError CONFLICT where what is given is not what is stored; INVALID_VALUE where that cannot be read; the signal's reason
 */
export async function agree(
  context: Context,
  { writes }: Opened,
  { name, given, change }: { readonly name: string; readonly given: StoredRules; readonly change: boolean },
  signal: AbortSignal,
): Promise<Agreed> {
  const key = context.keys.scheduler.options(name);
  const put = async (rules: StoredRules, when: { readonly createRevision: 0 } | { readonly modRevision: number }) => {
    for (;;) {
      try {
        return await patiently(writes, signal, () => writes.put(key, rulesText(rules), { signal, when }));
      } catch (error) {
        // Whether it was written shows when it is asked for again: it is not written twice, and what is stored then is what was given.
        signal.throwIfAborted();
        if (!(error instanceof QuorateError) || error.code !== "OUTCOME_UNKNOWN") throw error;
      }
    }
  };
  let done = await put(given, { createRevision: 0 });
  let rules = given;
  for (;;) {
    if (done.succeeded) return { rules, revision: done.revision };
    const { entry } = done;
    if (entry === undefined) {
      // It was deleted in this moment.
      done = await put((rules = given), { createRevision: 0 });
      continue;
    }
    const parsed = parseRules(entry.value);
    if ("refused" in parsed) context.malformed.note(key, parsed.refused);
    if ("refused" in parsed && !change) {
      const message = `Cannot take part in ${shown(name)}: its options cannot be read: ${parsed.refused}`;
      throw new WorldError("INVALID_VALUE", message, { key, hint: "Take part with { change: true } to write yours over them" });
    }
    const stored = "refused" in parsed ? {} : parsed.rules;
    const differs = differences(given, stored);
    if (differs.length === 0 && !("refused" in parsed)) return { rules: stored, revision: entry.modRevision };
    if (!change) throw contradiction(name, key, { differs, stored, given, modRevision: entry.modRevision });
    done = await put((rules = { ...stored, ...given }), { modRevision: entry.modRevision });
  }
}

function contradiction(
  name: string,
  key: string,
  data: {
    readonly differs: readonly string[];
    readonly stored: StoredRules;
    readonly given: StoredRules;
    readonly modRevision: number;
  },
): WorldError {
  const { differs, stored } = data;
  const [first] = differs as [keyof StoredRules];
  const state = `${first} is stored as ${stored[first] === undefined ? "its default" : JSON.stringify(stored[first])}`;
  return new WorldError("CONFLICT", `Cannot take part in ${shown(name)}: what is given contradicts what is stored: ${state}`, {
    key,
    hint: "Leave it out to keep to what is stored, or change it for all with { change: true }",
    data: { reason: "options", ...data },
  });
}
