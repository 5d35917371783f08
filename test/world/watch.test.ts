import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { config } from "rxjs";
import { WorldError } from "../../src/world/index.ts";
import type { HostEntry, ListEvent, ValueEvent, Watch, World } from "../../src/world/index.ts";
import { etcdctlBinary } from "../support/etcd.ts";
import {
  compact,
  copyHas,
  etcdOfWorlds,
  eventually,
  keysOf,
  putRaw,
  watchedList,
  watchedValue,
  ways,
  worldOf,
} from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { failure } from "./suites.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const host = ({ host: id }: HostEntry): string => id;

/** Past the World, for any host. */
function put(world: World, value: string, name = "a", hostname?: string): Promise<number> {
  const { strings } = keysOf(world);
  return putRaw(etcd, hostname === undefined ? strings.str(name) : strings.entry(name, hostname), value);
}

async function next<E>(iterator: AsyncIterator<E, undefined>): Promise<E> {
  const { value, done } = await iterator.next();
  if (done === true) throw new Error("The watch is over");
  return value;
}

/** The next that is no state. */
async function nextData<E extends { readonly kind: string }>(
  iterator: AsyncIterator<E, undefined>,
): Promise<Exclude<E, { readonly kind: "state" }>> {
  for (;;) {
    const event = await next(iterator);
    if (event.kind !== "state") return event as Exclude<E, { readonly kind: "state" }>;
  }
}

/** An iteration that ends with the test. */
function iterate<E>(watch: Watch<E>): AsyncIterator<E, undefined> {
  const iterator = watch[Symbol.asyncIterator]();
  onTestFinished(async () => {
    await iterator.return?.();
  });
  return iterator;
}

describe.each(ways)("what is told, $way", ({ replica }) => {
  test("one revision that changes several items is one event with all of them", async () => {
    const world = await worldOf(etcd, { replica });
    const told = watchedList(world.strmap.watch("m"), host);
    const [one, two] = [watchedValue(world.str.watch("a")), watchedValue(world.str.watch("b"))];
    await Promise.all([told, one, two].map((each) => each.begun()));
    const { strings } = keysOf(world);
    const hosts = ["h1", "h2", "h3"];
    const { revision } = await etcd.client.txn({ then: hosts.map((each) => ({ put: strings.entry("m", each), value: each })) });
    await eventually("all three", () => told.now.size === 3);
    expect(told.data.slice(1)).toMatchObject([
      {
        kind: "changes",
        revision,
        changes: hosts.map((each) => ({ type: "set", item: { host: each, value: each, leased: false } })),
      },
    ]);
    const gone = await etcd.client.txn({
      then: [{ del: strings.entry("m", "h2") }, { put: strings.entry("m", "h3"), value: "new" }],
    });
    await eventually("both", () => told.now.size === 2);
    expect(told.data.at(-1)).toMatchObject({ revision: gone.revision });
    expect(told.data.length).toBe(3);
    const batch = await world.batch(
      (b) => {
        b.str.set("a", "1");
        b.str.set("b", "2");
        b.strmap.set("m", "3");
      },
      { atomic: true },
    );
    await eventually("the batch", () => one.data.length === 2 && two.data.length === 2 && told.data.length === 4);
    for (const each of [one, two, told]) {
      expect(each.data.at(-1)?.revision).toBe(batch.revision);
      expect(each.wrong).toEqual([]);
    }
  });

  test("the snapshot has what there is, sorted, and says at which revision; a leased entry says that it is", async () => {
    const world = await worldOf(etcd, { replica });
    await put(world, "2", "m", "h2");
    await put(world, "0", "m", "h0");
    const { revision } = await world.strmap.set("m", "1", { lease: "session" });
    await copyHas(world, revision);
    const snapshot = await next(iterate(world.strmap.watch("m")));
    expect(snapshot).toMatchObject({
      kind: "snapshot",
      items: [
        { host: "h0", value: "0", leased: false },
        { host: "h1", value: "1", leased: true, modRevision: revision },
        { host: "h2", value: "2" },
      ],
    });
  });

  test("what was compacted away while it was cut off is told as the exact difference, once", async () => {
    const world = await worldOf(etcd, { replica });
    for (const one of ["stays", "goes", "changes"]) await copyHas(world, await put(world, "old", "m", one));
    const told = watchedList(world.strmap.watch("m"), host);
    const iterated = watchedList(world.strmap.watch("m"), host, "iterating");
    const value = watchedValue(world.str.watch("a"));
    await Promise.all([told, iterated, value].map((each) => each.begun()));
    etcd.gone();
    await eventually("it is not live", () => told.states.at(-1)?.live === false);
    for (let i = 0; i < 5; i++) await put(world, `${i}`, "m", "changes");
    await put(world, "new", "m", "comes");
    await put(world, "passing", "m", "passes");
    const { strings } = keysOf(world);
    await etcd.client.del(strings.entry("m", "passes"));
    await etcd.client.del(strings.entry("m", "goes"));
    await put(world, "1");
    await put(world, "2");
    await compact(etcd);
    etcd.back();
    await eventually("it is there", () => [told, iterated, value].every((each) => each.data.length === 2), 20_000);
    for (const each of [told, iterated]) {
      const [, event] = each.data;
      expect(event?.kind).toBe("resynced");
      const changes = event?.kind === "resynced" ? event.changes : [];
      const plain = changes.map((change) =>
        change.type === "set" ? [change.item.host, change.previous?.value, change.item.value] : [change.previous.host, "old"],
      );
      expect(plain).toEqual([
        ["changes", "old", "4"],
        ["comes", undefined, "new"],
        ["goes", "old"],
      ]);
    }
    expect(value.data[1]).toMatchObject({ kind: "resynced", previous: undefined, value: "2" });
    // And on it goes.
    const at = await put(world, "3");
    await eventually("the next", () => value.now.get("") === "3");
    expect(value.data.at(-1)).toMatchObject({ kind: "changes", previous: "2", revision: at });
    for (const each of [told, iterated, value]) expect(each.wrong).toEqual([]);
  });

  test("a restart of etcd, and a compaction while it is live, are not noticed", async () => {
    const world = await worldOf(etcd, { replica });
    const told = watchedValue(world.str.watch("a"), "iterating");
    await told.begun();
    const revisions = [await put(world, "1"), await put(world, "2")];
    await eventually("both", () => told.data.length === 3);
    await compact(etcd);
    revisions.push(await put(world, "3"));
    await etcd.node.kill();
    await eventually("it is not live", () => told.states.at(-1)?.live === false);
    await etcd.node.restart();
    revisions.push(await eventually("it is written", () => put(world, "4").catch(() => undefined)));
    await eventually("all of it", () => told.now.get("") === "4", 20_000);
    await eventually("it is live", () => told.states.at(-1)?.live === true);
    expect(told.data.slice(1).map(({ kind, revision }) => [kind, revision])).toEqual(revisions.map((one) => ["changes", one]));
    expect(told.states.map(({ live }) => live).slice(-2)).toEqual([false, true]);
    expect(told.states.at(-1)?.lagMs).toBe(0);
    expect([told.failure, told.isOver, told.wrong]).toEqual([undefined, false, []]);
  });
});

test("a watch that is not live says for how long nothing was heard", async () => {
  const world = await worldOf(etcd);
  const told = watchedValue(world.str.watch("a"));
  await told.begun();
  etcd.gone();
  await eventually("it is not live", () => told.states.at(-1)?.live === false);
  const late = watchedValue(world.str.watch("a"));
  await eventually("it is told from the copy", () => late.states.length === 1 && world.status.ageMs > 0);
  expect(late.data).toMatchObject([{ kind: "snapshot" }]);
  const later = watchedValue(world.str.watch("a"));
  await eventually("its state", () => later.states.length === 1);
  expect(later.states[0]).toMatchObject({ live: false });
  expect(later.states[0]?.lagMs).toBeGreaterThan(0);
});

describe.each(ways)("options, $way", ({ replica }) => {
  test("settle: what comes in one go is one event, with what was before and what is after", async () => {
    const world = await worldOf(etcd, { replica });
    await copyHas(world, await put(world, "before", "m", "h1"));
    const settle = { minMs: 300, maxMs: 20_000 };
    const told = watchedList(world.strmap.watch("m", { settle }), host);
    const iterated = watchedList(world.strmap.watch("m", { settle }), host, "iterating");
    await Promise.all([told.begun(), iterated.begun()]);
    await Promise.all(Array.from({ length: 30 }, (_, i) => put(world, `${i}`, "m", `h${i % 3}`)));
    const last = await put(world, "after", "m", "h1");
    for (const each of [told, iterated]) {
      await eventually("it has settled", () => each.data.length === 2);
      expect(each.data[1]).toMatchObject({ kind: "changes", revision: last });
      expect(each.now.size).toBe(3);
      expect(each.wrong).toEqual([]);
    }
  });

  test("settle: what never comes to rest is told all the same, after maxMs, and nothing of it is lost", async () => {
    const world = await worldOf(etcd, { replica });
    const told = watchedValue(world.str.watch("a", { settle: { minMs: 3_000, maxMs: 3_000 } }));
    const short = watchedValue(world.str.watch("a", { settle: { minMs: 200, maxMs: 400 } }));
    await Promise.all([told.begun(), short.begun()]);
    let n = 0;
    await eventually("the first is told", async () => {
      await put(world, `${++n}`);
      return short.data.length >= 4;
    });
    expect(short.data.length).toBeLessThan(n);
    await eventually("all is told", () => told.now.get("") === `${n}` && short.now.get("") === `${n}`);
    expect([told.wrong, short.wrong]).toEqual([[], []]);
  });

  test("equal: what is equal to what was told last is not told, also over many steps, settled or coalesced", async () => {
    const world = await worldOf(etcd, { replica });
    await copyHas(world, await put(world, "0"));
    const equal = (a: string, b: string): boolean => Math.abs(Number(a) - Number(b)) < 10;
    const told = watchedValue(world.str.watch("a", { equal }));
    const iterated = watchedValue(world.str.watch("a", { equal, coalesce: true }), "iterating");
    const settled = watchedValue(world.str.watch("a", { equal, settle: { minMs: 100 } }));
    const all = watchedValue(world.str.watch("a"));
    await Promise.all([told, iterated, settled, all].map((each) => each.begun()));
    for (const value of ["5", "9", "3", "8", "12", "15", "40", "31"]) await put(world, value);
    await eventually("all of it", () => all.now.get("") === "31");
    expect(told.data.slice(1)).toMatchObject([
      { previous: "0", value: "12" },
      { previous: "12", value: "40" },
    ]);
    // There and back again is nothing.
    await put(world, "200");
    await put(world, "41");
    await eventually("both are told", () => told.data.length === 5);
    await put(world, "end");
    for (const each of [told, iterated, settled]) await eventually("the end", () => each.now.get("") === "end");
    for (const each of [told, iterated, settled, all]) expect(each.wrong).toEqual([]);
  });

  test("equal: what it throws fails that watch alone, with exactly that", async () => {
    const world = await worldOf(etcd, { replica });
    const mistake = new TypeError("a mistake");
    const equal = (): boolean => {
      throw mistake;
    };
    const wrong = world.str.watch("a", { equal });
    const [told, iterated] = [watchedValue(wrong), watchedValue(wrong, "iterating")];
    const sound = watchedValue(world.str.watch("a"));
    await Promise.all([told, iterated, sound].map((each) => each.begun()));
    await put(world, "1");
    await put(world, "2");
    await eventually("both have failed", () => told.isOver && iterated.isOver);
    expect([told.failure, iterated.failure]).toEqual([mistake, mistake]);
    await put(world, "3");
    await eventually("the other goes on", () => sound.now.get("") === "3");
    expect(sound.data.length).toBe(4);
  });

  test("buffer: whoever iterates slowly gets each revision, however few wait in memory", async () => {
    const world = await worldOf(etcd, { replica });
    const iterator = iterate(world.str.watch("a", { buffer: 2 }));
    expect(await next(iterator)).toMatchObject({ kind: "snapshot", value: undefined });
    const revisions: number[] = [];
    for (let i = 1; i <= 60; i++) revisions.push(await put(world, `${i}`));
    const marker = watchedValue(world.str.watch("a"));
    await eventually("all is there", () => marker.now.get("") === "60");
    for (const [i, revision] of revisions.entries())
      expect(await nextData(iterator)).toMatchObject({ kind: "changes", value: `${i + 1}`, revision });
  });

  test("coalesce: whoever iterates slowly gets what happened meanwhile as one event, also with a small buffer", async () => {
    const world = await worldOf(etcd, { replica });
    for (const options of [{}, { buffer: 1 }]) {
      await copyHas(world, await put(world, "0"));
      const iterator = iterate(world.str.watch("a", { coalesce: true, ...options }));
      expect(await nextData(iterator)).toMatchObject({ kind: "snapshot", value: "0" });
      // Whether it is there says another watch, which is told no earlier than those before it.
      const marker = watchedValue(world.str.watch("a"));
      await marker.begun();
      let last = 0;
      for (let i = 1; i <= 40; i++) last = await put(world, `${i}`);
      await eventually("all is there", () => marker.now.get("") === "40");
      expect(await nextData(iterator)).toMatchObject({ kind: "changes", previous: "0", value: "40", revision: last });
      await marker.stop();
    }
  });

  test("an option that is none fails the watch, and says which it is", async () => {
    const world = await worldOf(etcd, { replica });
    const wrong = [
      { buffer: 0 },
      { buffer: 1.5 },
      { settle: { minMs: 0 } },
      { settle: { minMs: 10, maxMs: 5 } },
      { equal: "yes" as unknown as () => boolean },
    ];
    for (const options of wrong) {
      const told = watchedValue(world.str.watch("a", options));
      expect(told.failure).toMatchObject({ code: "INVALID_OPTION", data: { option: Object.keys(options)[0] } });
      const iterated = iterate(world.strmap.watch("a", options as object));
      expect(await failure(iterated.next())).toMatchObject({ code: "INVALID_OPTION" });
      expect(await iterated.next()).toEqual({ done: true, value: undefined });
    }
  });
});

describe("ends", () => {
  /** How many watches etcd holds. */
  const watches = async (): Promise<number> => {
    const text = await etcd.client.metrics(etcd.url);
    return Number(/^etcd_debugging_mvcc_watcher_total (\d+)$/m.exec(text)?.[1]);
  };

  test("nothing is asked of etcd before a watch is subscribed to, and nothing is left of it after each way to end it", async () => {
    const world = await worldOf(etcd, { replica: false });
    await world.str.get("a");
    const before = await watches();
    const watch = world.str.watch("a");
    const stop = new AbortController();
    const stopped = world.str.watch("a", { signal: stop.signal });
    expect(await watches()).toBe(before);
    const begun = watchedValue(watch);
    const [signalled, iterated] = [watchedValue(stopped), watchedValue(stopped, "iterating")];
    await Promise.all([begun, signalled, iterated].map((each) => each.begun()));
    expect(await watches()).toBeGreaterThan(before);
    await begun.stop();
    stop.abort();
    for await (const event of watch) if (event.kind === "snapshot") break;
    const thrown = (async () => {
      for await (const event of watch) throw new Error(`left by ${event.kind}`);
    })();
    await expect(thrown).rejects.toThrow("left by snapshot");
    const iterator = watch[Symbol.asyncIterator]();
    const waiting = [iterator.next(), iterator.next(), iterator.next(), iterator.next()];
    await waiting[0];
    await iterator.return?.();
    expect((await Promise.all(waiting)).at(-1)).toEqual({ done: true, value: undefined });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    await eventually("nothing is left", async () => (await watches()) === before);
  });

  test("a slow iteration that is left while its buffer is full ends as well", async () => {
    const world = await worldOf(etcd, { replica: false });
    await world.str.get("a");
    const before = await watches();
    const iterator = iterate(world.str.watch("a", { buffer: 1 }));
    await next(iterator);
    const marker = watchedValue(world.str.watch("a"));
    await marker.begun();
    for (let i = 0; i < 10; i++) await put(world, `${i}`);
    await eventually("all is there", () => marker.now.get("") === "9");
    await iterator.return?.();
    await marker.stop();
    await eventually("nothing is left", async () => (await watches()) === before);
    await world.close();
  });

  test.each(ways)(
    "a World that is closed fails its watches with CLOSED, also those that come later, $way",
    async ({ replica }) => {
      const world = await worldOf(etcd, { replica });
      const watch = world.str.watch("a", { settle: { minMs: 10_000 } });
      const told = [watchedValue(watch), watchedValue(watch, "iterating"), watchedValue(world.str.watch("a"))];
      await Promise.all(told.map((each) => each.begun()));
      await put(world, "1");
      await world.close();
      told.push(watchedValue(world.str.watch("a")), watchedValue(world.str.watch("a"), "iterating"));
      for (const each of told) {
        await eventually("it is over", () => each.isOver);
        expect(each.failure).toBeInstanceOf(WorldError);
        expect(each.failure).toMatchObject({ code: "CLOSED", outcome: "none" });
      }
    },
  );

  test("etcd's authentication that does not allow it fails a watch with DENIED, as every call", async () => {
    await using guarded = await etcdOfWorlds();
    for (const command of ["user add root:secret", "user grant-role root root", "auth enable"]) {
      const argv = ["--endpoints", guarded.url, ...command.split(" ")];
      execFileSync(etcdctlBinary(), argv, { env: { ETCDCTL_API: "3" }, stdio: "pipe" });
    }
    const world = await worldOf(guarded, { replica: false });
    const told = [watchedValue(world.str.watch("a")), watchedValue(world.str.watch("a"), "iterating")];
    const map = watchedList(world.strmap.watch("a"), host);
    await eventually("all are over", () => [...told, map].every(({ isOver }) => isOver));
    for (const each of [...told, map]) {
      expect(each.failure).toBeInstanceOf(WorldError);
      expect(each.failure).toMatchObject({ code: "DENIED", outcome: "none", retryable: false });
    }
    for (const call of [() => world.str.get("a"), () => world.str.set("a", "1"), () => world.strmap.list()])
      expect(await failure(call())).toMatchObject({ code: "DENIED", outcome: "none" });
  });
});

describe("several", () => {
  test("two subscriptions and two iterations of one watch know nothing of each other", async () => {
    const world = await worldOf(etcd);
    const watch = world.str.watch("a");
    const first = watchedValue(watch);
    await first.begun();
    await put(world, "1");
    await eventually("the first has it", () => first.now.get("") === "1");
    const later = [watchedValue(watch), watchedValue(watch, "iterating"), watchedValue(watch, "iterating")];
    await Promise.all(later.map((each) => each.begun()));
    for (const each of later) expect(each.data).toMatchObject([{ kind: "snapshot", value: "1" }]);
    await first.stop();
    await later[1]?.stop();
    await put(world, "2");
    for (const each of [later[0], later[2]]) await eventually("it goes on", () => each?.now.get("") === "2");
    expect(first.now.get("")).toBe("1");
    expect(later[1]?.now.get("")).toBe("1");
    for (const each of [first, ...later]) expect(each.wrong).toEqual([]);
  });

  test("an error that a subscriber throws is its own: it is told as unhandled, and everybody goes on", async () => {
    const world = await worldOf(etcd);
    const unhandled: unknown[] = [];
    config.onUnhandledError = (error) => unhandled.push(error);
    onTestFinished(() => {
      config.onUnhandledError = null;
    });
    const watch = world.str.watch("a");
    const seen: string[] = [];
    const bad = watch.subscribe((event: ValueEvent<string>) => {
      seen.push(event.kind);
      throw new Error("a subscriber's mistake");
    });
    onTestFinished(() => bad.unsubscribe());
    const sound = watchedValue(watch);
    await sound.begun();
    await put(world, "1");
    await put(world, "2");
    await eventually("the sound one", () => sound.now.get("") === "2");
    await eventually("the other one as well", () => seen.filter((kind) => kind === "changes").length === 2);
    await eventually("it was told", () => unhandled.length === seen.length);
    expect(sound.wrong).toEqual([]);
  });

  test("an iteration whose consumer takes its time holds nobody else back", async () => {
    const world = await worldOf(etcd);
    const slow = iterate<ListEvent<HostEntry>>(world.strmap.watch("m", { buffer: 1 }));
    await next(slow);
    const quick = watchedList(world.strmap.watch("m"), host, "iterating");
    await quick.begun();
    for (let i = 0; i < 50; i++) await put(world, `${i}`, "m", "h1");
    await eventually("the quick one has all", () => quick.data.length === 51);
    expect(await nextData(slow)).toMatchObject({ kind: "changes", changes: [{ item: { value: "0" } }] });
  });
});
