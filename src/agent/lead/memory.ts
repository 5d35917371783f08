import type { ClusterSnapshot, MemberSeen, VolunteerSeen } from "../../chooser/snapshot.ts";
import type { EndpointStatus, MemberRow } from "../../etcd/index.ts";
import { agentOf, type Look } from "./look.ts";
import { Quiet } from "./quiet.ts";

/** What the raft leader hears of the others: bytes received, by member id. Undefined when its metrics could not be read. */
export type Heard = ReadonlyMap<string, number> | undefined;

export interface Observation {
  readonly nowMs: number;
  readonly look: Look;
  readonly statuses: ReadonlyMap<string, EndpointStatus>;
  readonly heard: Heard;
}

interface Track {
  firstSeenMs: number;
  healthySinceMs: number | undefined;
  answeredAtMs: number;
  applied: number;
  bytes: number;
  /** When the applied index or the bytes from it last moved, or it kept up. */
  movedAtMs: number;
  heard: boolean | undefined;
  sampledAtMs: number;
  /** When its agent's session was last alive. */
  agentSeenMs: number;
}

/**
 * An agent whose server answers lives, as that dies with it: when the raft leader dies, many sessions may be lost at once, and are opened
 * again. After so long without one it is not able to.
 */
export const agentGraceMs = 10_000;

/** Three heartbeats at etcd's default: a member that is heard has sent something by then. */
export const hearingMs = 350;

/**
 * What only time can tell about members: how long one has been healthy, silent or standing still, as this leader saw it. It is
 * turned into plain durations, so that the decision itself remembers nothing.
 */
export class Memory {
  /** Kept by whoever reads the raft leader's counters. */
  readonly quiet = new Quiet();
  readonly #tracks = new Map<string, Track>();
  #sinceMs: number;
  #openStep: { readonly key: string; readonly sinceMs: number } | undefined;
  #closing: { readonly revision: number; readonly sinceMs: number } | undefined;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** Whose memory this is leads from now on. What was counted before stays; health and silence are only what a leader has followed. */
  leads(nowMs: number): this {
    this.#sinceMs = nowMs;
    for (const track of this.#tracks.values()) {
      Object.assign(track, {
        healthySinceMs: undefined,
        firstSeenMs: nowMs,
        answeredAtMs: nowMs,
        movedAtMs: nowMs,
        agentSeenMs: nowMs,
      });
    }
    return this;
  }

  /** Takes in one observation and returns the members as the chooser sees them. */
  members({ nowMs, look, statuses, heard }: Observation): MemberSeen[] {
    const rows = look.membership.members;
    for (const id of [...this.#tracks.keys()]) if (!rows.some((row) => row.id === id)) this.#tracks.delete(id);
    const leaderId = raftLeaderOf(rows, statuses);
    const leaderStatus = leaderId === undefined ? undefined : statuses.get(leaderId);
    return rows.map((row) => {
      const status = statuses.get(row.id);
      const answers =
        status !== undefined &&
        leaderId !== undefined &&
        status.raftLeader === leaderId &&
        !status.errors.some((e) => e.includes("no leader"));
      const lag = status && leaderStatus ? Math.max(0, leaderStatus.raftIndex - status.appliedIndex) : undefined;
      const track = this.#track(row.id, nowMs);
      const bytes = heard?.get(row.id) ?? 0;
      if (answers) {
        track.healthySinceMs ??= nowMs;
        track.answeredAtMs = nowMs;
      } else track.healthySinceMs = undefined;
      if ((status && status.appliedIndex > track.applied) || (heard && bytes > track.bytes) || lag === 0) track.movedAtMs = nowMs;
      track.applied = Math.max(track.applied, status?.appliedIndex ?? 0);
      if (heard && nowMs - track.sampledAtMs >= hearingMs) {
        // A new raft leader counts from zero: bytes that differ are bytes that came.
        track.heard = bytes !== track.bytes && bytes > 0;
        track.bytes = bytes;
        track.sampledAtMs = nowMs;
      }
      const agent = agentOf(row, look);
      const record = agent === undefined ? undefined : look.agents.get(agent)?.value;
      if (record !== undefined) track.agentSeenMs = nowMs;
      const seat = agent === undefined ? undefined : look.seats.get(agent);
      return {
        id: row.id,
        agent,
        role: row.learner ? "learner" : "voter",
        started: row.name !== "",
        raftLeader: row.id === leaderId,
        answers,
        // Bytes are only counted while somebody is silent: what was counted earlier says nothing now.
        heard: row.id === leaderId && answers ? true : heard && track.heard,
        healthyForMs: track.healthySinceMs === undefined ? 0 : nowMs - track.healthySinceMs,
        unansweredForMs: nowMs - track.answeredAtMs,
        knownForMs: nowMs - track.firstSeenMs,
        lag,
        stalledForMs: lag === undefined || lag > 0 ? nowMs - track.movedAtMs : 0,
        agentLive: record !== undefined || (agent !== undefined && answers && nowMs - track.agentSeenMs < agentGraceMs),
        report: reportOf(record, row.id),
        zone: record?.zone ?? "",
        priority: record?.priority ?? 0,
        sinceRevision: seat?.entry.createRevision ?? 0,
      };
    });
  }

  /** How long this leader has known the step that is open. */
  openStep(look: Look, nowMs: number): ClusterSnapshot["openStep"] {
    const { step } = look;
    // Nothing that the chooser knows of hangs on a member's address.
    if (!step || step.value.op === "update-urls") {
      this.#openStep = undefined;
      return undefined;
    }
    const key = `${step.entry.createRevision}/${step.entry.modRevision}`;
    if (this.#openStep?.key !== key) this.#openStep = { key, sinceMs: nowMs };
    const { op, agent, member } = step.value;
    return { op, agent, member, openForMs: nowMs - this.#openStep.sinceMs };
  }

  /** How long this leader has seen size 0 stand; whoever writes it again starts that anew. */
  closing({ size, closed }: Look, nowMs: number): ClusterSnapshot["closing"] {
    if (size.asked !== 0) {
      this.#closing = undefined;
      return undefined;
    }
    if (this.#closing?.revision !== size.revision) this.#closing = { revision: size.revision, sinceMs: nowMs };
    return { askedForMs: nowMs - this.#closing.sinceMs, closed: closed?.value.host };
  }

  leaderForMs(nowMs: number): number {
    return nowMs - this.#sinceMs;
  }

  #track(id: string, nowMs: number): Track {
    let track = this.#tracks.get(id);
    if (!track) {
      track = {
        firstSeenMs: nowMs,
        healthySinceMs: undefined,
        answeredAtMs: nowMs,
        applied: 0,
        bytes: 0,
        movedAtMs: nowMs,
        heard: undefined,
        sampledAtMs: -hearingMs,
        agentSeenMs: nowMs,
      };
      this.#tracks.set(id, track);
    }
    return track;
  }
}

function reportOf(
  record: { readonly server: string; readonly member?: string | undefined } | undefined,
  id: string,
): MemberSeen["report"] {
  if (record?.member !== id) return undefined;
  return record.server === "failed" || record.server === "lost-data" ? record.server : undefined;
}

/** The raft leader most voters name; undefined where they name none. */
export function raftLeaderOf(rows: readonly MemberRow[], statuses: ReadonlyMap<string, EndpointStatus>): string | undefined {
  const votes = new Map<string, number>();
  // A later term outweighs any number of members that have not heard of it.
  const latest = Math.max(0, ...[...statuses.values()].filter((s) => s.raftLeader !== "0").map((s) => s.raftTerm));
  for (const row of rows) {
    const status = statuses.get(row.id);
    if (!status || status.raftLeader === "0" || status.raftTerm !== latest) continue;
    votes.set(status.raftLeader, (votes.get(status.raftLeader) ?? 0) + 1);
  }
  const [best] = [...votes].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return best && rows.some((row) => row.id === best[0]) ? best[0] : undefined;
}

/** The live volunteers, with what the pre-flight said of each. */
export function volunteersSeen(
  look: Look,
  preflightOf: (host: string, look: Look) => VolunteerSeen["preflight"],
): VolunteerSeen[] {
  const seen: VolunteerSeen[] = [];
  for (const [agent, held] of look.volunteers) {
    const record = look.agents.get(agent)?.value;
    if (!record) continue; // A key without an agent behind it: nothing to nominate.
    seen.push({
      agent,
      zone: record.zone,
      priority: record.priority,
      sinceRevision: held.entry.createRevision,
      preflight: preflightOf(agent, look),
    });
  }
  return seen;
}
