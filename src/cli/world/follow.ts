import type { ListEvent, ValueEvent } from "../../world/index.ts";
import type { Io } from "../io.ts";
import { clip, painter, yaml } from "../output.ts";
import { oneLine, withNull } from "./print.ts";
import type { WorldSettings } from "./settings.ts";

/** What is shown of one item. */
export interface Shape<T> {
  readonly titles: readonly string[];
  readonly cells: (item: T) => readonly string[];
}

interface Line {
  readonly revision: number;
  readonly what: "is" | "set" | "deleted" | "absent";
  readonly cells: readonly string[];
}

/** Prints what there is, then every change once, until the watch ends. */
export async function printValueWatch(
  events: AsyncIterable<ValueEvent<string>>,
  settings: Pick<WorldSettings, "output">,
  io: Io,
): Promise<void> {
  await printOneWatch(events, { titles: ["VALUE"], cells: (value) => [value] }, settings, io);
}

/** The same of a value that is shown in several columns. */
export async function printOneWatch<T>(
  events: AsyncIterable<ValueEvent<T>>,
  { titles, cells }: Shape<T>,
  settings: Pick<WorldSettings, "output">,
  io: Io,
): Promise<void> {
  await follow(events, settings, titles, io, ({ kind, value, revision }) => {
    const what = kind === "snapshot" ? (value === undefined ? "absent" : "is") : value === undefined ? "deleted" : "set";
    return [{ revision, what, cells: value === undefined ? [] : cells(value) }];
  });
}

/** The same of several items: a line for each that is there, and for each that changes. */
export async function printListWatch<T>(
  events: AsyncIterable<ListEvent<T>>,
  { titles, cells }: Shape<T>,
  settings: Pick<WorldSettings, "output">,
  io: Io,
): Promise<void> {
  await follow(events, settings, titles, io, (event): Line[] => {
    const { revision } = event;
    if (event.kind === "snapshot") return event.items.map((item) => ({ revision, what: "is", cells: cells(item) }));
    return event.changes.map((change) =>
      change.type === "set"
        ? { revision, what: "set", cells: cells(change.item) }
        : { revision, what: "deleted", cells: cells(change.previous) },
    );
  });
}

type AnyEvent = ValueEvent<unknown> | ListEvent<unknown>;
type State = Extract<AnyEvent, { readonly kind: "state" }>;

async function follow<E extends AnyEvent>(
  events: AsyncIterable<E>,
  { output }: Pick<WorldSettings, "output">,
  titles: readonly string[],
  io: Io,
  linesOf: (event: Exclude<E, State>) => readonly Line[],
): Promise<void> {
  const print = output === "table" ? printer(titles, io) : undefined;
  let live = false;
  for await (const event of events) {
    if (isState(event)) {
      if (live && !event.live) io.err("note: the connection is lost; going on as soon as it is back\n");
      ({ live } = event);
      continue;
    }
    const { kind } = event;
    if (kind === "resynced") io.err("note: what was between cannot be had; this is what differs\n");
    if (print !== undefined) print(linesOf(event as Exclude<E, State>));
    else if (output === "yaml") io.out(`---\n${yaml(withNull(event))}`);
    else io.out(`${JSON.stringify(withNull(event))}\n`);
  }
}

function isState(event: AnyEvent): event is State {
  return event.kind === "state";
}

/** Columns that nobody can know the width of are wide enough for most. */
const columnWidth = 20;

function printer(titles: readonly string[], io: Io): (lines: readonly Line[]) => void {
  const paint = painter(io.color);
  const inColumns = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === cells.length - 1 ? cell : `${cell.padEnd(columnWidth)}  `)).join("");
  const line = (revision: string, what: string, cells: readonly string[]): string =>
    clip(`${revision.padEnd(10)}${what.padEnd(9)}${inColumns(cells)}`.trimEnd(), io.columns ?? Infinity);
  let headed = false;
  return (lines) => {
    if (!headed) io.out(`${paint("dim", line("REVISION", "EVENT", titles))}\n`);
    headed = true;
    for (const { revision, what, cells } of lines) io.out(`${line(String(revision), what, cells.map(oneLine))}\n`);
  };
}
