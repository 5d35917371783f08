import type { Format } from "./options.ts";

/** Text of strangers, fit for a terminal: control characters (and so escape sequences) become a visible mark. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\u00b7");
}

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;
export type Style = keyof typeof codes;
export type Paint = (style: Style | undefined, text: string) => string;

export function painter(color: boolean): Paint {
  return (style, text) => (color && style !== undefined ? `\u001b[${codes[style]}m${text}\u001b[0m` : text);
}

export interface Column {
  readonly title: string;
  /** Columns with the highest number go first where the terminal is too narrow; without one a column stays. */
  readonly spare?: number;
}

/** One cell: its text, and how to paint it. */
export type Cell = string | { readonly text: string; readonly style: Style | undefined };

const textOf = (cell: Cell | undefined): string =>
  plain(cell === undefined ? "" : typeof cell === "string" ? cell : cell.text).replace(/[\t\n]+/g, " ");

/**
 * A table in columns two spaces apart, one line per row, none longer than `width`: spare columns are left out, then lines are cut.
 */
export function table(columns: readonly Column[], rows: readonly (readonly Cell[])[], paint: Paint, width?: number): string[] {
  const widths = columns.map((column, i) => Math.max(column.title.length, ...rows.map((row) => textOf(row[i]).length)));
  let shown = columns.map((_, i) => i);
  const needed = (): number => shown.reduce((sum, i) => sum + (widths[i] ?? 0) + 2, -2);
  while (width !== undefined && needed() > width) {
    const goes = shown
      .filter((i) => columns[i]?.spare !== undefined)
      .sort((a, b) => (columns[b]?.spare ?? 0) - (columns[a]?.spare ?? 0))[0];
    if (goes === undefined) break;
    shown = shown.filter((i) => i !== goes);
  }
  const line = (cells: readonly Cell[], all: Style | undefined): string => {
    let room = width ?? Infinity;
    const parts: string[] = [];
    for (const [at, i] of shown.entries()) {
      if (room <= 0) break;
      const cell = cells[i];
      const lastOne = at === shown.length - 1;
      const full = textOf(cell);
      const padded = lastOne ? full : full.padEnd((widths[i] ?? 0) + 2);
      const cut = clip(padded, room);
      room -= cut.length;
      parts.push(paint(all ?? (typeof cell === "object" ? cell.style : undefined), cut));
    }
    return parts.join("").trimEnd();
  };
  return [
    line(
      columns.map((column) => column.title),
      "dim",
    ),
    ...rows.map((row) => line(row, undefined)),
  ];
}

/** At most `width` characters, the last one an ellipsis where something was cut. */
export function clip(text: string, width: number): string {
  if (text.trimEnd().length <= width) return text.slice(0, width);
  return width <= 1 ? text.slice(0, Math.max(0, width)) : `${text.slice(0, width - 1)}…`;
}

/** What programs read: indented JSON, or block YAML of the same. */
export function encode(value: unknown, format: Exclude<Format, "table">): string {
  return format === "json" ? `${JSON.stringify(value, undefined, 2)}\n` : yaml(value);
}

/** Block YAML 1.2 of plain data. What is not surely a plain word is quoted as JSON, which YAML reads alike. */
export function yaml(value: unknown): string {
  return `${yamlLines(JSON.parse(JSON.stringify(value ?? null)) as Json).join("\n")}\n`;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const isLeaf = (value: Json): value is null | boolean | number | string =>
  value === null || typeof value !== "object" || Object.keys(value).length === 0;

function yamlLines(value: Json): string[] {
  if (isLeaf(value)) return [leaf(value)];
  if (Array.isArray(value)) {
    return (value as readonly Json[]).flatMap((item) => yamlLines(item).map((line, i) => (i === 0 ? `- ${line}` : `  ${line}`)));
  }
  return Object.entries(value as { readonly [key: string]: Json }).flatMap(([key, item]) => {
    if (isLeaf(item)) return [`${word(key)}: ${leaf(item)}`];
    return [`${word(key)}:`, ...yamlLines(item).map((line) => `  ${line}`)];
  });
}

function leaf(value: Json): string {
  if (typeof value === "string") return word(value);
  return JSON.stringify(value);
}

function word(text: string): string {
  const bare = /^[A-Za-z][A-Za-z0-9_-]*( [A-Za-z0-9_-]+)*$/.test(text) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(text);
  return bare ? text : JSON.stringify(text);
}
