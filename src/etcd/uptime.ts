import { readFileSync } from "node:fs";
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

function machineUptimeMs(): number | undefined {
  try {
    return 1_000 * Number(readFileSync("/proc/uptime", "latin1").split(" ", 1)[0]);
  } catch {
    return undefined;
  }
}
