import type { Compare } from "../../etcd/index.ts";
import type { ResourceId } from "../../keys.ts";
import type { Fence, Written } from "../api/common.ts";
import type { Context, Opened } from "../context.ts";
import { WorldError } from "../error.ts";
import type { DirectLook, Look } from "../replica/index.ts";
import { compareOf, forEach, patiently } from "../write.ts";

// Which of a host's resources belong to which scope: a mark beside each that has another than the default one.

export const defaultScope = "default";

/** What this host has exported in a scope, as of now. */
export async function inScope(
  { keys, hostname }: Context,
  { replica }: Opened,
  scope: string,
  signal: AbortSignal,
): Promise<ResourceId[]> {
  const marked = keys.scopes.under(hostname);
  const { found } = await replica.look(
    { read: "linearizable", signal },
    (look: Look) => ({ marks: look.range(marked), all: scope === defaultScope ? look.keys(keys.exported) : [] }),
    async (look: DirectLook) => {
      const [marks, all] = await Promise.all([look.range(marked), scope === defaultScope ? look.keys(keys.exported) : []]);
      return { marks, all };
    },
  );
  const scopes = new Map<string, string>();
  for (const { key, value } of found.marks) {
    const id = keys.scopes.parse(key);
    if (id !== undefined) scopes.set(keys.exported.key(id), Buffer.from(value).toString("utf8"));
  }
  const names = scope === defaultScope ? found.all : [...scopes].flatMap(([key, of]) => (of === scope ? [key] : []));
  return names.flatMap((key) => {
    const id = keys.exported.parse(key);
    if (id?.from !== hostname) return [];
    return scope === defaultScope && scopes.has(key) ? [] : [id];
  });
}

interface Removal {
  readonly scope: string;
  readonly fence: Fence | undefined;
}

/**
 * Deletes what still belongs to the scope.
 *
 * @throws WorldError FENCED; and as every write
 */
export async function removeFromScope(
  context: Context,
  opened: Opened,
  ids: readonly ResourceId[],
  removal: Removal,
  signal: AbortSignal,
): Promise<(Written & { readonly id: ResourceId })[]> {
  return await forEach(ids, signal, (id, own) => remove(context, opened, id, removal, own));
}

async function remove(
  { keys }: Context,
  { writes }: Opened,
  id: ResourceId,
  { scope, fence }: Removal,
  signal: AbortSignal,
): Promise<Written & { readonly id: ResourceId }> {
  const [key, mark] = [keys.exported.key(id), keys.scopes.key(id)];
  const belongs: Compare = scope === defaultScope ? { key: mark, createRevision: 0 } : { key: mark, value: scope };
  const write = {
    compare: [belongs],
    then: [
      { del: key, unlessSame: true },
      { del: mark, unlessSame: true },
    ],
    look: [{ range: mark }],
    ...(fence === undefined ? {} : { fence: compareOf(fence)! }),
  };
  const options = { signal, ...(fence === undefined ? {} : { session: fence }) };
  const { succeeded, unchanged, seen, revision } = await patiently(writes, signal, () => writes.atomic(write, options));
  if (!succeeded && fence !== undefined && (seen?.[0]?.value ?? defaultScope) === scope) {
    const message = `Cannot delete ${id.kind} ${id.name}: whoever held ${fence.key} holds it no more`;
    throw new WorldError("FENCED", message, { key, data: { fence: fence.key, revision } });
  }
  // What belongs to another scope by now is another's.
  return { id, changed: succeeded && unchanged?.has(0) !== true, revision };
}
