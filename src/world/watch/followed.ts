import type { KeyRange } from "../../keys.ts";
import type { Context } from "../context.ts";
import type { Entry, EntryChange, Following, ReplicaNews, Select } from "../replica/index.ts";
import type { Difference, News, Source } from "./news.ts";

export interface Followed<T> {
  readonly range: KeyRange;
  /** What of the range is followed. Default: all of every entry. */
  readonly select?: Select;
  /** Undefined for what is passed over. */
  readonly itemOf: (entry: Entry) => T | undefined;
}

/** News of one range of keys, as the replica tells of it. */
export function followed<T>(context: Context, { range, select, itemOf }: Followed<T>, what: string): Source<T> {
  return (handler) => {
    let following: Following | undefined;
    let over = false;
    let live = false;
    let begun = false;
    const end = (): void => {
      over = true;
      release();
      void following?.stop();
    };
    const fail = (error: unknown): void => {
      if (over) return;
      end();
      handler.onFailure(context.failure(error, { what, key: range.start }, {}));
    };
    const tellState = (): void => {
      if (!over && begun) void handler.onNews({ kind: "state", live, lagMs: live ? 0 : lagOf(context) });
    };
    const onNews = (news: ReplicaNews): void | Promise<void> => {
      if (over) return;
      const first = !begun;
      begun = true;
      const told = newsOf(news, itemOf);
      const taken = told === undefined ? undefined : handler.onNews(told);
      if (first) tellState();
      return taken;
    };
    const begin = async (): Promise<void> => {
      const { replica } = context.opened ?? (await context.open());
      if (over) return;
      following = replica.follow(range, onNews, {
        ...(select === undefined ? {} : { select }),
        onLive: (now) => {
          live = now;
          tellState();
        },
      });
      await following.over;
    };
    const release = context.hold(async () => {
      fail(context.over.reason);
      await following?.stop();
    });
    begin().catch(fail);
    return end;
  };
}

/** Where there is no copy, nobody knows. */
function lagOf({ opened }: Context): number {
  const status = opened?.replica.status;
  return status?.state === "live" || status?.state === "stale" ? Math.round(status.ageMs) : 0;
}

function newsOf<T>(news: ReplicaNews, itemOf: (entry: Entry) => T | undefined): News<T> | undefined {
  const { revision } = news;
  if (news.kind === "snapshot") {
    const items = new Map<string, T>();
    for (const entry of news.entries) {
      const item = itemOf(entry);
      if (item !== undefined) items.set(entry.key, item);
    }
    return { kind: "snapshot", items, revision };
  }
  const changes = new Map<string, Difference<T>>();
  for (const change of news.changes) {
    const difference = differenceOf(change, itemOf);
    if (difference !== undefined) changes.set(change.type === "put" ? change.entry.key : change.key, difference);
  }
  return changes.size === 0 ? undefined : { kind: news.kind, changes, revision };
}

function differenceOf<T>(change: EntryChange, itemOf: (entry: Entry) => T | undefined): Difference<T> | undefined {
  const before = change.previous === undefined ? undefined : itemOf(change.previous);
  const after = change.type === "put" ? itemOf(change.entry) : undefined;
  return before === undefined && after === undefined ? undefined : { before, after };
}
