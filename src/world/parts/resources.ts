import type { ResourceId } from "../../keys.ts";
import type {
  Exported,
  Resource,
  ResourceConflict,
  ResourceFilter,
  ResourceFilters,
  ResourceKey,
  Resources,
} from "../api/resources.ts";
import type { CallOptions, Fence, Lease, ReadOptions, Written } from "../api/common.ts";
import type { Context, Opened } from "../context.ts";
import { WorldError } from "../error.ts";
import type { Doing } from "../error.ts";
import { checkHost, checkKey, checkName } from "../names.ts";
import { readOptions } from "../read.ts";
import type { Entry } from "../replica/index.ts";
import { followed } from "../watch/followed.ts";
import { failing, listWatch } from "../watch/watch.ts";
import { PartlyWritten, forEach, holdOf, invalid, removalOf, sent, writeOf } from "../write.ts";
import type { Write } from "../write.ts";
import { defaultScope, inScope, removeFromScope } from "./scopes.ts";
import type { Sessions } from "./session.ts";
import { readable } from "./strings.ts";

const notAResource = "it is not /exported/TO/FROM/KIND/NAME";

/** One resource of this host to be written. @throws WorldError INVALID_NAME, NAME_TOO_LONG, INVALID_VALUE, TOO_LARGE, INVALID_OPTION */
export function exportOf(
  context: Context,
  item: Exported,
  { scope = defaultScope, lease, fence }: { readonly scope?: string; readonly lease?: Lease; readonly fence?: Fence },
): Write {
  const id = idOf(context, item);
  const key = checkKey(context.keys.exported.key(id));
  const beside = { key: checkKey(context.keys.scopes.key(id)), value: scope === defaultScope ? undefined : scope };
  const options = { ...(lease === undefined ? {} : { lease }), ...(fence === undefined ? {} : { fence }) };
  return { ...writeOf({ what: `export ${item.kind} ${item.name}`, key }, item.value, options), beside };
}

/** One resource of this host to be deleted. @throws as {@link exportOf} */
export function deletionOf(context: Context, item: ResourceKey, fence: Fence | undefined): Write {
  const id = idOf(context, item);
  const key = checkKey(context.keys.exported.key(id));
  const doing = { what: `delete ${item.kind} ${item.name}`, key };
  return {
    ...removalOf(doing, fence === undefined ? {} : { fence }),
    beside: { key: context.keys.scopes.key(id), value: undefined },
  };
}

function idOf({ hostname }: Context, { kind, name, to }: ResourceKey): ResourceId {
  checkName("the kind of a resource", kind);
  checkName("the name of a resource", name);
  if (to !== undefined) checkHost("the host that a resource is for", to);
  return { kind, name, to, from: hostname };
}

function keyOf({ kind, name, to }: ResourceKey | ResourceId): ResourceKey {
  return to === undefined ? { kind, name } : { kind, name, to };
}

export function resourcesOf(context: Context, sessions: Sessions): Resources {
  const { keys, hostname } = context;

  const resourceOf = (entry: Entry): Resource | undefined => {
    const id = keys.exported.parse(entry.key);
    if (id === undefined) {
      context.malformed.note(entry.key, notAResource);
      return undefined;
    }
    return readable(context, entry, (value) => ({
      ...keyOf(id),
      host: id.from,
      value,
      modRevision: entry.modRevision,
      leased: entry.lease !== "0",
    }));
  };

  const collect = async (
    { replica }: Opened,
    filters: ResourceFilters | undefined,
    options: ReadOptions,
  ): ReturnType<Resources["collect"]> => {
    const fits = filterOf(filters);
    const [forAll, forUs] = [keys.exported.under(undefined), keys.exported.under(hostname)];
    const { found, revision, ageMs } = await replica.look(
      readOptions(options),
      (look) => [look.range(forAll), look.range(forUs)],
      (look) => Promise.all([look.range(forAll), look.range(forUs)]),
    );
    const items = found.flat().flatMap((entry) => {
      const item = resourceOf(entry);
      return item !== undefined && fits(item) ? [item] : [];
    });
    return { items: items.sort(inOrder), revision, ageMs };
  };

  const sendAll = async (
    opened: Opened,
    writes: readonly Write[],
    lease: Lease | undefined,
    signal: AbortSignal,
  ): Promise<Written[]> => {
    const hold = await holdOf(context, sessions, lease, signal);
    return await forEach(writes, signal, async (one, own) => sent(opened, one, hold, own));
  };

  return {
    export: async (list, options = {}) => {
      const doing = { what: `export ${countOf(list)}` };
      return await context.run(doing, options, async () => {
        const { scope = defaultScope, mode = "add", lease, fence } = options;
        checkExport(scope, mode);
        const writes = list.map((item) => exportOf(context, item, options));
        checkDifferent(writes);
        return await limited(context, doing, options, async (opened, signal) => {
          const before = mode === "add" ? [] : await inScope(context, opened, scope, signal);
          const written = await sendAll(opened, writes, lease, signal);
          const there = new Set(writes.map(({ key }) => key));
          const gone = before.filter((id) => !there.has(keys.exported.key(id)));
          const deleted = await removeFromScope(context, opened, gone, { scope, fence }, signal).catch((error: unknown) => {
            throw written.length === 0 ? error : writtenOnly(context, doing, options, error);
          });
          const { revision } =
            written.length > 0 || gone.length > 0 ? latest([...written, ...deleted]) : await now(opened, signal);
          return {
            items: list.map((item, i) => ({ ...keyOf(item), changed: written[i]!.changed })),
            deleted: deleted.flatMap(({ id, changed }) => (changed ? [keyOf(id)] : [])),
            changed: [...written, ...deleted].some(({ changed }) => changed),
            revision,
          };
        });
      });
    },
    collect: async (filters, options = {}) =>
      await context.run({ what: "collect resources" }, options, async () => {
        return await collect(context.opened ?? (await context.open()), filters, options);
      }),
    delete: async (list, options = {}) => {
      const doing = { what: `delete ${countOf(list)}` };
      return await context.run(doing, options, async () => {
        const { ifRevision, fence } = options;
        const writes = list.map((item) => ({ ...deletionOf(context, item, fence), ifRevision }));
        checkDifferent(writes);
        return await limited(context, doing, options, async (opened, signal) => {
          const written = await sendAll(opened, writes, undefined, signal);
          const items = list.map((item, i) => ({ ...keyOf(item), changed: written[i]!.changed }));
          const { revision } = written.length > 0 ? latest(written) : await now(opened, signal);
          return { items, changed: written.some(({ changed }) => changed), revision };
        });
      });
    },
    watch: (filters, options = {}) =>
      failing(() => {
        const fits = filterOf(filters);
        const source = followed(
          context,
          {
            range: keys.exported,
            select: (key) => {
              const id = keys.exported.parse(key);
              if (id === undefined) context.malformed.note(key, notAResource);
              return id !== undefined && (id.to === undefined || id.to === hostname) && fits({ ...id, host: id.from })
                ? "entry"
                : "nothing";
            },
            itemOf: resourceOf,
          },
          "watch resources",
        );
        return listWatch(context, source, options, inOrder);
      }),
    conflicts: async (filters, options = {}) =>
      await context.run({ what: "collect conflicting resources" }, options, async () => {
        const { items, revision, ageMs } = await collect(context.opened ?? (await context.open()), filters, options);
        return { conflicts: conflictsIn(items), revision, ageMs };
      }),
  };
}

function countOf(list: readonly unknown[]): string {
  return list.length === 1 ? "a resource" : `${list.length} resources`;
}

function checkExport(scope: unknown, mode: unknown): void {
  if (typeof scope !== "string" || scope === "") throw invalid("scope", "has to be a name");
  checkName("a scope", scope);
  if (mode !== "add" && mode !== "replace") throw invalid("mode", 'has to be "add" or "replace"');
}

function checkDifferent(writes: readonly Write[]): void {
  const seen = new Set<string>();
  for (const { key, what } of writes) {
    if (seen.has(key))
      throw new WorldError("INVALID_OPTION", `Cannot ${what}: it is in the list twice`, { key, data: { option: "list" } });
    seen.add(key);
  }
}

/** The list is written, and not all that was to go is deleted. */
function writtenOnly(context: Context, doing: Doing, options: CallOptions, error: unknown): WorldError {
  const cause = context.failure(error instanceof PartlyWritten ? error.cause : error, doing, options);
  const { code, retryable, hint, key } = cause;
  const message = `Cannot ${doing.what} in place of others: the list is written, and not all that was to go is deleted`;
  const outcome = cause.outcome === "none" ? "applied" : cause.outcome;
  return new WorldError(code, message, { retryable, hint, key, outcome, cause });
}

/** One call on many resources: where a part was written, its outcome is not known. */
async function limited<T>(
  context: Context,
  doing: Doing,
  options: CallOptions,
  call: (opened: Opened, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = context.limit(options, doing);
  try {
    return await call(context.opened ?? (await context.open()), limit.signal);
  } catch (error) {
    if (!(error instanceof PartlyWritten)) throw error;
    const cause = context.failure(error.cause, doing, options);
    const { code, retryable, hint } = cause;
    const message = `Cannot ${doing.what}: ${error.written} of ${error.all} are known to be written, and then ${cause.message}`;
    throw new WorldError(code, message, {
      retryable,
      hint,
      outcome: "unknown",
      cause,
      data: { written: error.written, all: error.all },
    });
  } finally {
    limit.end();
  }
}

function latest(written: readonly Written[]): { readonly revision: number } {
  return { revision: written.reduce((most, { revision }) => Math.max(most, revision), 0) };
}

async function now({ replica }: Opened, signal: AbortSignal): Promise<{ readonly revision: number }> {
  return { revision: await replica.barrier({ signal }) };
}

function inOrder(a: Resource, b: Resource): number {
  return (
    compareText(a.kind, b.kind) ||
    compareText(a.name, b.name) ||
    compareText(a.host, b.host) ||
    compareText(a.to ?? "", b.to ?? "")
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @throws WorldError INVALID_OPTION */
function filterOf(filters: ResourceFilters | undefined): (item: Pick<Resource, "kind" | "name" | "host">) => boolean {
  if (filters === undefined) return () => true;
  const all: readonly ResourceFilter[] = isList(filters) ? filters : [filters];
  for (const filter of all) {
    for (const [field, value] of Object.entries(filter as Record<string, unknown>)) {
      if (!["kind", "name", "host"].includes(field)) throw invalid("filters", `know no ${field}: only kind, name and host`);
      if (value !== undefined && typeof value !== "string") throw invalid(`filters.${field}`, "has to be a string");
    }
  }
  const fits = (wanted: string | undefined, found: string): boolean => wanted === undefined || wanted === found;
  return ({ kind, name, host }) =>
    all.some((filter) => fits(filter.kind, kind) && fits(filter.name, name) && fits(filter.host, host));
}

function isList(filters: ResourceFilters): filters is readonly ResourceFilter[] {
  return Array.isArray(filters);
}

/** Items are in order. */
function conflictsIn(items: readonly Resource[]): ResourceConflict[] {
  const groups = new Map<string, Resource[]>();
  for (const item of items) {
    const group = JSON.stringify([item.kind, item.name]);
    groups.set(group, [...(groups.get(group) ?? []), item]);
  }
  return [...groups.values()].flatMap((group) => {
    const { kind, name } = group[0]!;
    return new Set(group.map(({ host }) => host)).size > 1 ? [{ kind, name, items: group }] : [];
  });
}
