import { Interrupted } from "./interrupted.ts";
import { processIo, type Io } from "./io.ts";
import { environment } from "./options.ts";
import { report } from "./report.ts";

/**
 * The command line: `argv` without node and script. Settles with the exit code, never rejects.
 *
 * 0 ok, 1 failed, 2 usage or configuration, 3 unreachable, 4 no quorum, 5 a wait timed out, 6 refused by a safety rule, 7 no usable etcd.
 */
export async function main(argv: readonly string[], given?: Io): Promise<number> {
  const io = given ?? ownIo(argv);
  try {
    // Everything behind this word belongs to etcdctl, also --help and --version.
    if (argv[0] === "etcdctl") return await (await import("./etcdctl.ts")).etcdctl(argv.slice(1), io);
    return await (await import("./program.ts")).runProgram(argv, io);
  } catch (error) {
    if (error instanceof Interrupted) return 130;
    const { text, exitCode } = report(error);
    io.err(text);
    return exitCode;
  }
}

function ownIo(argv: readonly string[]): Io {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", argv[0] === "run" || argv[0] === "demo" ? goOn : endOnBrokenPipe);
  }
  return processIo(environment());
}

/** `quorate members | head -1`: whoever read has enough. */
function endOnBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}

/** An agent is not ended by the loss of whoever read its log; a demo ends itself in good order. */
function goOn(): void {
  // Nothing to do: the listener alone keeps the error from ending the process.
}
