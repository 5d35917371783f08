import { Interrupted } from "./interrupted.ts";
import { processIo, type Io } from "./io.ts";
import { environment } from "./options.ts";
import { report } from "./report.ts";

/**
 * The command line: `argv` without node and script. Settles with the exit code, never rejects.
 *
 * 0 ok, 1 failed, 2 usage or configuration, 3 unreachable, 4 no quorum, 5 a wait timed out, 6 refused by a safety rule, 7 no usable etcd.
 */
export async function main(argv: readonly string[], io: Io = processIo(environment())): Promise<number> {
  process.stdout.on("error", onBrokenPipe);
  process.stderr.on("error", onBrokenPipe);
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

/** `quorate members | head -1`: whoever read has enough. */
function onBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}
