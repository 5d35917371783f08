import { QuorateError } from "../../errors.ts";
import { quote } from "../../keys.ts";
import type { Written } from "../../world/index.ts";
import type { Io } from "../io.ts";
import { encode, painter, plain, table, type Column } from "../output.ts";
import type { WorldSettings } from "./settings.ts";

type Shown = Pick<WorldSettings, "output">;

/** `set motd at revision 12`, or why nothing changed. */
export function printWritten(
  words: { readonly done: string; readonly unchanged: string },
  { changed, revision }: Written,
  { output }: Shown,
  io: Io,
): number {
  if (output !== "table") io.out(encode({ changed, revision }, output));
  else io.out(`${changed ? words.done : `nothing changed: ${words.unchanged}`} at revision ${revision}\n`);
  return 0;
}

export const deletion = (what: string): { readonly done: string; readonly unchanged: string } => ({
  done: `deleted ${what}`,
  unchanged: `there was no ${what}`,
});

/** One name a line. */
export function printNames(names: readonly string[], data: object, { output }: Shown, io: Io): number {
  if (output !== "table") io.out(encode(withNull(data), output));
  else if (names.length === 0) io.err("note: there are none yet\n");
  else io.out(names.map((name) => `${oneLine(name)}\n`).join(""));
  return 0;
}

export function printTable(columns: readonly Column[], rows: readonly (readonly string[])[], io: Io): void {
  io.out(`${table(columns, rows, painter(io.color), io.columns).join("\n")}\n`);
}

/**
 * Exactly what is there and `end`, for programs; a terminal gets no control characters, and a line of its own.
 *
 * @throws QuorateError FAILED where there is none, unless the format has a word for that
 */
export function printValue(
  { what, value, end }: { readonly what: string; readonly value: string | undefined; readonly end: "\n" | "" },
  data: object,
  { output }: Shown,
  io: Io,
): number {
  if (output !== "table") {
    io.out(encode(withNull(data), output));
    return 0;
  }
  if (value === undefined) throw missing(what);
  io.out(io.tty ? `${plain(value)}\n` : `${value}${end}`);
  return 0;
}

export function missing(what: string): QuorateError {
  return new QuorateError("FAILED", `Cannot read ${what}: there is none`);
}

/** Text of strangers as a part of one line. */
export function oneLine(text: string): string {
  return plain(text).replace(/[\t\n]+/g, " ");
}

/** What is undefined in the library is null for programs. */
export function withNull(data: object): unknown {
  return JSON.parse(JSON.stringify(data, (_key, value: unknown) => value ?? null)) as unknown;
}

export const named = (kind: string, name: string): string => `the ${kind} ${quote(name)}`;
