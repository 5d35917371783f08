import { passOn, raced } from "../../clock.ts";
import type { CallOptions, Read, ReadOptions, ValueEvent, Watch, WatchOptions } from "../api/common.ts";
import type { Schedule, Schedules } from "../api/scheduler.ts";
import type { Context } from "../context.ts";
import { WorldError } from "../error.ts";
import { shown, textOf } from "../names.ts";
import { readOptions } from "../read.ts";
import type { Entry } from "../replica/index.ts";
import { followed } from "../watch/followed.ts";
import type { News, Source } from "../watch/news.ts";
import { failing, valueWatch } from "../watch/watch.ts";
import { parseResult } from "./records.ts";
import type { ResultRecord } from "./records.ts";

/** What one result key says: undefined where there is none, "unread" where nobody can read it. */
type Result = ResultRecord | "unread" | undefined;

/** Of one namespace. `standing`: how many could schedule. */
export function scheduleOf(result: Result, standing: number): Schedule {
  const unknown = (because: string, generation = 0): Schedule => ({ state: "unknown", hosts: [], generation, because });
  if (result === undefined) return unknown("nothing was published yet");
  if (result === "unread") return unknown("what is published cannot be read");
  const { hosts, generation, problem } = result;
  if (hosts.length === 0) {
    return problem === undefined ? { state: "nobody", hosts, generation, because: undefined } : unknown(problem, generation);
  }
  if (standing === 0) return unknown("nobody takes part any more who could schedule", generation);
  return { state: "scheduled", hosts, generation, because: problem };
}

/** A key nobody can read is noted. */
export function resultIn(context: Context, entry: Entry | undefined): Result {
  if (entry === undefined) return undefined;
  const text = textOf(entry.value);
  const record = text === undefined ? undefined : parseResult(text);
  if (record === undefined) context.malformed.note(entry.key, "its value is none that the scheduler writes");
  return record ?? "unread";
}

/** The schedule of one namespace, until `shutdown()`. */
export class View implements Schedules {
  readonly namespace: string;
  readonly #context: Context;
  readonly #over = new AbortController();
  #iterator: AsyncIterator<ValueEvent<Schedule>, undefined> | undefined;
  /** What the next call waits for: one that is given up leaves it to the one after it. */
  #pulling: Promise<Schedule> | undefined;
  #told: string | undefined;

  constructor(context: Context, namespace: string) {
    this.#context = context;
    this.namespace = namespace;
  }

  async get(options: ReadOptions = {}): Promise<Read & Schedule> {
    const doing = { what: `read the schedule of ${shown(this.namespace)}` };
    return await this.#context.run(doing, options, async () => {
      this.#over.signal.throwIfAborted();
      const { scheduler: keys } = this.#context.keys;
      const { replica } = this.#context.opened ?? (await this.#context.open());
      const key = keys.result(this.namespace);
      const { found, revision, ageMs } = await replica.look(
        readOptions(options),
        (look) => ({ entry: look.get(key), standing: look.keys(keys.schedulers).length }),
        async (look) => {
          const [entry, standing] = await Promise.all([look.get(key), look.keys(keys.schedulers)]);
          return { entry, standing: standing.length };
        },
      );
      return { ...scheduleOf(resultIn(this.#context, found.entry), found.standing), revision, ageMs };
    });
  }

  async next(options: CallOptions = {}): Promise<Schedule> {
    const doing = { what: `wait for the schedule of ${shown(this.namespace)}` };
    const call = async (): Promise<Schedule> => {
      const waiting = new AbortController();
      const limit = options.timeoutMs === undefined ? undefined : this.#context.limit(options, doing);
      const release = passOn([limit?.signal ?? options.signal, this.#over.signal, this.#context.over], waiting);
      try {
        waiting.signal.throwIfAborted();
        this.#pulling ??= this.#pull();
        const schedule = await raced(this.#pulling, waiting.signal);
        this.#pulling = undefined;
        return schedule;
      } finally {
        release();
        limit?.end();
      }
    };
    return await this.#context.run(doing, options, call, true);
  }

  watch(options: WatchOptions<Schedule> = {}): Watch<ValueEvent<Schedule>> {
    return failing(() => {
      const signal = this.#endOf(options.signal);
      return valueWatch(this.#context, changing(this.#source()), { ...options, signal });
    });
  }

  async shutdown(): Promise<void> {
    const message = `Cannot look at the schedule of ${shown(this.namespace)}: that was shut down`;
    this.#over.abort(new WorldError("CLOSED", message));
    await this.#iterator?.return?.();
  }

  async #pull(): Promise<Schedule> {
    try {
      this.#iterator ??= this.watch({ coalesce: true })[Symbol.asyncIterator]();
      for (;;) {
        const { value: event, done } = await this.#iterator.next();
        if (done === true) throw this.#over.signal.reason as Error;
        if (event.kind === "state" || event.value === undefined) continue;
        const text = JSON.stringify(event.value);
        if (text === this.#told) continue;
        this.#told = text;
        return event.value;
      }
    } catch (error) {
      this.#iterator = undefined;
      this.#pulling = undefined;
      throw error;
    }
  }

  #source(): Source<Part> {
    const { scheduler: keys } = this.#context.keys;
    const result = keys.result(this.namespace);
    return followed(
      this.#context,
      {
        range: keys.resultsOn,
        select: (key) => (key === result ? "entry" : key >= keys.schedulers.start ? "no-value" : "nothing"),
        itemOf: (entry) =>
          entry.key === result ? { result: resultIn(this.#context, entry), modRevision: entry.modRevision } : "standing",
      },
      `watch the schedule of ${shown(this.namespace)}`,
    );
  }

  /** Fires with that signal, and with `shutdown()`. */
  #endOf(signal: AbortSignal | undefined): AbortSignal {
    if (signal === undefined) return this.#over.signal;
    const either = new AbortController();
    const release = passOn([signal, this.#over.signal], either);
    either.signal.addEventListener("abort", () => release(), { once: true });
    return either.signal;
  }
}

type Part = { readonly result: Result; readonly modRevision: number } | "standing";
interface Item {
  readonly value: Schedule;
  readonly modRevision: number;
}

/** The schedule as its result and who stands make it; news where it differs. There is always one. */
function changing(source: Source<Part>): Source<Item> {
  return (handler) => {
    let result: Exclude<Part, "standing"> | undefined;
    const standing = new Set<string>();
    let last: Item | undefined;
    const take = (key: string, part: Part | undefined, isStanding: boolean): void => {
      if (!isStanding) result = part as typeof result;
      else if (part === undefined) standing.delete(key);
      else standing.add(key);
    };
    const told = (news: News<Part>): News<Item> | undefined => {
      if (news.kind === "state") return news;
      if (news.kind === "snapshot") for (const [key, part] of news.items) take(key, part, part === "standing");
      else for (const [key, { before, after }] of news.changes) take(key, after, (after ?? before) === "standing");
      const now = { value: scheduleOf(result?.result, standing.size), modRevision: result?.modRevision ?? 0 };
      const before = last;
      last = now;
      if (news.kind === "snapshot") return { ...news, items: new Map([["", now]]) };
      if (before !== undefined && JSON.stringify(before.value) === JSON.stringify(now.value)) return undefined;
      return { ...news, changes: new Map([["", { before, after: now }]]) };
    };
    return source({
      onNews: (news) => {
        const item = told(news);
        return item === undefined ? undefined : handler.onNews(item);
      },
      onFailure: handler.onFailure,
    });
  };
}
