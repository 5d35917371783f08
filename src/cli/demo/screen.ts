import { stripVTControlCharacters } from "node:util";

/** Where the demo draws: lines that stay, and below them a table that is drawn over. */
export interface Screen {
  /** Lines that scroll by and stay. */
  print(lines: readonly string[]): void;
  /** Replaces the table. */
  draw(lines: readonly string[]): void;
  width(): number;
  height(): number;
  /** Leaves the last table standing and gives the terminal back. */
  close(): void;
}

const hideCursor = "\u001b[?25l";
const showCursor = "\u001b[?25h";

/** A terminal. One write per change, so that nothing flickers. */
export function liveScreen(out: NodeJS.WriteStream): Screen {
  let drawn: readonly string[] = [];
  let closed = false;
  const width = (): number => Math.max(20, out.columns || 80);
  /** Back to the first line of the table, also when the terminal has become narrower and its lines take more rows. */
  const erase = (): string => {
    const rows = drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(stripVTControlCharacters(line).length / width())), 0);
    return rows === 0 ? "" : `\u001b[${rows}A\r\u001b[0J`;
  };
  const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");
  out.write(hideCursor);
  return {
    print: (lines) => {
      if (closed) out.write(text(lines));
      else out.write(erase() + text(lines) + text(drawn));
    },
    draw: (lines) => {
      if (closed || same(lines, drawn)) return;
      out.write(erase() + text(lines));
      drawn = [...lines];
    },
    width,
    // The cursor stands below the table.
    height: () => Math.max(2, (out.rows || 24) - 1),
    close: () => {
      if (closed) return;
      closed = true;
      out.write(showCursor);
    },
  };
}

/** A file or a pipe: only the lines that stay. */
export function plainScreen(out: (text: string) => void): Screen {
  return {
    print: (lines) => {
      for (const line of lines) out(`${stripVTControlCharacters(line)}\n`);
    },
    draw: () => undefined,
    width: () => Infinity,
    height: () => Infinity,
    close: () => undefined,
  };
}

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((line, i) => line === b[i]);
