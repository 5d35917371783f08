import type { Logger } from "pino";
import { within, type Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { ControlView } from "./control/control-view.ts";
import type { Presence } from "./control/presence.ts";
import type { ResolvedOptions } from "./resolve.ts";
import type { Prefix } from "./begin/state.ts";
import type { AgentExit } from "./status.ts";

interface LeaveDeps {
  readonly options: ResolvedOptions;
  readonly prefix: Prefix;
  readonly view: ControlView;
  readonly presence: Presence;
  readonly clock: Clock;
  readonly log: Logger;
  /** No server runs, and none is being started. */
  readonly serverless: () => boolean;
}

/** A leave becomes a stop in place after this long. */
const leaveMs = 30_000;

/** Leaves: offers nothing any more, and waits to be replaced or let go. Whoever is the last keeps data and seat. */
export async function leave(deps: LeaveDeps, signal: AbortSignal): Promise<AgentExit> {
  const { options, prefix, view, presence, clock, log } = deps;
  log.info("leaving");
  presence.show({ volunteer: undefined, leaving: "asked to leave", record: { volunteering: false } });
  const gone = (): boolean =>
    prefix.state.seat === undefined && view.get(options.keys.seats.key(options.hostname)) === undefined && deps.serverless();
  const alone = (): boolean => prefix.state.seat !== undefined && view.complete && !somebodyStays(deps);
  try {
    await within(
      leaveMs,
      clock,
      signal,
      (own) => view.until(() => gone() || alone(), own),
      () => new QuorateError("WAIT_TIMEOUT", "Cannot leave in good order: nobody let this agent go"),
    );
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof QuorateError && error.code === "WAIT_TIMEOUT")) throw error;
    const because = view.plan()?.because;
    log.warn({ because }, "not let go in time; stopping in place");
    const why = because === undefined ? "" : ` (${because})`;
    return stays(`it was not let go within ${leaveMs / 1_000} s${why}: it stays a member`);
  }
  return gone() ? { exitCode: 0, error: undefined, how: "left", notice: undefined } : stays(lastWords(deps));
}

export function stays(notice: string): AgentExit {
  return { exitCode: 0, error: undefined, how: "stopped", notice };
}

/** Who has to be started for the cluster to serve again: every voter that is left, as each may hold the newest data. */
function lastWords({ view, options }: LeaveDeps): string {
  if (options.prefix === undefined) return "nobody else is left, and the data was in a temporary prefix: this cluster is gone";
  const voters = [...view.seats()].filter(([, seat]) => seat.role === "voter" && seat.member !== undefined).map(([host]) => host);
  if (voters.length <= 1) return `nobody else is left: this host keeps the data; start ${options.hostname} first`;
  return `nobody else is left: ${voters.join(" and ")} keep the data together; start them first`;
}

/** Another agent that could hold a seat, and is not leaving as well. */
function somebodyStays({ view, options }: LeaveDeps): boolean {
  for (const [host, record] of view.agents()) {
    if (host === options.hostname || (!record.volunteering && record.member === undefined)) continue;
    if (view.get(options.keys.leaving.key(host)) === undefined) return true;
  }
  return false;
}
