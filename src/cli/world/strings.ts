import type { HostEntry, WriteOptions } from "../../world/index.ts";
import type { Io } from "../io.ts";
import { encode } from "../output.ts";
import { printListWatch, printValueWatch, type Shape } from "./follow.ts";
import { valueFrom } from "./input.ts";
import { deletion, missing, named, oneLine, printNames, printTable, printValue, printWritten, withNull } from "./print.ts";
import type { WorldSettings } from "./settings.ts";
import { untilInterrupted, withWorld } from "./with-world.ts";

/** Strings, and maps of one string of each host. */
export type Which = "str" | "strmap";

/** A name, and the conditions on a write. */
export interface Wanted {
  readonly name: string;
  readonly options: Pick<WriteOptions, "ifRevision" | "ifAbsent" | "lease">;
}

/** `quorate world str get NAME`: the value itself, for scripts. */
export async function getString(settings: WorldSettings, name: string, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const { value, modRevision, revision } = await world.str.get(name, { signal });
    return printValue({ what: named("string", name), value, end: "\n" }, { name, value, modRevision, revision }, settings, io);
  });
}

/** `quorate world strmap get NAME`: of all hosts. */
export async function getMap(settings: WorldSettings, name: string, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const { entries, revision } = await world.strmap.get(name, { signal });
    if (settings.output !== "table") {
      io.out(encode(withNull({ name, entries, revision }), settings.output));
      return 0;
    }
    if (entries.length === 0) throw missing(named("map", name));
    const rows = entries.map((entry) => [entry.host, entry.leased ? "yes" : "no", String(entry.modRevision), entry.value]);
    const columns = [{ title: "HOST" }, { title: "LEASED", spare: 1 }, { title: "REVISION", spare: 2 }, { title: "VALUE" }];
    printTable(columns, rows, io);
    return 0;
  });
}

/** `set NAME VALUE`; `-` is standard input. */
export async function set(settings: WorldSettings, which: Which, wanted: Wanted, typed: string, io: Io): Promise<number> {
  const value = await valueFrom(typed, io);
  return withWorld(settings, io, async ({ world, signal }) => {
    const written = await world[which].set(wanted.name, value, { ...wanted.options, signal });
    const done = `set ${shownName(which, wanted.name, world.hostname)}`;
    return printWritten({ done, unchanged: "it was so already" }, written, settings, io);
  });
}

/** `del NAME`. What is not there is no error. */
export async function del(settings: WorldSettings, which: Which, { name, options }: Wanted, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const { ifRevision } = options;
    const written = await world[which].del(name, { signal, ...(ifRevision === undefined ? {} : { ifRevision }) });
    return printWritten(deletion(shownName(which, name, world.hostname)), written, settings, io);
  });
}

function shownName(which: Which, name: string, hostname: string): string {
  return which === "str" ? oneLine(name) : `${oneLine(name)} of ${hostname}`;
}

/** `ls`: all names. */
export async function list(settings: WorldSettings, which: Which, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const { names, revision } = await world[which].list({ signal });
    return printNames(names, { names, revision }, settings, io);
  });
}

const shape: Shape<HostEntry> = { titles: ["HOST", "VALUE"], cells: ({ host, value }) => [host, value] };

/** `watch NAME`: what there is, then every change, until `^C`. */
export async function watch(settings: WorldSettings, which: Which, name: string, io: Io): Promise<number> {
  return untilInterrupted(settings, io, async ({ world, signal }) => {
    if (which === "str") await printValueWatch(world.str.watch(name, { signal }), settings, io);
    else await printListWatch(world.strmap.watch(name, { signal }), shape, settings, io);
  });
}
