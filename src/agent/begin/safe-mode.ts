import type { Logger } from "pino";
import { aborted, firstOf, type Clock } from "../../clock.ts";
import type { Presence } from "../control/presence.ts";
import { crashWindowMs, forgetStarts } from "./crashes.ts";
import type { Prefix } from "./state.ts";

export const safeModeProblem =
  "safe mode after three crashes within 5 minutes: it runs its server and shows itself, but follows no control keys, volunteers for nothing and does not lead; see its log for what crashed it, stop it by SIGTERM and start it again to end this, or let it run for 5 minutes";

interface SafeModeDeps {
  readonly prefix: Prefix;
  readonly presence: Presence;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * What an agent does that keeps crashing: its server runs, its record is shown, and nothing is read that others wrote. A bad version or a
 * poisoned key is an inconvenience then, not an outage of all hosts at once. It ends when it has held out long enough.
 */
export async function safeMode(
  deps: SafeModeDeps,
  leaveAsked: (s: AbortSignal) => Promise<"leave">,
  signal: AbortSignal,
): Promise<"leave" | "over"> {
  const { prefix, presence, clock, log } = deps;
  log.error({ problem: safeModeProblem }, "starting in safe mode");
  const shown = async (own: AbortSignal): Promise<never> => {
    try {
      return await presence.run((_session, s) => aborted(s), own);
    } catch (error) {
      own.throwIfAborted();
      // Even if that is what crashes: the server has to go on.
      log.error({ err: error }, "this agent cannot be shown to the others");
      return aborted(own);
    }
  };
  const end = await firstOf<"leave" | "over">(signal, shown, leaveAsked, async (own) => {
    await clock.sleep(crashWindowMs, own);
    return "over";
  });
  if (end === "over") {
    log.info("it has run for 5 minutes: leaving safe mode");
    await forgetStarts(prefix);
  }
  return end;
}
