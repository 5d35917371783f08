import type { Converger, Convergence, ConvergerPart } from "../api/converger.ts";
import type { WatchOptions } from "../api/common.ts";
import type { Context } from "../context.ts";
import { answerOf, sameAnswer, statementIn } from "../converged/answer.ts";
import type { Statement } from "../converged/answer.ts";
import { PartsHere } from "../converged/here.ts";
import { Publisher } from "../converged/publisher.ts";
import { WorldError } from "../error.ts";
import { shown, textOf } from "../names.ts";
import { readOptions } from "../read.ts";
import type { Entry } from "../replica/index.ts";
import { followed } from "../watch/followed.ts";
import type { News, Source } from "../watch/news.ts";
import { failing, valueWatch } from "../watch/watch.ts";
import { invalid } from "../write.ts";
import type { Sessions } from "./session.ts";

const notAHost = "it is neither /converged/HOST nor /converged/HOST/SESSION";
const notABoolean = "its value is neither true nor false";

/** `agents`: the parts of the agent that this World is of, which says for all of them what they come to. */
export function convergerOf(context: Context, sessions: Sessions, agents: PartsHere | undefined): Converger {
  const { keys, log } = context;
  const range = keys.converged;
  const here = agents ?? new PartsHere(context.clock, 0);
  const publisher = agents === undefined ? new Publisher(context, sessions, here) : undefined;
  const registered = new Set<ConvergerPart>();
  const statementOf = (entry: Entry): Statement | undefined => {
    const statement = statementIn(range, entry.key, textOf(entry.value));
    if (statement === undefined) context.malformed.note(entry.key, notAHost);
    else if (statement.converged === undefined) context.malformed.note(entry.key, notABoolean);
    return statement;
  };
  const end = (): void => {
    for (const part of registered) part.unregister();
    if (agents === undefined) here.close();
  };
  context.over.addEventListener("abort", end, { once: true });
  const watch = (options: WatchOptions<Convergence> = {}): ReturnType<Converger["watch"]> =>
    failing(() => {
      const source = followed(context, { range, itemOf: statementOf }, "watch what is converged");
      return valueWatch(context, together(source), options);
    });
  return {
    register: (name, options = {}) => {
      const doing = { what: `register the part ${shown(name)}` };
      try {
        context.throwIfClosed();
        const part = here.register(name, options);
        registered.add(part);
        publisher?.start();
        const unregister = (): void => {
          registered.delete(part);
          part.unregister();
        };
        return {
          name: part.name,
          get converged() {
            return part.converged;
          },
          set: part.set,
          unregister,
          [Symbol.dispose]: unregister,
        };
      } catch (error) {
        throw context.failure(error, doing, {});
      }
    },
    get here() {
      return here.status;
    },
    get: async (options = {}) =>
      await context.run({ what: "read what is converged" }, options, async () => {
        const { replica } = context.opened ?? (await context.open());
        const { entries, revision, ageMs } = await replica.range(range, readOptions(options));
        return { ...answerOf(entries.flatMap((entry) => statementOf(entry) ?? [])), revision, ageMs };
      }),
    watch,
    onChange: (hook) => {
      if (typeof hook !== "function") throw invalid("hook", "has to be a function");
      const over = new AbortController();
      const calls = async (): Promise<void> => {
        const equal = (a: Convergence, b: Convergence): boolean => a.converged === b.converged;
        for await (const event of watch({ signal: over.signal, coalesce: true, equal })) {
          if (event.kind === "state" || event.value === undefined) continue;
          try {
            await hook(event.value);
          } catch (error) {
            log?.warn({ err: error }, "a hook of the converger has failed");
          }
        }
      };
      calls().catch((error: unknown) => {
        if (!(error instanceof WorldError && error.code === "CLOSED"))
          log?.error({ err: error }, "hooks of the converger are not called any more");
      });
      return () => {
        over.abort(new DOMException("The hook was taken back", "AbortError"));
      };
    },
  };
}

interface Answer {
  readonly value: Convergence;
  readonly modRevision: number;
}

/** What all statements come to, where that has changed. */
function together(source: Source<Statement>): Source<Answer> {
  return (handler) => {
    const statements = new Map<string, Statement>();
    let last: Answer | undefined;
    const told = (news: News<Statement>): News<Answer> | undefined => {
      if (news.kind === "state") return news;
      const { kind, revision } = news;
      if (kind === "snapshot") for (const [key, statement] of news.items) statements.set(key, statement);
      else {
        for (const [key, { after }] of news.changes) {
          if (after === undefined) statements.delete(key);
          else statements.set(key, after);
        }
      }
      const [before, after] = [last, { value: answerOf(statements.values()), modRevision: revision }];
      if (before !== undefined && sameAnswer(before.value, after.value)) return undefined;
      last = after;
      if (kind === "snapshot") return { kind, items: new Map([["", after]]), revision };
      return { kind, changes: new Map([["", { before, after }]]), revision };
    };
    return source({
      onNews: (news) => {
        const now = told(news);
        return now === undefined ? undefined : handler.onNews(now);
      },
      onFailure: handler.onFailure,
    });
  };
}
