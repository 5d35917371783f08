import type { HostEntry, Str, StrMap } from "../api/strings.ts";
import type { Context } from "../context.ts";
import { WorldError } from "../error.ts";
import { checkKey, checkName, shown, textOf } from "../names.ts";
import { readOptions } from "../read.ts";
import type { Entry } from "../replica/index.ts";
import { followed } from "../watch/followed.ts";
import { failing, listWatch, valueWatch } from "../watch/watch.ts";
import { removalOf, write, writeOf } from "../write.ts";
import type { Sessions } from "./session.ts";

/** @throws WorldError INVALID_NAME, NAME_TOO_LONG */
export function keyOfString({ keys }: Context, name: string): string {
  checkName("the name of a string", name);
  return checkKey(keys.strings.str(name));
}

/** The own host's in a map. @throws WorldError INVALID_NAME, NAME_TOO_LONG */
export function keyInMap({ keys, hostname }: Context, name: string): string {
  checkName("the name of a map", name);
  return checkKey(keys.strings.entry(name, hostname));
}

export function strOf(context: Context, sessions: Sessions): Str {
  const { keys } = context;
  const valueOf = (entry: Entry | undefined): { readonly value: string | undefined; readonly modRevision: number } => {
    if (entry === undefined) return { value: undefined, modRevision: 0 };
    const value = textOf(entry.value);
    if (value !== undefined) return { value, modRevision: entry.modRevision };
    context.malformed.note(entry.key, notUtf8);
    throw new WorldError("INVALID_VALUE", `Cannot read ${entry.key}: ${notUtf8}`, { key: entry.key });
  };
  return {
    get: async (name, options = {}) => {
      const doing = { what: `read the string ${shown(name)}` };
      return await context.run(doing, options, async () => {
        const key = keyOfString(context, name);
        const { replica } = context.opened ?? (await context.open());
        const { entry, revision, ageMs } = await replica.get(key, readOptions(options));
        return { ...valueOf(entry), revision, ageMs };
      });
    },
    getSync: (name) => {
      const doing = { what: `read the string ${shown(name)}` };
      try {
        const key = keyOfString(context, name);
        context.throwIfClosed();
        if (context.opened === undefined) {
          throw new WorldError("STALE", `Cannot ${doing.what}: there is no copy yet`, { retryable: true, hint: hintReady, key });
        }
        const { entry, revision, ageMs } = context.opened.replica.getPointSync(key);
        return { ...valueOf(entry), revision, ageMs };
      } catch (error) {
        throw context.failure(error, doing, {});
      }
    },
    set: async (name, value, options = {}) => {
      const what = `write the string ${shown(name)}`;
      return await context.run({ what }, options, async () =>
        write(context, sessions, writeOf({ what, key: keyOfString(context, name) }, value, options), options),
      );
    },
    del: async (name, options = {}) => {
      const what = `delete the string ${shown(name)}`;
      return await context.run({ what }, options, async () =>
        write(context, sessions, removalOf({ what, key: keyOfString(context, name) }, options), options),
      );
    },
    watch: (name, options = {}) =>
      failing(() => {
        const key = keyOfString(context, name);
        const itemOf = (entry: Entry): Read | undefined =>
          readable(context, entry, (value) => ({ value, modRevision: entry.modRevision }));
        const source = followed(
          context,
          { range: { start: key, end: `${key}\u0000` }, itemOf },
          `watch the string ${shown(name)}`,
        );
        return valueWatch(context, source, options);
      }),
    list: async (options = {}) =>
      await context.run({ what: "list the strings" }, options, async () =>
        listNames(context, options, (key) => {
          const parsed = keys.strings.parse(key);
          if (parsed === undefined) context.malformed.note(key, notAString);
          return parsed?.host === undefined ? parsed?.name : undefined;
        }),
      ),
  };
}

interface Read {
  readonly value: string;
  readonly modRevision: number;
}

export const notUtf8 = "its value is not UTF-8";
const notAString = "it is neither /strings/NAME nor /strings/NAME/HOST";
const hintReady = "Await world.ready() once";

/** Undefined, and noted, where the value is not text. */
export function readable<T>(context: Context, entry: Entry, use: (text: string) => T): T | undefined {
  const text = textOf(entry.value);
  if (text !== undefined) return use(text);
  context.malformed.note(entry.key, notUtf8);
  return undefined;
}

async function listNames(
  context: Context,
  options: Parameters<Str["list"]>[0],
  nameOf: (key: string) => string | undefined,
): ReturnType<Str["list"]> {
  const { replica } = context.opened ?? (await context.open());
  const range = context.keys.strings;
  const { found, revision, ageMs } = await replica.look(
    readOptions(options ?? {}),
    (look) => look.keys(range),
    (look) => look.keys(range),
  );
  const names = new Set(found.flatMap((key) => nameOf(key) ?? []));
  return { names: [...names].sort(), revision, ageMs };
}

export function strMapOf(context: Context, sessions: Sessions): StrMap {
  const { keys, hostname } = context;
  const entryOf = (entry: Entry): HostEntry | undefined => {
    const host = keys.strings.parse(entry.key)?.host;
    if (host === undefined) {
      context.malformed.note(entry.key, notAString);
      return undefined;
    }
    return readable(context, entry, (value) => ({ host, value, modRevision: entry.modRevision, leased: entry.lease !== "0" }));
  };
  return {
    get: async (name, options = {}) => {
      const doing = { what: `read the map ${shown(name)}` };
      return await context.run(doing, options, async () => {
        keyInMap(context, name);
        const { replica } = context.opened ?? (await context.open());
        const found = await replica.range(keys.strings.map(name), readOptions(options));
        const entries = found.entries.flatMap((entry) => entryOf(entry) ?? []);
        entries.sort((a, b) => (a.host < b.host ? -1 : 1));
        return {
          value: new Map(entries.map(({ host, value }) => [host, value])),
          entries,
          modRevision: entries.find(({ host }) => host === hostname)?.modRevision ?? 0,
          revision: found.revision,
          ageMs: found.ageMs,
        };
      });
    },
    set: async (name, value, options = {}) => {
      const what = `write to the map ${shown(name)}`;
      return await context.run({ what }, options, async () =>
        write(context, sessions, writeOf({ what, key: keyInMap(context, name) }, value, options), options),
      );
    },
    del: async (name, options = {}) => {
      const what = `delete from the map ${shown(name)}`;
      return await context.run({ what }, options, async () =>
        write(context, sessions, removalOf({ what, key: keyInMap(context, name) }, options), options),
      );
    },
    watch: (name, options = {}) =>
      failing(() => {
        keyInMap(context, name);
        const source = followed(context, { range: keys.strings.map(name), itemOf: entryOf }, `watch the map ${shown(name)}`);
        return listWatch(context, source, options, (a, b) => (a.host < b.host ? -1 : 1));
      }),
    list: async (options = {}) =>
      await context.run({ what: "list the maps" }, options, async () =>
        listNames(context, options, (key) => {
          const parsed = keys.strings.parse(key);
          if (parsed === undefined) context.malformed.note(key, notAString);
          return parsed?.host === undefined ? undefined : parsed.name;
        }),
      ),
  };
}
