import type { Context, Opened } from "../context.ts";
import { textOf } from "../names.ts";
import type { Entry, Following, ReplicaNews } from "../replica/index.ts";
import { parseCandidate, parseResult } from "./records.ts";
import type { CandidateRecord, ResultRecord } from "./records.ts";

/** A key as this host last heard of it. */
export interface Heard<T> {
  /** Undefined where nobody can read it. */
  readonly record: T | undefined;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly lease: string;
}

/** The keys that one who takes part lives by, as they are heard of; each is undefined where it is not there. */
export class OwnKeys {
  result: Heard<ResultRecord> | undefined;
  place: Heard<string> | undefined;
  options: Heard<string> | undefined;
  /** Of result, place and options; 0 before the first news. */
  revision = 0;
  candidate: Heard<CandidateRecord> | undefined;
  /** Of the candidate; 0 before the first news. */
  candidateRevision = 0;
  readonly #following: readonly Following[];

  /** `onNews` is called after each. `onLost` where nothing comes any more. */
  constructor(context: Context, { replica }: Opened, name: string, onNews: () => void, onLost: (error: unknown) => void) {
    const { hostname, malformed } = context;
    const { scheduler: keys } = context.keys;
    const [options, place, result, candidate] = [
      keys.options(name),
      keys.place(name, hostname),
      keys.result(name),
      keys.candidate(name, hostname),
    ];
    const heard = <T>(entry: Entry | undefined, parse: (text: string) => T | undefined): Heard<T> | undefined => {
      if (entry === undefined) return undefined;
      const text = textOf(entry.value);
      const record = text === undefined ? undefined : parse(text);
      if (record === undefined) malformed.note(entry.key, "its value is none that the scheduler writes");
      const { createRevision, modRevision, lease } = entry;
      return { record, createRevision, modRevision, lease };
    };
    const asText = (text: string): string => text;
    const rest = replica.follow(
      keys.withoutCandidates,
      (news) => {
        each(news, (key, entry) => {
          if (key === result) this.result = heard(entry, parseResult);
          else if (key === place) this.place = heard(entry, asText);
          else if (key === options) this.options = heard(entry, asText);
        });
        this.revision = news.revision;
        onNews();
      },
      { select: (key) => (key === result || key === place || key === options ? "entry" : "nothing") },
    );
    const own = replica.follow({ start: candidate, end: `${candidate}\0` }, (news) => {
      each(news, (_key, entry) => {
        this.candidate = heard(entry, (text) => parseCandidate(text, hostname));
      });
      this.candidateRevision = news.revision;
      onNews();
    });
    this.#following = [rest, own];
    for (const { over } of this.#following) over.catch(onLost);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#following.map((one) => one.stop()));
  }
}

function each(news: ReplicaNews, tell: (key: string, entry: Entry | undefined) => void): void {
  if (news.kind === "snapshot") for (const entry of news.entries) tell(entry.key, entry);
  else
    for (const change of news.changes) {
      if (change.type === "put") tell(change.entry.key, change.entry);
      else tell(change.key, undefined);
    }
}
