import { createInterface } from "node:readline/promises";

/** The surroundings of one command, so that tests can run it without a process of its own. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  out(text: string): void;
  err(text: string): void;
  /** What is no text; absent where only text can be taken. */
  readonly outBytes?: ((bytes: Uint8Array) => void) | undefined;
  /** Standard output is a terminal. */
  readonly tty: boolean;
  /** Colour is welcome on standard output. */
  readonly color: boolean;
  /** Width of the terminal in characters; undefined where there is none. */
  readonly columns: number | undefined;
  /** All of standard input, once it has ended. */
  readonly input?: (() => Promise<Uint8Array>) | undefined;
  /** Asks a person and gives the answer; absent where there is no terminal to ask at. */
  readonly ask?: ((question: string, signal: AbortSignal) => Promise<string>) | undefined;
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
    outBytes: (bytes) => void process.stdout.write(bytes),
    tty,
    color: wantsColor(tty, env),
    // A terminal that nobody has given a size says 0.
    columns: tty && process.stdout.columns > 0 ? process.stdout.columns : undefined,
    input,
    ask: process.stdin.isTTY && process.stderr.isTTY ? ask : undefined,
  };
}

async function input(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

/** What is asked is no output: it goes to standard error. */
async function ask(question: string, signal: AbortSignal): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new AbortController();
  const own = AbortSignal.any([signal, ended.signal]);
  try {
    // The end of the input is an answer as well; so is ^C, which the terminal gives to readline.
    terminal.once("close", () => {
      ended.abort();
    });
    return await terminal.question(question, { signal: own });
  } catch (error) {
    signal.throwIfAborted();
    if (ended.signal.aborted) return "";
    throw error;
  } finally {
    terminal.close();
  }
}
