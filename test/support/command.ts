import type { Io } from "../../src/cli/io.ts";
import { main } from "../../src/cli/main.ts";

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One command line in this process, to its end. Words are separated by single spaces, or given one by one. */
export async function quorate(argv: string | readonly string[], more: Partial<Io> = {}): Promise<Said> {
  const said = { out: "", err: "" };
  const io: Io = {
    env: {},
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    tty: false,
    color: false,
    columns: undefined,
    ...more,
  };
  const code = await main(typeof argv !== "string" ? argv : argv === "" ? [] : argv.split(" "), io);
  return { code, ...said };
}
