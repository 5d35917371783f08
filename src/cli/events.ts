import { isRefused, readRecord, type EventRecord } from "../agent/control/records.ts";
import { systemClock } from "../clock.ts";
import { watchRange, type KeyValue } from "../etcd/index.ts";
import type { Keys } from "../keys.ts";
import { withCluster, type Cluster } from "./client.ts";
import { whyNoAnswer } from "./cluster.ts";
import { Interrupted } from "./interrupted.ts";
import type { Io } from "./io.ts";
import type { ClientSettings, Format } from "./options.ts";
import { encode, painter, plain, yaml, type Paint } from "./output.ts";

export interface EventsSettings extends ClientSettings {
  /** Go on with every new event, until `^C`. */
  readonly follow: boolean;
  /** The newest so many; undefined: all that are kept. */
  readonly newest: number | undefined;
}

/** An event with its place in the order of all. */
export type EventSeen = Partial<EventRecord> & {
  readonly id: string;
  /** Store revision at which it was written. */
  readonly revision: number;
  /** Why it cannot be read. */
  readonly refused?: string;
};

/** `quorate events [--follow] [-n N]`: what the leaders did and saw, in order. */
export async function events(settings: EventsSettings, io: Io): Promise<number> {
  const printer = new Printer(settings.output, settings.follow, io);
  return withCluster(settings, async (cluster) => {
    if (!settings.follow) {
      printer.all(newestOf(await list(cluster), settings.newest));
      return 0;
    }
    try {
      return await follow(cluster, settings.newest, printer, io);
    } catch (error) {
      if (error instanceof Interrupted) return 0;
      throw error;
    }
  });
}

/** In pages of one revision: a thousand events need not fit one message. */
async function list({ client, keys, signal }: Cluster): Promise<EventSeen[]> {
  const given = client.endpoints.urls();
  const seen: EventSeen[] = [];
  let { start } = keys.events;
  let revision = 0;
  try {
    for (;;) {
      const page = await client.range({ start, end: keys.events.end }, { signal, revision, limit: pageSize });
      seen.push(...page.entries.map((entry) => read(entry, keys)));
      revision ||= page.revision;
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return seen;
      start = `${last.key}\0`;
    }
  } catch (error) {
    throw await whyNoAnswer(client, given, error, signal);
  }
}

const pageSize = 200;

function newestOf(seen: readonly EventSeen[], newest: number | undefined): readonly EventSeen[] {
  return newest === undefined ? seen : newest === 0 ? [] : seen.slice(-newest);
}

/** Prints what there is, then every event once, also across a change of the raft leader or of the endpoint. */
async function follow({ client, keys, signal }: Cluster, newest: number | undefined, printer: Printer, io: Io): Promise<never> {
  // The rest of the cluster takes over when the endpoint that was named goes away.
  const given = client.endpoints.urls();
  try {
    const { members } = await client.readMembership({ signal });
    const voters = members.filter((member) => !member.learner).flatMap((member) => member.clientUrls);
    client.endpoints.set([...new Set([...given, ...voters])]);
  } catch (error) {
    signal.throwIfAborted();
    throw await whyNoAnswer(client, given, error, signal);
  }
  // A leader that was not told that its write arrived writes the same event again.
  const known = new Set<string>();
  let lost = false;
  return watchRange(
    client,
    keys.events,
    (news) => {
      switch (news.kind) {
        case "snapshot":
          for (const { key } of news.entries) known.add(key);
          printer.all(
            newestOf(
              news.entries.map((entry) => read(entry, keys)),
              newest,
            ),
          );
          return;
        case "changes": {
          const added = news.changes.flatMap((change) => {
            if (change.type === "del") known.delete(change.key);
            if (change.type === "del" || known.has(change.entry.key)) return [];
            known.add(change.entry.key);
            return [read(change.entry, keys)];
          });
          printer.more(added.toSorted((a, b) => a.revision - b.revision || (a.id < b.id ? -1 : 1)));
          return;
        }
        case "state":
          if (!news.live && !lost) io.err("note: the connection is lost; going on as soon as it is back\n");
          lost = !news.live;
          return;
      }
    },
    { clock: systemClock },
    signal,
  );
}

/** An event as anyone may have written it. */
export function read(entry: KeyValue, keys: Pick<Keys, "events">): EventSeen {
  const place = { id: entry.key.slice(keys.events.prefix.length), revision: entry.createRevision };
  const record = readRecord("event", entry.value);
  return isRefused(record) ? { ...place, refused: record.refused } : { ...place, ...record };
}

class Printer {
  readonly #format: Format;
  readonly #follows: boolean;
  readonly #io: Io;
  readonly #paint: Paint;
  #leaderWidth = "LEADER".length;
  #headed = false;

  constructor(format: Format, follows: boolean, io: Io) {
    this.#format = format;
    this.#follows = follows;
    this.#io = io;
    this.#paint = painter(io.color);
  }

  all(seen: readonly EventSeen[]): void {
    if (this.#format === "table" || this.#follows) {
      this.more(seen);
      if (seen.length === 0 && this.#format === "table" && !this.#follows) this.#io.err("note: there are no events yet\n");
    } else this.#io.out(encode(seen.map(data), this.#format));
  }

  /** One line, or one document, for each. */
  more(seen: readonly EventSeen[]): void {
    if (this.#format === "json") for (const one of seen) this.#io.out(`${JSON.stringify(data(one))}\n`);
    else if (this.#format === "yaml") for (const one of seen) this.#io.out(`---\n${yaml(data(one))}`);
    else this.#lines(seen);
  }

  #lines(seen: readonly EventSeen[]): void {
    this.#leaderWidth = Math.max(this.#leaderWidth, ...seen.map(({ leader }) => plain(leader ?? "").length));
    if (!this.#headed && (seen.length > 0 || this.#follows)) {
      const title = `${"REVISION".padEnd(10)}${"TIME (UTC)".padEnd(21)}${"LEADER".padEnd(this.#leaderWidth + 2)}WHAT HAPPENED, AND WHY`;
      this.#io.out(`${this.#paint("dim", title)}\n`);
      this.#headed = true;
    }
    for (const one of seen) this.#io.out(`${eventLine(one, this.#leaderWidth, this.#paint, this.#io.columns)}\n`);
  }
}

/**
 * `112  2026-01-01 09:30:00  h1  promoted h3 to voter: 2 voters of 3, and learner h3 is in sync (can lose 0 -> 1)`. Where that is too long
 * for the terminal, the reason has a line of its own.
 */
export function eventLine(seen: EventSeen, leaderWidth: number, paint: Paint, width: number = Infinity): string {
  const time = seen.at === undefined ? "" : seen.at.replace("T", " ").replace(/\..*$/, "");
  const place = `${String(seen.revision).padEnd(10)}${plain(time).padEnd(21)}`;
  if (seen.refused !== undefined) return `${paint("dim", place)}unreadable event ${plain(seen.id)}: ${plain(seen.refused)}`;
  const leader = plain(seen.leader ?? "").padEnd(leaderWidth + 2);
  const what = plain(seen.what ?? "").replace(/\s+/g, " ");
  const why = `${plain(seen.because ?? "").replace(/\s+/g, " ")}${toleranceOf(seen)}`;
  const head = place.length + leader.length + what.length;
  const indent = head + 2 + why.length <= width ? ": " : `:\n${" ".repeat(10)}`;
  return `${paint("dim", place)}${leader}${paint("bold", what)}${indent}${why}`;
}

function toleranceOf({ facts }: EventSeen): string {
  if (!facts || facts.toleranceBefore === facts.toleranceAfter) return "";
  const [before, after] = [facts.toleranceBefore, facts.toleranceAfter].map((n) => (n < 0 ? "no quorum" : String(n)));
  return ` (can lose ${before} -> ${after})`;
}

/** What programs get: the id and the revision first, without the number of the schema. */
function data({ schema: _schema, ...seen }: EventSeen): unknown {
  return seen;
}
