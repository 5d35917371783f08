import { systemClock } from "../clock.ts";
import type { Io } from "./io.ts";
import { createLogger } from "./log.ts";
import { isBelowNpm, type RunSettings } from "./options.ts";
import { parentGone, parentsNow } from "./process-tree.ts";
import { noSignal, onSignal, type EndSignal } from "./signals.ts";

const endSignals: readonly EndSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** `quorate run`: one agent until it ends, with the exit code of what ended it. */
export async function run(settings: RunSettings, io: Io): Promise<number> {
  const parents = parentsNow(true);
  const format = settings.logFormat ?? (io.tty ? "pretty" : "json");
  const logger = await createLogger({ level: settings.logLevel, format, color: io.color });
  const { startAgent } = await import("../agent/index.ts");
  const agent = startAgent({ ...settings.agent, leaveOnTerminate: settings.leaveOnTerminate, logger });
  const alwaysLeaves = settings.leaveOnTerminate || settings.agent.tmpPrefix === true;
  let seen = noSignal;
  const listen = (signal: EndSignal): void => {
    const next = onSignal(seen, signal, systemClock.nowMs(), { alwaysLeaves });
    seen = next.seen;
    switch (next.ending.kind) {
      case "leave":
        io.err("leaving in good order; once more to hurry\n");
        void agent.leave();
        return;
      case "stop":
        io.err("stopping in place, the seat is kept; once more to hurry\n");
        void agent.stop();
        return;
      case "hurry":
        io.err("hurrying; once more to kill\n");
        agent.hurry();
        return;
      case "kill":
        // Its etcd goes with it: the kernel sees to that.
        process.exit(next.ending.exitCode);
        return;
      case "echo":
        return;
    }
  };
  for (const signal of endSignals) process.on(signal, listen);
  const over = new AbortController();
  if (isBelowNpm(io.env)) {
    parentGone(parents, systemClock, over.signal).then(
      () => {
        listen("SIGTERM");
      },
      () => undefined,
    );
  }
  try {
    const exit = await agent.exited;
    if (exit.error !== undefined) throw exit.error as Error;
    if (exit.notice !== undefined) io.err(`note: ${exit.notice}\n`);
    return exit.exitCode;
  } finally {
    over.abort();
    for (const signal of endSignals) process.off(signal, listen);
  }
}
