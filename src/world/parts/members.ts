import { passOn } from "../../clock.ts";
import type { EndpointStatus, EtcdClient } from "../../etcd/index.ts";
import type { Member, Members } from "../api/members.ts";
import type { Context } from "../context.ts";
import type { Difference, Handler, Source } from "../watch/news.ts";
import { failing, listWatch } from "../watch/watch.ts";
import { invalid } from "../write.ts";

const defaultEveryMs = 2_000;
/** For the status of one member. */
const statusMs = 1_000;
/** Timers take no more. */
const longestSleepMs = 2 ** 31 - 1;
/** For one look of a watch. */
const lookMs = 5_000;

interface Seen {
  readonly members: readonly Member[];
  readonly revision: number;
}

export function membersOf(context: Context): Members {
  const doing = { what: "read the members" };
  const polling = new Polling(context);
  return {
    get: async (options = {}) =>
      await context.run(doing, options, async () => {
        const limit = context.limit(options, doing);
        try {
          return await look(await context.client(), options.timeoutMs ?? lookMs, limit.signal);
        } finally {
          limit.end();
        }
      }),
    watch: (options = {}) =>
      failing(() => {
        const { everyMs = defaultEveryMs } = options;
        if (!(everyMs > 0)) throw invalid("everyMs", "has to be more than 0");
        return listWatch(context, polling.source(everyMs), options, byName);
      }),
  };
}

async function look(client: EtcdClient, timeoutMs: number, signal: AbortSignal): Promise<Seen> {
  const { members, revision } = await client.readMembership({ timeoutMs, signal });
  const statuses = await Promise.all(
    members.map(async ({ clientUrls }) => {
      const [endpoint] = clientUrls;
      if (endpoint === undefined) return undefined;
      return await client.status(endpoint, { timeoutMs: Math.min(statusMs, timeoutMs), signal }).catch(() => undefined);
    }),
  );
  signal.throwIfAborted();
  const leader = raftLeaderIn(statuses);
  const found = members.map(({ id, name, peerUrls, clientUrls, learner }, i): Member => {
    const status = statuses[i];
    const healthy = status !== undefined && status.memberId === id && status.raftLeader !== "0" && status.errors.length === 0;
    const role = learner ? "learner" : "voter";
    return { name, id, peerUrls, clientUrls, role, raftLeader: id === leader, healthy, version: status?.version };
  });
  return { members: found.sort(byName), revision };
}

/** What those of the newest term say. */
function raftLeaderIn(statuses: readonly (EndpointStatus | undefined)[]): string | undefined {
  const known = statuses.filter((one) => one !== undefined && one.raftLeader !== "0");
  return known.reduce<EndpointStatus | undefined>(
    (newest, one) => (newest === undefined || one!.raftTerm > newest.raftTerm ? one : newest),
    undefined,
  )?.raftLeader;
}

function byName(a: Member, b: Member): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1;
}

interface Watcher {
  readonly handler: Handler<Member>;
  readonly everyMs: number;
  /** What it was told; undefined before the snapshot. */
  told: ReadonlyMap<string, Member> | undefined;
  live: boolean | undefined;
}

/** One loop that asks for all watches of a World, while there are any. */
class Polling {
  readonly #context: Context;
  readonly #watchers = new Set<Watcher>();
  #stop: AbortController | undefined;
  /** Begins the next round at once. */
  #hurry = new AbortController();
  #seen: Seen | undefined;
  #heardMs = 0;

  constructor(context: Context) {
    this.#context = context;
  }

  source(everyMs: number): Source<Member> {
    return (handler) => {
      const watcher: Watcher = { handler, everyMs, told: undefined, live: undefined };
      const end = (): void => {
        release();
        this.#watchers.delete(watcher);
        if (this.#watchers.size === 0) this.#end();
      };
      const fail = async (): Promise<void> => {
        end();
        handler.onFailure(this.#context.failure(this.#context.over.reason, { what: "watch the members" }, {}));
      };
      if (this.#context.over.aborted) {
        handler.onFailure(this.#context.failure(this.#context.over.reason, { what: "watch the members" }, {}));
        return () => undefined;
      }
      const release = this.#context.hold(fail);
      this.#watchers.add(watcher);
      if (this.#stop === undefined) void this.#run((this.#stop = new AbortController()).signal);
      else this.#hurry.abort(new DOMException("Somebody wants to know", "AbortError"));
      return end;
    };
  }

  #end(): void {
    this.#stop?.abort(new DOMException("Nobody watches any more", "AbortError"));
    this.#stop = this.#seen = undefined;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    this.#heardMs = clock.nowMs();
    const isOver = (): boolean => signal.aborted;
    while (!isOver()) {
      let live = false;
      try {
        this.#seen = await look(await this.#context.client(), lookMs, signal);
        live = true;
        this.#heardMs = clock.nowMs();
      } catch (error) {
        if (isOver()) return;
        this.#context.log?.debug({ err: error }, "the members could not be read");
      }
      for (const watcher of [...this.#watchers]) this.#tell(watcher, live);
      const everyMs = Math.min(...[...this.#watchers].map((one) => one.everyMs), longestSleepMs);
      this.#hurry = new AbortController();
      const wait = new AbortController();
      const release = passOn([signal, this.#hurry.signal], wait);
      await clock.sleep(everyMs, wait.signal).catch(() => undefined);
      release();
    }
  }

  #tell(watcher: Watcher, live: boolean): void {
    const { handler } = watcher;
    if (live && this.#seen !== undefined) {
      const now = new Map(this.#seen.members.map((member) => [member.id, member]));
      const { revision } = this.#seen;
      if (watcher.told === undefined) void handler.onNews({ kind: "snapshot", items: now, revision });
      else {
        const changes = differences(watcher.told, now);
        if (changes.size > 0) void handler.onNews({ kind: "changes", changes, revision });
      }
      watcher.told = now;
    }
    if (watcher.told === undefined || watcher.live === live) return;
    watcher.live = live;
    const lagMs = live ? 0 : Math.round(this.#context.clock.nowMs() - this.#heardMs);
    void handler.onNews({ kind: "state", live, lagMs });
  }
}

function differences(before: ReadonlyMap<string, Member>, now: ReadonlyMap<string, Member>): Map<string, Difference<Member>> {
  const found = new Map<string, Difference<Member>>();
  for (const [id, member] of now) {
    const known = before.get(id);
    if (known === undefined || JSON.stringify(known) !== JSON.stringify(member)) found.set(id, { before: known, after: member });
  }
  for (const [id, member] of before) if (!now.has(id)) found.set(id, { before: member, after: undefined });
  return found;
}
