import type { Logger } from "pino";
import { firstOf, within, type Clock } from "../clock.ts";
import { listOf } from "../chooser/words.ts";
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
  /** Why, for the others. */
  readonly reason: string;
}

/** Added to a session's length: a new session is open by then, where its agent lives. */
const missingMs = 2_000;
/** A leave becomes a stop in place after this long. */
const leaveMs = 30_000;

/** Leaves: offers nothing any more, and waits to be replaced or let go. Whoever is the last keeps data and seat. */
export async function leave(deps: LeaveDeps, signal: AbortSignal): Promise<AgentExit> {
  const { options, prefix, view, presence, clock, log } = deps;
  log.info("leaving");
  presence.show({ volunteer: undefined, leaving: deps.reason, record: { volunteering: false } });
  const gone = (): boolean =>
    prefix.state.seat === undefined && view.get(options.keys.seats.key(options.hostname)) === undefined && deps.serverless();
  const alone = (): boolean => prefix.state.seat !== undefined && view.complete && !somebodyStays(deps);
  const untilAlone = async (own: AbortSignal): Promise<void> => {
    for (;;) {
      await view.until(alone, own);
      if (!somebodyIsMissing(deps)) return;
      const isOver = await firstOf<boolean>(
        own,
        (s) => view.until(() => !alone() || !somebodyIsMissing(deps), s).then(() => false),
        (s) => clock.sleep(options.sessionTtlMs + missingMs, s).then(() => true),
      );
      if (isOver) return;
    }
  };
  try {
    await within(
      leaveMs,
      clock,
      signal,
      (own) => firstOf<void>(own, (s) => view.until(gone, s), untilAlone),
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
  const voters = votersLeft(deps);
  await prefix.save({ startFirst: [...voters] });
  if (!gone()) return stays(lastWords(deps, voters));
  return { exitCode: 0, error: undefined, how: "left", notice: options.server ? partingWords(voters) : undefined };
}

export function stays(notice: string): AgentExit {
  return { exitCode: 0, error: undefined, how: "stopped", notice };
}

/** The hosts that hold the data together, as far as it is known; in order of name. */
function votersLeft({ view }: LeaveDeps): readonly string[] {
  return [...view.seats()].filter(([, seat]) => seat.role === "voter" && seat.member !== undefined).map(([host]) => host);
}

/** Who has to be started for the cluster to serve again: every voter that is left, as each may hold the newest data. */
function lastWords({ options }: LeaveDeps, voters: readonly string[]): string {
  if (options.prefix === undefined) return "nobody else is left, and the data was in a temporary prefix: this cluster is gone";
  if (voters.length <= 1) return `nobody else is left: this host keeps the data; start ${options.hostname} first`;
  return `nobody else is left: ${listOf(voters)} keep the data together; start them first`;
}

/** The others go on; but should they stop as well, this is what was known here. */
function partingWords(voters: readonly string[]): string | undefined {
  if (voters.length === 0) return undefined;
  const [has, them] = voters.length === 1 ? ["has", "it"] : ["have", "them"];
  return `this host has left; ${listOf(voters)} ${has} the data: should the rest stop as well, start ${them} first`;
}

/** Another agent that could hold a seat, and is not leaving as well. */
function somebodyStays({ view, options }: LeaveDeps): boolean {
  for (const [host, record] of view.agents()) {
    if (host === options.hostname || (!record.volunteering && record.member === undefined)) continue;
    if (view.get(options.keys.leaving.key(host)) === undefined) return true;
  }
  return false;
}

/** A host with a seat that neither shows itself nor said that it goes: it may have lost its session for a moment. */
function somebodyIsMissing({ view, options: { keys, hostname } }: LeaveDeps): boolean {
  const agents = view.agents();
  const said = (host: string): boolean =>
    view.get(keys.leaving.key(host)) !== undefined || view.get(keys.restarting.key(host)) !== undefined;
  return [...view.seats().keys()].some((host) => host !== hostname && !agents.has(host) && !said(host));
}
