import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TlsFiles } from "../../src/etcd/index.ts";
import type { Login, Network } from "./netns.ts";

/** What became of everything a writer wrote. */
export interface Written {
  readonly acknowledged: number;
  /** Acknowledged, and not there at the end. */
  readonly lost: readonly string[];
  /** Linearizable reads that did not see the write acknowledged before them. */
  readonly misread: number;
  /** The longest time between two acknowledged writes, and when it began. */
  readonly longestGapMs: number;
  readonly gapAtMs: number;
  /** The same by the wall clock, as logs tell the time. */
  readonly gapAt: string;
}

/** A process that writes and reads without a pause, at whichever endpoint answers. */
export interface Writer extends AsyncDisposable {
  /** Ends the writing, reads everything back, and tells. */
  finish(): Promise<Written>;
}

const program = fileURLToPath(new URL("writer-program.mjs", import.meta.url));

/** Settles when the first write is acknowledged. */
export async function startWriter(
  network: Network,
  endpoints: readonly string[],
  {
    prefix = "/written",
    ...who
  }: { readonly prefix?: string; readonly tls?: TlsFiles | undefined; readonly login?: Login | undefined } = {},
): Promise<Writer> {
  const [command, ...args] = network.inside([process.execPath, program, JSON.stringify(who), prefix, ...endpoints]);
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.stdin.on("error", () => undefined);
  let started = (): void => undefined;
  let told = (_: Written): void => undefined;
  const writing = new Promise<void>((resolve) => (started = resolve));
  const result = new Promise<Written>((resolve) => (told = resolve));
  createInterface({ input: child.stdout }).on("line", (line) => {
    const said = JSON.parse(line) as Written | { readonly writing: true };
    if ("writing" in said) started();
    else told(said);
  });
  const early = gone.then(() => Promise.reject(new Error("The writer has ended before it told what it wrote")));
  early.catch(() => undefined);
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    await gone;
  };
  try {
    await Promise.race([writing, early]);
  } catch (error) {
    await end();
    throw error;
  }
  return {
    finish: async () => {
      child.stdin.write("\n");
      const written = await Promise.race([result, early]);
      await gone;
      return written;
    },
    [Symbol.asyncDispose]: end,
  };
}
