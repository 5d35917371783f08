import { readFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import type { Keys } from "../../src/keys.ts";
import { openWorld } from "../../src/world/index.ts";
import type { ListEvent, StateEvent, ValueEvent, Watch, World, WorldOptions } from "../../src/world/index.ts";
import { ask, isAlive, never, temporaryFolder, untilGone } from "../support/etcd-server.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { EtcdNode } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { childrenOf } from "../support/process.ts";
import { FaultyProxy } from "../support/proxy.ts";

/** One etcd that Worlds reach through a proxy only, also those that learn from etcd itself where it serves. */
export interface WorldEtcd extends AsyncDisposable {
  /** Past the proxy: for what tests write and look at themselves. */
  readonly url: string;
  readonly client: EtcdClient;
  readonly proxy: FaultyProxy;
  readonly node: EtcdNode;
  /** Every connection is reset, and nobody gets a new one. */
  gone(): void;
  /** Everything passes again. */
  back(): void;
}

/** `afterAll` disposes of it. */
export async function etcdOfWorlds(flags: readonly string[] = []): Promise<WorldEtcd> {
  const proxy = await FaultyProxy.start("http://127.0.0.1:1");
  const etcd = await startEtcd(1, { flags: ["--advertise-client-urls", proxy.url, ...flags] });
  const url = etcd.urls[0]!;
  proxy.retarget(url);
  const client = EtcdClient.create({ endpoints: [url], clock });
  return {
    url,
    client,
    proxy,
    node: etcd.nodes[0]!,
    gone: () => {
      proxy.refuse();
      proxy.cut();
    },
    back: () => {
      proxy.heal();
    },
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await proxy[Symbol.asyncDispose]();
      await etcd.stop();
    },
  };
}

/** The two ways a World reads, for `describe.each`. */
export const ways = [
  { way: "with a replica", replica: true },
  { way: "without a replica", replica: false },
] as const;

let namespaces = 0;

/** One that nobody else writes in. */
export function freshNamespace(): string {
  return `/t${++namespaces}`;
}

/** Its keys, as tests write them past the World. */
export function keysOf(world: World): Keys {
  return keysUnder(world.namespace);
}

/**
 * A World, by default of a host h1 in a namespace of its own, that is closed when the test is over, its feeder too. One with a replica is
 * ready and has its copy.
 */
export async function worldOf(etcd: Pick<WorldEtcd, "proxy">, options: WorldOptions = {}): Promise<World> {
  const replica = options.replica ?? true;
  const folder = options.folder ?? (replica ? join(await temporaryFolder(), "world") : undefined);
  const world = await openWorld({
    seeds: [etcd.proxy.url],
    hostname: "h1",
    namespace: freshNamespace(),
    ...options,
    ...(folder === undefined ? {} : { folder }),
    replica,
  });
  onTestFinished(async () => {
    etcd.proxy.heal();
    const feeders = feedersOf(world);
    await world.close();
    // Others may use it still: whoever closes last waits for its end.
    for (const pid of feeders) await Promise.race([untilGone(pid), clock.sleep(300, never)]);
  });
  if (replica) {
    await world.ready({ timeoutMs: 30_000 });
    await eventually("the copy is live", () => world.status.state === "live", 30_000);
  }
  return world;
}

/** Feeders that this process started for the World's folder. */
export function feedersOf(world: World): readonly number[] {
  const { folder } = world.status;
  if (folder === undefined) return [];
  return childrenOf(process.pid).filter((pid) => {
    try {
      return isAlive(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`"folder":${JSON.stringify(folder)}`);
    } catch {
      return false;
    }
  });
}

/** Bytes that are not UTF-8. */
export const notText = Buffer.from([0x66, 0xff, 0xfe, 0x6f]);

type Bytes = string | Uint8Array;

function base64(bytes: Bytes): string {
  return Buffer.from(bytes).toString("base64");
}

/** Writes what it is given, whatever it is, past the World. Returns the revision. */
export async function putRaw({ url }: Pick<WorldEtcd, "url">, key: Bytes, value: Bytes): Promise<number> {
  const { header } = await ask<Answer>(url, "kv/put", { key: base64(key), value: base64(value) });
  return Number(header.revision);
}

/** Until the World's copy has what was written at that revision. No read that asks the cluster sees to that on every etcd. */
export async function copyHas(world: World, revision: number): Promise<void> {
  await eventually(`the copy is at ${revision}`, async () => (await world.str.get("a", { read: "local" })).revision >= revision);
}

export async function deleteRaw({ url }: Pick<WorldEtcd, "url">, key: Bytes): Promise<number> {
  const { header } = await ask<Answer>(url, "kv/deleterange", { key: base64(key) });
  return Number(header.revision);
}

interface Answer {
  readonly header: { readonly revision: string };
}

/** A key that starts with `prefix` and ends in bytes that are not UTF-8. */
export function badKey(prefix: string): Uint8Array {
  return Buffer.concat([Buffer.from(prefix), notText]);
}

/** Of the whole store. */
export async function revisionOf({ client }: Pick<WorldEtcd, "client">): Promise<number> {
  return (await client.get("/nothing")).revision;
}

/** How many revisions a call makes, where nobody else writes. */
export async function revisionsOf(etcd: Pick<WorldEtcd, "client">, call: () => Promise<unknown>): Promise<number> {
  const before = await revisionOf(etcd);
  await call();
  return (await revisionOf(etcd)) - before;
}

/** Forgets everything before the present revision. */
export async function compact(etcd: WorldEtcd): Promise<void> {
  await ask(etcd.url, "kv/compaction", { revision: String(await revisionOf(etcd)), physical: true });
}

type Data<E> = Exclude<E, StateEvent>;

/** What one watch has told, checked as it comes: see `wrong`. */
export interface Watched<E extends { readonly kind: string }> {
  /** All that came, in order. */
  readonly events: readonly E[];
  /** Those that are no states. */
  readonly data: readonly Data<E>[];
  readonly states: readonly StateEvent[];
  /** What must never happen: no snapshot first, or a second one; revisions that do not ascend; another previous value than was told. */
  readonly wrong: readonly string[];
  /** What it comes to, by item: the value itself under "" for a single value. */
  readonly now: ReadonlyMap<string, unknown>;
  readonly failure: unknown;
  /** By completing or failing. */
  readonly isOver: boolean;
  /** Waits for the snapshot and the state behind it. */
  begun(): Promise<void>;
  stop(): Promise<void>;
}

export type WatchedBy = "subscribing" | "iterating";

/** Collects what a watch of one value tells, until the test is over. */
export function watchedValue<T>(watch: Watch<ValueEvent<T>>, by: WatchedBy = "subscribing"): Watched<ValueEvent<T>> {
  return collected(watch, by, (event, check) => {
    if (event.kind === "snapshot") check.snapshot([["", event.value]]);
    else check.change("", event.previous, event.value);
  });
}

/** Collects what a watch of several items tells, until the test is over. */
export function watchedList<T>(
  watch: Watch<ListEvent<T>>,
  idOf: (item: T) => string,
  by: WatchedBy = "subscribing",
): Watched<ListEvent<T>> {
  return collected(watch, by, (event, check) => {
    if (event.kind === "snapshot") check.snapshot(event.items.map((item) => [idOf(item), item]));
    else {
      if (event.changes.length === 0) check.say("an event without a change");
      for (const change of event.changes) {
        if (change.type === "deleted") check.change(idOf(change.previous), change.previous, undefined);
        else check.change(idOf(change.item), change.previous, change.item);
      }
    }
  });
}

class Checks {
  readonly wrong: string[] = [];
  readonly now = new Map<string, unknown>();

  say(what: string): void {
    this.wrong.push(what);
  }

  snapshot(items: readonly (readonly [string, unknown])[]): void {
    for (const [id, item] of items) if (item !== undefined) this.now.set(id, item);
  }

  change(id: string, previous: unknown, item: unknown): void {
    const told = JSON.stringify(this.now.get(id));
    if (JSON.stringify(previous) !== told) this.say(`${id} was ${told}, and is told to have been ${JSON.stringify(previous)}`);
    if (item === undefined) this.now.delete(id);
    else this.now.set(id, item);
  }
}

type AnyData = { readonly kind: "snapshot" | "changes" | "resynced"; readonly revision: number };

function collected<E extends AnyData | StateEvent>(
  watch: Watch<E>,
  by: WatchedBy,
  check: (event: Data<E>, checks: Checks) => void,
): Watched<E> {
  const checks = new Checks();
  const events: E[] = [];
  const data: Data<E>[] = [];
  const states: StateEvent[] = [];
  let failure: unknown;
  let isOver = false;
  const isData = (event: E): event is Data<E> => event.kind !== "state";
  const take = (event: E): void => {
    events.push(event);
    if (!isData(event)) {
      if (data.length === 0) checks.say("a state before the snapshot");
      states.push(event as StateEvent);
      return;
    }
    const { kind, revision } = event as AnyData;
    if ((kind === "snapshot") !== (data.length === 0)) checks.say(`${kind} as event ${data.length}`);
    const last = data.at(-1) as AnyData | undefined;
    if (last !== undefined && revision <= last.revision) checks.say(`revision ${revision} after ${last.revision}`);
    data.push(event);
    check(event, checks);
  };
  const stop = by === "subscribing" ? subscribe() : iterate();
  onTestFinished(stop);
  return {
    events,
    data,
    states,
    wrong: checks.wrong,
    now: checks.now,
    get failure() {
      return failure;
    },
    get isOver() {
      return isOver;
    },
    begun: async () => {
      await eventually("the snapshot and the state", () => {
        if (failure !== undefined) throw failure as Error;
        return data.length > 0 && states.some(({ live }) => live);
      });
    },
    stop,
  };

  function subscribe(): () => Promise<void> {
    const subscription = watch.subscribe({
      next: take,
      error: (error) => {
        failure = error;
        isOver = true;
      },
      complete: () => {
        isOver = true;
      },
    });
    return async () => {
      subscription.unsubscribe();
    };
  }

  function iterate(): () => Promise<void> {
    const iterator = watch[Symbol.asyncIterator]();
    const over = (async () => {
      try {
        for (;;) {
          const next = await iterator.next();
          if (next.done === true) return;
          take(next.value);
        }
      } catch (error) {
        failure = error;
      } finally {
        isOver = true;
      }
    })();
    return async () => {
      await iterator.return?.();
      await over;
    };
  }
}

export { clock, eventually, never, temporaryFolder };
