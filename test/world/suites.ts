import { describe, expect, test } from "vitest";
import { WorldError } from "../../src/world/index.ts";
import type { CallOptions, Read, ReadOptions, World, WorldErrorCode, Written } from "../../src/world/index.ts";
import {
  badKey,
  deleteRaw,
  eventually,
  keysOf,
  notText,
  putRaw,
  revisionOf,
  revisionsOf,
  watchedList,
  watchedValue,
  ways,
  worldOf,
} from "./fixture.ts";
import type { WatchedBy, WorldEtcd } from "./fixture.ts";

/** A value that a function of the World reads, or writes: where it is, past the World. */
export interface Subject {
  readonly keyOf: (world: World) => string;
}

export interface ReadSubject extends Subject {
  readonly read: (world: World, options?: ReadOptions) => Promise<Read>;
  /** What of the result the value is to be seen in. */
  readonly shown: (result: Read) => unknown;
  readonly expected: (value: string | undefined) => unknown;
}

export interface WriteSubject extends Subject {
  /** Undefined deletes. */
  readonly write: (world: World, value: string | undefined, options?: CallOptions) => Promise<Written>;
  /** What it is called with: the value of `n`, always undefined for what deletes. */
  readonly valueOf: (n: number) => string | undefined;
}

export interface WatchSubject extends Subject {
  /** Begins to collect; `value` is what it comes to. */
  readonly watch: (world: World, by: WatchedBy, signal?: AbortSignal) => Followed;
}

export interface Followed extends Omit<ReturnType<typeof watchedValue<string>>, "events" | "data" | "now"> {
  readonly value: () => string | undefined;
  readonly data: readonly { readonly kind: string; readonly revision: number }[];
}

/** The name that everything here is called by. */
export const name = "a/b";

/** What is refused, and that it says what every failure of the World says. */
export async function failure(call: Promise<unknown>): Promise<WorldError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(WorldError);
  const { code, retryable, outcome, message } = error as WorldError;
  expect(typeof code).toBe("string");
  expect(typeof retryable).toBe("boolean");
  expect(["none", "applied", "unknown"]).toContain(outcome);
  expect(message).toMatch(/^Cannot /);
  return error as WorldError;
}

const unreachable: readonly WorldErrorCode[] = ["UNAVAILABLE", "DEADLINE", "STALE"];

function unreadable(world: World): (readonly [string | Uint8Array, string | Uint8Array])[] {
  const { strings } = keysOf(world);
  return [
    [badKey(strings.start), "1"],
    [badKey(`${strings.str(name)}/`), "2"],
    [strings.entry(name, "h9"), notText],
    [`${strings.start}a/b/c/d`, "3"],
    [`${strings.start}/`, "4"],
    [`${strings.start}100%`, "5"],
    [strings.start, "6"],
  ];
}

/** The nine situations of a function that reads. */
export function testsOfReading(what: string, of: () => WorldEtcd, { read, shown, expected, keyOf }: ReadSubject): void {
  describe.each(ways)(`${what} $way`, ({ replica }) => {
    const put = (world: World, value: string | Uint8Array): Promise<number> => putRaw(of(), keyOf(world), value);
    const sees = async (
      world: World,
      value: string | undefined,
      options: ReadOptions = { read: "linearizable" },
    ): Promise<Read> => {
      const result = await read(world, options);
      expect(shown(result)).toEqual(expected(value));
      return result;
    };

    test("missing: what is not there is undefined, and no failure", async () => {
      const world = await worldOf(of(), { replica });
      for (const mode of ["session", "linearizable", "direct"] as const) {
        const { revision } = await sees(world, undefined, { read: mode });
        expect(revision).toBeGreaterThan(0);
      }
    });

    test("empty: an empty value is a value", async () => {
      const world = await worldOf(of(), { replica });
      const at = await put(world, "");
      expect((await sees(world, "")).revision).toBeGreaterThanOrEqual(at);
    });

    test("unchanged: it writes nothing, and says the same again", async () => {
      const world = await worldOf(of(), { replica });
      await put(world, "1");
      await sees(world, "1");
      const revisions = await revisionsOf(of(), async () => {
        for (let i = 0; i < 3; i++) await sees(world, "1", {});
      });
      expect(revisions).toBe(0);
    });

    test("concurrent: many at once while it is written, and none sees less than was acknowledged before", async () => {
      const world = await worldOf(of(), { replica });
      await put(world, "0");
      for (let n = 1; n <= 5; n++) {
        const writing = put(world, `${n}`);
        const during = await Promise.all(Array.from({ length: 40 }, () => read(world, { read: "linearizable" })));
        for (const one of during) expect([expected(`${n - 1}`), expected(`${n}`)]).toContainEqual(shown(one));
        const at = await writing;
        const after = await Promise.all(Array.from({ length: 40 }, () => sees(world, `${n}`)));
        for (const { revision } of after) expect(revision).toBeGreaterThanOrEqual(at);
      }
    });

    test("aborted: before, and while it waits", async () => {
      const world = await worldOf(of(), { replica });
      await sees(world, undefined);
      const reason = new Error("no more");
      const before = await failure(read(world, { signal: AbortSignal.abort(reason) }));
      expect(before).toMatchObject({ code: "ABORTED", outcome: "none", cause: reason });
      of().proxy.stall();
      for (const mode of ["direct", "linearizable"] as const) {
        const stop = new AbortController();
        const call = failure(read(world, { read: mode, signal: stop.signal }));
        setImmediate(() => stop.abort(reason));
        expect(await call).toMatchObject({ code: "ABORTED", outcome: "none", cause: reason });
      }
    });

    test("expired deadline: it ends in time and says that it may be tried again", async () => {
      const world = await worldOf(of(), { replica });
      await sees(world, undefined);
      of().proxy.stall();
      for (const mode of ["direct", "linearizable"] as const) {
        const error = await failure(read(world, { read: mode, timeoutMs: 120 }));
        expect(["DEADLINE", "STALE"]).toContain(error.code);
        expect(error).toMatchObject({ retryable: true, outcome: "none" });
      }
    });

    test("etcd gone: what asks the cluster fails, and a copy goes on saying what it has", async () => {
      const world = await worldOf(of(), { replica });
      await put(world, "1");
      await sees(world, "1");
      of().gone();
      const error = await failure(read(world, { read: "direct", timeoutMs: 400 }));
      expect(unreachable).toContain(error.code);
      expect(error).toMatchObject({ retryable: true, outcome: "none" });
      if (!replica) return;
      await sees(world, "1", {});
      await eventually("it is told to be old", async () => (await sees(world, "1", { read: "local" })).ageMs > 0);
    });

    test("etcd back: the same World reads what was written meanwhile", async () => {
      const world = await worldOf(of(), { replica });
      await put(world, "1");
      await sees(world, "1");
      of().gone();
      await failure(read(world, { read: "direct", timeoutMs: 200 }));
      const at = await put(world, "2");
      of().back();
      const { revision } = await eventually("it answers", () => read(world, { read: "linearizable" }).catch(() => undefined));
      expect(revision).toBeGreaterThanOrEqual(at);
      await sees(world, "2", {});
    });

    test("malformed neighbours: they are passed over and told, and what is sound is read", async () => {
      const world = await worldOf(of(), { replica });
      await put(world, "1");
      for (const [key, value] of unreadable(world)) await putRaw(of(), key, value);
      await sees(world, "1");
      await sees(world, "1", { read: "direct" });
      expect(world.status.state).not.toBe("closed");
    });
  });
}

/** The nine situations of a function that writes. */
export function testsOfWriting(what: string, of: () => WorldEtcd, { write, valueOf, keyOf }: WriteSubject): void {
  const stored = async (world: World): Promise<string | undefined> => (await of().client.get(keyOf(world))).entry?.value;
  const [one, two] = [valueOf(1), valueOf(2)];
  const deletes = one === undefined;
  /** A value it has something to do with. */
  const prepare = async (world: World): Promise<void> => {
    if (deletes) await putRaw(of(), keyOf(world), "there");
  };

  describe(what, () => {
    test("missing: of what is not there", async () => {
      const world = await worldOf(of(), { replica: false });
      const before = await revisionOf(of());
      const done = await write(world, one);
      expect(done).toMatchObject({ changed: !deletes, revision: deletes ? before : before + 1 });
      expect(await stored(world)).toBe(one);
    });

    test("empty: an empty value is a value", async () => {
      const world = await worldOf(of(), { replica: false });
      if (deletes) await putRaw(of(), keyOf(world), "");
      expect(await write(world, deletes ? undefined : "")).toMatchObject({ changed: true });
      expect(await stored(world)).toBe(deletes ? undefined : "");
    });

    test("unchanged: no revision is made, and nobody hears of it", async () => {
      const world = await worldOf(of(), { replica: false });
      await prepare(world);
      const first = await write(world, one);
      expect(first.changed).toBe(true);
      const told = watchedValue(world.str.watch(name));
      const mapTold = watchedList(world.strmap.watch(name), ({ host }) => host);
      await Promise.all([told.begun(), mapTold.begun()]);
      const revisions = await revisionsOf(of(), async () => {
        for (let i = 0; i < 3; i++) expect(await write(world, one)).toEqual({ ...first, changed: false, ...changedIn(first) });
      });
      expect(revisions).toBe(0);
      await putRaw(of(), keysOf(world).strings.str(name), "the end");
      await eventually("the end is told", () => told.now.get("") === "the end");
      expect([told.data.length, mapTold.data.length]).toEqual([2, 1]);
    });

    test("concurrent: each is acknowledged, and what was acknowledged last is there", async () => {
      const world = await worldOf(of(), { replica: false });
      await prepare(world);
      const all = await Promise.all(
        Array.from({ length: 50 }, async (_, n) => ({ value: valueOf(n), ...(await write(world, valueOf(n))) })),
      );
      // Those that go together have one revision, and are in the order of the calls.
      const last = all.reduce((a, b) => (b.revision >= a.revision ? b : a));
      expect(await stored(world)).toBe(last.value);
      expect(all.filter(({ changed }) => changed).length).toBeGreaterThanOrEqual(deletes ? 1 : 50);
      const late = await write(world, last.value);
      expect(late).toMatchObject({ changed: false });
      expect(late.revision).toBeGreaterThanOrEqual(last.revision);
    });

    test("aborted: before it is sent nothing happens, and after that nobody knows", async () => {
      const world = await worldOf(of(), { replica: false });
      await prepare(world);
      const reason = new Error("no more");
      const before = await revisionOf(of());
      const early = await failure(write(world, one, { signal: AbortSignal.abort(reason) }));
      expect(early).toMatchObject({ code: "ABORTED", outcome: "none", cause: reason });
      // Also where the reason is one of the World's own.
      const own = new WorldError("SESSION_LOST", "Cannot hold the session: it is lost");
      expect(await failure(write(world, one, { signal: AbortSignal.abort(own) }))).toMatchObject({ code: "ABORTED", cause: own });
      expect(await revisionOf(of())).toBe(before);
      await write(world, one);
      await prepare(world);
      of().proxy.stall("down");
      const stop = new AbortController();
      const call = failure(write(world, two, { signal: stop.signal }));
      await eventually("it has arrived", async () => (await stored(world)) === two);
      stop.abort(reason);
      expect(await call).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
    });

    test("expired deadline: whoever does not hear of a reply in time does not know the outcome", async () => {
      const world = await worldOf(of(), { replica: false });
      await write(world, one);
      await prepare(world);
      of().proxy.stall("down");
      const error = await failure(write(world, two, { timeoutMs: 300 }));
      expect(error).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
      expect(error.cause).toBeDefined();
      expect(await stored(world)).toBe(two);
    });

    test.each(ways)("etcd gone: it fails soon, and nothing was written, $way", async ({ replica }) => {
      const world = await worldOf(of(), { replica });
      await write(world, one);
      await prepare(world);
      of().gone();
      const before = await stored(world);
      // What is sent on a connection before its end is noticed has an unknown outcome.
      await failure(world.str.get(name, { read: "direct", timeoutMs: 100 }));
      const error = await failure(write(world, two, { timeoutMs: 400 }));
      expect(unreachable).toContain(error.code);
      expect(error).toMatchObject({ retryable: true, outcome: "none" });
      expect(await stored(world)).toBe(before);
    });

    test.each(ways)("etcd back: the same World writes again, $way", async ({ replica }) => {
      const world = await worldOf(of(), { replica });
      await write(world, one);
      await prepare(world);
      of().gone();
      await failure(write(world, two, { timeoutMs: 200 }));
      await eventually("it notices", () =>
        failure(write(world, two, { timeoutMs: 200 })).then(({ outcome }) => outcome === "none"),
      );
      of().back();
      await eventually("it writes", () => write(world, two).catch(() => undefined));
      expect(await stored(world)).toBe(two);
      const { value } = await world.str.get("none", { read: "linearizable" });
      expect(value).toBeUndefined();
    });

    test("malformed neighbours: they are let be", async () => {
      const world = await worldOf(of(), { replica: false });
      await prepare(world);
      for (const [key, value] of unreadable(world)) await putRaw(of(), key, value);
      const range = keysOf(world).strings;
      const before = (await of().client.range(range)).entries.filter(({ key }) => key !== keyOf(world));
      expect(await write(world, one)).toMatchObject({ changed: true });
      const after = (await of().client.range(range)).entries.filter(({ key }) => key !== keyOf(world));
      expect(after).toEqual(before);
      // What has the key itself and cannot be read is overwritten all the same.
      await putRaw(of(), keyOf(world), notText);
      expect(await write(world, one)).toMatchObject({ changed: true });
      expect(await stored(world)).toBe(one);
    });
  });
}

/** The results of a batch change with it. */
function changedIn(first: Written & { readonly results?: readonly Written[] }): object {
  return first.results === undefined ? {} : { results: first.results.map((one) => ({ ...one, changed: false })) };
}

/** The nine situations of a watch. */
export function testsOfWatching(what: string, of: () => WorldEtcd, { watch, keyOf }: WatchSubject): void {
  const all = ways.flatMap((way) => (["subscribing", "iterating"] as const).map((by) => ({ ...way, by })));
  describe.each(all)(`${what} $way, $by`, ({ replica, by }) => {
    const put = (world: World, value: string): Promise<number> => putRaw(of(), keyOf(world), value);
    const shows = (told: Followed, value: string | undefined): Promise<unknown> =>
      eventually(`it comes to ${String(value)}, and not to ${String(told.value())}`, () => told.value() === value);

    test("missing: it begins with a snapshot where there is nothing, and tells of the first value", async () => {
      const world = await worldOf(of(), { replica });
      const told = watch(world, by);
      await told.begun();
      expect(told.data.map(({ kind }) => kind)).toEqual(["snapshot"]);
      expect(told.value()).toBeUndefined();
      const at = await put(world, "1");
      await shows(told, "1");
      expect(told.data.at(-1)).toMatchObject({ kind: "changes", revision: at });
      expect(told.wrong).toEqual([]);
    });

    test("empty: an empty value is a value", async () => {
      const world = await worldOf(of(), { replica });
      await put(world, "");
      const told = watch(world, by);
      await told.begun();
      await shows(told, "");
      await deleteRaw(of(), keyOf(world));
      await shows(told, undefined);
      await put(world, "");
      await shows(told, "");
      expect(told.wrong).toEqual([]);
    });

    test("unchanged: what a World writes again is no event; what others write again is one", async () => {
      const world = await worldOf(of(), { replica });
      const told = watch(world, by);
      await told.begun();
      await world.str.set(name, "1");
      await world.strmap.set(name, "1");
      for (let i = 0; i < 3; i++) await world.str.set(name, "1");
      for (let i = 0; i < 3; i++) await world.strmap.set(name, "1");
      await put(world, "1");
      await eventually("three events", () => told.data.length === 3);
      await put(world, "2");
      await shows(told, "2");
      expect(told.data.length).toBe(4);
      expect(told.wrong).toEqual([]);
    });

    test("concurrent: every revision is told once, in order, to each of several watches", async () => {
      const world = await worldOf(of(), { replica });
      const several = [watch(world, by), watch(world, by), watch(world, by)];
      await Promise.all(several.map((told) => told.begun()));
      const revisions = await Promise.all(Array.from({ length: 40 }, (_, n) => put(world, `${n}`)));
      const last = await put(world, "last");
      for (const told of several) {
        await shows(told, "last");
        const expected = [...revisions, last].sort((a, b) => a - b);
        expect(told.data.slice(1).map(({ revision }) => revision)).toEqual(expected);
        expect(told.wrong).toEqual([]);
      }
    });

    test("aborted: its signal completes it, before and while it goes on, and nothing is told any more", async () => {
      const world = await worldOf(of(), { replica });
      const none = watch(world, by, AbortSignal.abort());
      await eventually("it is over", () => none.isOver);
      expect(none.data).toEqual([]);
      const stop = new AbortController();
      const told = watch(world, by, stop.signal);
      await told.begun();
      stop.abort();
      await eventually("it is over", () => told.isOver);
      expect([none.failure, told.failure]).toEqual([undefined, undefined]);
      await put(world, "1");
      expect(told.data.length).toBe(1);
    });

    test("expired deadline: it has none, and waits for a silent etcd however long that takes", async () => {
      const world = await worldOf(of(), { replica: false });
      of().proxy.stall();
      const told = watch(world, by);
      const error = await failure(world.str.get(name, { timeoutMs: 300 }));
      expect(unreachable).toContain(error.code);
      expect([told.data.length, told.isOver]).toEqual([0, false]);
      of().back();
      await told.begun();
      await put(world, "1");
      await shows(told, "1");
      expect(told.wrong).toEqual([]);
    });

    test("etcd gone: it goes on, and says that changes do not arrive", async () => {
      const world = await worldOf(of(), { replica });
      const told = watch(world, by);
      await told.begun();
      of().gone();
      await eventually("it is not live", () => told.states.at(-1)?.live === false);
      expect(told.isOver).toBe(false);
    });

    test("etcd back: it tells what was missed, each revision by itself, and that it is live", async () => {
      const world = await worldOf(of(), { replica });
      const told = watch(world, by);
      await told.begun();
      of().gone();
      await eventually("it is not live", () => told.states.at(-1)?.live === false);
      const missed = [await put(world, "1"), await put(world, "2")];
      of().back();
      await shows(told, "2");
      await eventually("it is live", () => told.states.at(-1)?.live === true);
      expect(told.data.slice(1).map(({ kind, revision }) => ({ kind, revision }))).toEqual(
        missed.map((revision) => ({ kind: "changes", revision })),
      );
      expect(told.wrong).toEqual([]);
    });

    test("malformed neighbours: they are passed over, in the snapshot and in changes", async () => {
      const world = await worldOf(of(), { replica });
      for (const [key, value] of unreadable(world)) await putRaw(of(), key, value);
      const told = watch(world, by);
      await told.begun();
      for (const [key, value] of unreadable(world)) await putRaw(of(), key, value);
      await put(world, "1");
      await shows(told, "1");
      expect(told.data.length).toBe(2);
      await putRaw(of(), keyOf(world), notText);
      // For whoever watches it is as if it were not there.
      await shows(told, undefined);
      await put(world, "2");
      await shows(told, "2");
      expect(told.wrong).toEqual([]);
      expect(world.status.malformed.count).toBeGreaterThan(0);
      expect(world.status.malformed.examples.map(({ key }) => key)).toContain(keyOf(world));
    });
  });
}
