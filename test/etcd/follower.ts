import { expect, onTestFinished } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient, reasonOf, watchRange } from "../../src/etcd/index.ts";
import type { Change, EtcdClientOptions, KeyValue, WatchNews } from "../../src/etcd/index.ts";
import { endOf } from "../../src/keys.ts";
import { eventually } from "../support/eventually.ts";
import { FaultyProxy } from "../support/proxy.ts";

export function clientOf(endpoints: readonly string[], more: Partial<EtcdClientOptions> = {}): EtcdClient {
  const client = EtcdClient.create({ endpoints, clock, ...more });
  onTestFinished(() => client.close());
  return client;
}

export async function proxyTo(url: string): Promise<FaultyProxy> {
  const proxy = await FaultyProxy.start(url);
  onTestFinished(() => proxy[Symbol.asyncDispose]());
  return proxy;
}

/** What one watch handed out, checked as it comes: a snapshot first and once, revisions in order, no event twice. */
export class Follower {
  readonly entries = new Map<string, KeyValue>();
  readonly changes: Change[] = [];
  readonly wrong: string[] = [];
  snapshots = 0;
  resyncs = 0;
  interruptions = 0;
  revision = 0;
  live = false;
  /** Called when the server has created the watch, before anything it missed arrives. */
  onLive = (): void => undefined;
  readonly over: Promise<unknown>;
  readonly #stop = new AbortController();

  constructor(client: EtcdClient, prefix: string) {
    const range = { start: prefix, end: endOf(prefix) };
    this.over = watchRange(client, range, (news) => this.#take(news), { clock }, this.#stop.signal).catch(
      (error: unknown) => error,
    );
    onTestFinished(async () => {
      await this.stop();
    });
  }

  async stop(): Promise<unknown> {
    this.#stop.abort(new Error("the test is over"));
    return await this.over;
  }

  #take(news: WatchNews): void {
    if (news.kind === "state") {
      this.live = news.live;
      if (news.live) this.onLive();
      else this.interruptions++;
      return;
    }
    if (news.kind === "snapshot") {
      if (this.snapshots++ > 0) this.wrong.push("a second snapshot");
      for (const entry of news.entries) this.entries.set(entry.key, entry);
      this.revision = news.revision;
      return;
    }
    if (news.resynced) this.resyncs++;
    for (const change of news.changes) {
      const revision = change.type === "put" ? change.entry.modRevision : change.revision;
      if (!news.resynced && revision <= this.revision) this.wrong.push(`revision ${revision} after ${this.revision}`);
      this.changes.push(change);
      if (change.type === "put") this.entries.set(change.entry.key, change.entry);
      else if (!this.entries.delete(change.key)) this.wrong.push(`${change.key} deleted twice`);
    }
    this.revision = news.revision;
  }
}

/** Writes and deletes under `prefix` until told to stop; remembers every revision it made. */
export function writer(client: EtcdClient, prefix: string): { stop(): Promise<readonly number[]> } {
  let running = true;
  const revisions: number[] = [];
  const loop = (async () => {
    for (let i = 0; running; i++) {
      const key = `${prefix}${i % 17}`;
      const then =
        i % 5 === 4 ? [{ put: key, value: `${i}` }, { del: `${prefix}${(i + 3) % 17}` }] : [{ put: key, value: `${i}` }];
      revisions.push((await client.txn({ then })).revision);
      await clock.sleep(1, new AbortController().signal);
    }
  })();
  return {
    stop: async () => {
      running = false;
      await loop;
      return revisions;
    },
  };
}

export async function caughtUp(follower: Follower, client: EtcdClient, prefix: string): Promise<void> {
  const { revision } = await client.put(`${prefix}last`, "last");
  await eventually("the watch has caught up", () => follower.revision >= revision, 20_000);
  const { entries } = await client.range({ start: prefix, end: endOf(prefix) });
  expect([...follower.entries.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1))).toEqual(entries);
  expect(follower.wrong).toEqual([]);
  expect(follower.snapshots).toBe(1);
}

/**
 * Our own client does not compact: servers do that by themselves. A call that is not answered in time is repeated, and refused where the
 * first one was carried out all the same.
 */
export async function compact(client: EtcdClient, revision: number): Promise<void> {
  const kind = { what: "compact", repeatable: true, writes: true };
  await client.caller
    .run(kind, {}, ({ kv }) => kv.compact({ revision, physical: true }))
    .catch((error: unknown) => {
      if (!reasonOf(error).includes("required revision has been compacted")) throw error;
    });
}
