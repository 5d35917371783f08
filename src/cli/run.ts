import { systemClock } from "../clock.ts";
import type { Io } from "./io.ts";
import { createLogger } from "./log.ts";
import type { RunSettings } from "./options.ts";
import { noSignal, onSignal, type EndSignal } from "./signals.ts";

const endSignals: readonly EndSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** `quorate run`: one agent until it ends, with the exit code of what ended it. */
export async function run(settings: RunSettings, io: Io): Promise<number> {
  const logger = await createLogger({
    level: settings.logLevel,
    format: settings.logFormat ?? (io.tty ? "pretty" : "json"),
    color: io.color,
  });
  const { startAgent } = await import("./agent-port.ts");
  const never = new AbortController();
  const agent = startAgent({ ...settings.agent, logger }, { signal: never.signal });
  let seen = noSignal;
  const listen = (signal: EndSignal): void => {
    const next = onSignal(seen, signal, systemClock.nowMs(), { tmpPrefix: settings.agent.tmpPrefix === true });
    seen = next.seen;
    switch (next.ending.kind) {
      case "leave":
        io.err(`${signal}: leaving in good order; once more to hurry\n`);
        void agent.leave().catch(() => undefined);
        return;
      case "stop":
        io.err(`${signal}: stopping in place, membership is kept; once more to hurry\n`);
        void agent.stop().catch(() => undefined);
        return;
      case "hurry":
        io.err("hurrying; once more to kill\n");
        agent.hurry();
        return;
      case "kill":
        // etcd goes with its agent: the kernel sees to it.
        process.exit(next.ending.exitCode);
        return;
      case "echo":
        return;
    }
  };
  for (const signal of endSignals) process.on(signal, listen);
  try {
    void agent.ready.catch(() => undefined);
    const exit = await agent.exited;
    if (exit.error !== undefined) throw exit.error as Error;
    return exit.exitCode;
  } finally {
    for (const signal of endSignals) process.off(signal, listen);
  }
}
