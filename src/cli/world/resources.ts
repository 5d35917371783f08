import { QuorateError } from "../../errors.ts";
import type { Exported, ExportOptions, Resource, ResourceFilter, ResourceKey } from "../../world/index.ts";
import type { Io } from "../io.ts";
import { encode } from "../output.ts";
import { printListWatch, type Shape } from "./follow.ts";
import { textFrom, valueFrom } from "./input.ts";
import { deletion, oneLine, printTable, printWritten, withNull } from "./print.ts";
import type { WorldSettings } from "./settings.ts";
import { untilInterrupted, withWorld } from "./with-world.ts";

/** One resource as it was typed, or the file that lists them. */
export type Listed =
  | { readonly file: string }
  | { readonly kind: string; readonly name: string; readonly value: string; readonly to: string | undefined };

/** Thousands of resources take their time on a slow way. */
const manyMs = 60_000;

/** `quorate world resource export`. */
export async function exportResources(
  settings: WorldSettings,
  listed: Listed,
  options: Pick<ExportOptions, "scope" | "mode" | "lease">,
  io: Io,
): Promise<number> {
  const list = "file" in listed ? parseList(await textFrom(listed.file, io), listed.file) : [await typedOne(listed, io)];
  return withWorld(settings, io, async ({ world, signal }) => {
    const { items, deleted, changed, revision } = await world.resource.export(list, { ...options, timeoutMs: manyMs, signal });
    if (settings.output !== "table") {
      io.out(encode(withNull({ items, deleted, changed, revision }), settings.output));
      return 0;
    }
    const written = items.filter((item) => item.changed).length;
    const same = items.length - written;
    const parts = [
      `exported ${written}`,
      ...(same === 0 ? [] : [`${same} unchanged`]),
      ...(deleted.length === 0 ? [] : [`${deleted.length} deleted`]),
    ];
    io.out(`${parts.join(", ")}, at revision ${revision}\n`);
    for (const key of deleted) io.out(`deleted ${shownKey(key)}\n`);
    return 0;
  });
}

async function typedOne(listed: Exclude<Listed, { readonly file: string }>, io: Io): Promise<Exported> {
  const { kind, name, value, to } = listed;
  return { kind, name, value: await valueFrom(value, io), ...(to === undefined ? {} : { to }) };
}

const fields: readonly string[] = ["kind", "name", "value", "to"];

/** @throws QuorateError INVALID_VALUE */
function parseList(text: string, file: string): Exported[] {
  const refused = (why: string): QuorateError =>
    new QuorateError("INVALID_VALUE", `Cannot use ${file === "-" ? "standard input" : file}: ${why}`, {
      hint: 'it is a JSON list like [{ "kind": "host", "name": "web1", "value": "192.0.2.7", "to": "h2" }], where "to" may be left out',
    });
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw refused("it is not JSON");
  }
  if (!Array.isArray(list)) throw refused("it is not a list");
  return list.map((item: unknown, i) => {
    const place = `item ${i + 1}`;
    if (typeof item !== "object" || item === null) throw refused(`${place} is not an object`);
    const of = item as Readonly<Record<string, unknown>>;
    const { kind, name, value, to } = of;
    const strange = Object.keys(of).find((field) => !fields.includes(field));
    if (strange !== undefined) throw refused(`${place} has ${JSON.stringify(strange)}, which no resource has`);
    if (typeof kind !== "string" || typeof name !== "string" || typeof value !== "string")
      throw refused(`${place} needs kind, name and value, which are strings`);
    if (to === undefined || to === null) return { kind, name, value };
    if (typeof to !== "string") throw refused(`"to" of ${place} is not a host name`);
    return { kind, name, value, to };
  });
}

/** `quorate world resource del KIND NAME [--to HOST]`. */
export async function deleteResource(settings: WorldSettings, key: ResourceKey, ifRevision: number | undefined, io: Io) {
  return withWorld(settings, io, async ({ world, signal }) => {
    const written = await world.resource.delete([key], { signal, ...(ifRevision === undefined ? {} : { ifRevision }) });
    return printWritten(deletion(shownKey(key)), written, settings, io);
  });
}

function shownKey({ kind, name, to }: ResourceKey): string {
  return oneLine(`${kind} ${name}${to === undefined ? "" : ` for ${to}`}`);
}

/** `quorate world resource collect`. */
export async function collect(settings: WorldSettings, filter: ResourceFilter, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const { items, revision } = await world.resource.collect(filter, { signal });
    if (settings.output !== "table") io.out(encode({ items, revision }, settings.output));
    else if (items.length === 0) io.err(`note: nothing that fits is exported to ${world.hostname} or to everyone\n`);
    else printTable(columns, items.map(rowOf), io);
    return 0;
  });
}

/** `quorate world resource conflicts`: what several hosts export as the same. */
export async function conflicts(settings: WorldSettings, filter: ResourceFilter, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const found = await world.resource.conflicts(filter, { signal });
    const rows = found.conflicts.flatMap(({ items }) => items.map(rowOf));
    if (settings.output !== "table") io.out(encode({ conflicts: found.conflicts, revision: found.revision }, settings.output));
    else if (rows.length === 0) io.err("note: there are no conflicts\n");
    else printTable(columns, rows, io);
    return 0;
  });
}

const titles = ["KIND", "NAME", "HOST", "TO", "VALUE"];
const columns = titles.map((title) => (title === "TO" ? { title, spare: 1 } : { title }));
const rowOf = ({ kind, name, host, to, value }: Resource): string[] => [kind, name, host, to ?? "everyone", value];
const shape: Shape<Resource> = { titles, cells: rowOf };

/** `quorate world resource watch`: what is there to collect, then every change of that, until `^C`. */
export async function watch(settings: WorldSettings, filter: ResourceFilter, io: Io): Promise<number> {
  return untilInterrupted(settings, io, async ({ world, signal }) => {
    await printListWatch(world.resource.watch(filter, { signal }), shape, settings, io);
  });
}
