/** The surroundings of one command, so that tests can run it without a process of its own. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  out(text: string): void;
  err(text: string): void;
  /** Standard output is a terminal. */
  readonly tty: boolean;
  /** Colour is welcome on standard output. */
  readonly color: boolean;
  /** Width of the terminal in characters; undefined where there is none. */
  readonly columns: number | undefined;
}

type Env = Io["env"];

/** Colour where the terminal has it and nobody objects (no-color.org). */
export function wantsColor(tty: boolean, env: Env): boolean {
  if (env["NO_COLOR"]) return false;
  return tty && env["TERM"] !== "dumb";
}

export function processIo(env: Env): Io {
  const tty = process.stdout.isTTY;
  return {
    env,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    tty,
    color: wantsColor(tty, env),
    columns: tty ? process.stdout.columns : undefined,
  };
}
