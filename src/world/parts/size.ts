import { parseSize } from "../../keys.ts";
import type { IdealClusterSize } from "../api/strings.ts";
import type { Context } from "../context.ts";
import { WorldError } from "../error.ts";
import type { Entry } from "../replica/index.ts";
import { followed } from "../watch/followed.ts";
import { failing, valueWatch } from "../watch/watch.ts";
import { write, writeOf } from "../write.ts";
import { textOf } from "../names.ts";
import type { Sessions } from "./session.ts";

export function idealClusterSizeOf(context: Context, sessions: Sessions): IdealClusterSize {
  const key = context.keys.idealClusterSize;
  const sizeIn = (entry: Pick<Entry, "value">): ReturnType<typeof parseSize> => {
    const text = textOf(entry.value);
    const parsed = text === undefined ? { refused: "it is not UTF-8" } : parseSize(text);
    if ("refused" in parsed) context.malformed.note(key, parsed.refused);
    return parsed;
  };
  const itemOf = (entry: Entry): { readonly value: number; readonly modRevision: number } | undefined => {
    const parsed = sizeIn(entry);
    return "refused" in parsed ? undefined : { value: parsed.size, modRevision: entry.modRevision };
  };
  return {
    get: async (options = {}) => {
      const doing = { what: "read the ideal cluster size", key };
      return await context.run(doing, options, async () => {
        const { replica } = context.opened ?? (await context.open());
        const { entry, revision, ageMs } = await replica.get(key, { ...options, read: "direct" });
        if (entry === undefined) return { value: undefined, modRevision: 0, revision, ageMs };
        const parsed = sizeIn(entry);
        const found = "refused" in parsed ? { value: undefined, ...parsed } : { value: parsed.size };
        return { ...found, modRevision: entry.modRevision, revision, ageMs };
      });
    },
    set: async (size, options = {}) => {
      const doing = { what: `set the ideal cluster size to ${String(size)}`, key };
      return await context.run(doing, options, async () => {
        const parsed = parseSize(String(size));
        if ("refused" in parsed) {
          throw new WorldError("INVALID_VALUE", `Cannot ${doing.what}: ${parsed.refused}`, { key, data: { size } });
        }
        if (parsed.size === 0 && options.shutdown !== true) {
          const hint = "{ shutdown: true } says that this is meant; `quorate size 0` asks";
          throw new WorldError("INVALID_VALUE", `Cannot ${doing.what}: it shuts the whole cluster down`, { key, hint });
        }
        return await write(context, sessions, writeOf(doing, String(size), options), options);
      });
    },
    watch: (options = {}) =>
      failing(() => {
        const source = followed(context, { range: { start: key, end: `${key}\u0000` }, itemOf }, "watch the ideal cluster size");
        return valueWatch(context, source, options);
      }),
  };
}
