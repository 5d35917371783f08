import { openSync, readSync } from "node:fs";
import { systemClock } from "../clock.ts";
import type { Clock } from "../clock.ts";

/**
 * A clock that does not stand still while the machine is suspended, as the monotonic one does: leases expire all the same. Linux
 * counts both; elsewhere, and with a clock of tests, it is the monotonic one.
 */
export function awakeOrNot(clock: Clock, uptimeMs: (() => number | undefined) | undefined): () => number {
  const uptime = uptimeMs ?? (clock === systemClock ? machineUptimeMs : () => undefined);
  const aheadMs = (): number => (uptime() ?? Number.NaN) - clock.nowMs();
  const atFirst = aheadMs();
  return () => {
    const suspended = aheadMs() - atFirst;
    return clock.nowMs() + (suspended > slackMs ? suspended : 0);
  };
}

/** The uptime comes in steps of 10 ms, and the two are not read at the same moment. */
const slackMs = 100;

const uptimeFile = { fd: undefined as number | undefined, bytes: Buffer.alloc(64) };

/** Read with every write that relies on a session: the file stays open, as opening it costs five times as much as reading it. */
function machineUptimeMs(): number | undefined {
  try {
    uptimeFile.fd ??= openSync("/proc/uptime", "r");
    const length = readSync(uptimeFile.fd, uptimeFile.bytes, 0, uptimeFile.bytes.length, 0);
    return 1_000 * Number(uptimeFile.bytes.toString("latin1", 0, length).split(" ", 1)[0]);
  } catch {
    return undefined;
  }
}
