import { afterAll, beforeAll, describe, expect, test } from "vitest";
import fc from "fast-check";
import type { World } from "../../src/world/index.ts";
import {
  copyHas,
  etcdOfWorlds,
  eventually,
  keysOf,
  notText,
  putRaw,
  revisionOf,
  revisionsOf,
  ways,
  watchedValue,
  worldOf,
} from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { failure, name, testsOfReading, testsOfWatching, testsOfWriting } from "./suites.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const of = (): WorldEtcd => etcd;
const keyOf = (world: World): string => keysOf(world).strings.str(name);

testsOfReading("str.get", of, {
  keyOf,
  read: (world, options) => world.str.get(name, options),
  shown: (result) => (result as Awaited<ReturnType<World["str"]["get"]>>).value,
  expected: (value) => value,
});

testsOfReading("str.list", of, {
  keyOf,
  read: (world, options) => world.str.list(options),
  shown: (result) => (result as Awaited<ReturnType<World["str"]["list"]>>).names,
  expected: (value) => (value === undefined ? [] : [name]),
});

testsOfWriting("str.set", of, {
  keyOf,
  write: (world, value, options) => world.str.set(name, value ?? "", options),
  valueOf: (n) => `${n}`,
});

testsOfWriting("str.del", of, { keyOf, write: (world, _, options) => world.str.del(name, options), valueOf: () => undefined });

testsOfWatching("str.watch", of, {
  keyOf,
  watch: (world, by, signal) => {
    const told = watchedValue(world.str.watch(name, signal === undefined ? {} : { signal }), by);
    return Object.assign(told, { value: () => told.now.get("") as string | undefined });
  },
});

describe("str.getSync", () => {
  test("missing and empty: undefined, and a value; unchanged: no revision, and the same object of facts each time", async () => {
    const world = await worldOf(etcd);
    expect(world.str.getSync(name)).toMatchObject({ value: undefined, modRevision: 0, ageMs: 0 });
    const { revision } = await world.str.set(name, "");
    await eventually("it is there", () => world.str.getSync(name).value === "");
    expect(world.str.getSync(name).modRevision).toBe(revision);
    expect(
      await revisionsOf(etcd, async () => {
        expect(world.str.getSync(name)).toEqual(world.str.getSync(name));
      }),
    ).toBe(0);
  });

  test("concurrent: within one turn of the event loop it never changes, and it never goes back", async () => {
    const world = await worldOf(etcd);
    let last = 0;
    const writing = Promise.all(Array.from({ length: 200 }, (_, n) => putRaw(etcd, keyOf(world), `${n}`)));
    const reached = writing.then((revisions) => Math.max(...revisions));
    let until = Infinity;
    void reached.then((most) => (until = most));
    await eventually("all was seen", () => {
      const one = world.str.getSync(name);
      for (let i = 0; i < 20; i++) expect(world.str.getSync(name)).toEqual(one);
      expect(one.revision).toBeGreaterThanOrEqual(last);
      last = one.revision;
      return last >= until;
    });
  });

  test("without a copy it says so, and so does a World that is closed", async () => {
    const direct = await worldOf(etcd, { replica: false });
    expect(await failure(Promise.resolve().then(() => direct.str.getSync(name)))).toMatchObject({
      code: "STALE",
      retryable: true,
    });
    const world = await worldOf(etcd);
    await world.close();
    expect(await failure(Promise.resolve().then(() => world.str.getSync(name)))).toMatchObject({ code: "CLOSED" });
  });

  test("etcd gone and back: it goes on, says how old it is, and comes to what was written meanwhile", async () => {
    const world = await worldOf(etcd);
    await world.str.set(name, "1");
    await eventually("it is there", () => world.str.getSync(name).value === "1");
    etcd.gone();
    await eventually("it is old", () => world.str.getSync(name).ageMs > 0);
    expect(world.str.getSync(name).value).toBe("1");
    await putRaw(etcd, keyOf(world), "2");
    expect(world.str.getSync(name).value).toBe("1");
    etcd.back();
    await eventually("it is new", () => world.str.getSync(name).value === "2" && world.str.getSync(name).ageMs === 0);
  });

  test("malformed: a value of others that is not UTF-8 is refused with its key, whatever is beside it is read", async () => {
    const world = await worldOf(etcd);
    await putRaw(etcd, keysOf(world).strings.str("bad"), notText);
    await copyHas(world, (await world.str.set(name, "1")).revision);
    expect(world.str.getSync(name).value).toBe("1");
    const error = await failure(Promise.resolve().then(() => world.str.getSync("bad")));
    expect(error).toMatchObject({ code: "INVALID_VALUE", key: keysOf(world).strings.str("bad"), outcome: "none" });
  });
});

describe("names", () => {
  const odd = [
    "/",
    "//",
    "a/h1",
    "100%",
    "%41",
    "%",
    "..",
    ".",
    "a b",
    "ä",
    "🦊",
    "a\u0000b",
    "\n",
    "\u007f",
    "*",
    "x".repeat(1_000),
    "\uffff",
    "e\u0301",
  ];

  test("any Unicode text is a name: what is written is read and listed under exactly it", async () => {
    const world = await worldOf(etcd);
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(anyName(), { minLength: 1, maxLength: 12 }),
        fc.string({ unit: "grapheme" }),
        async (names, salt) => {
          await world.batch((b) => {
            for (const one of names) b.str.set(one, `${one} ${salt}`);
          });
          for (const one of names) {
            expect((await world.str.get(one)).value).toBe(`${one} ${salt}`);
            expect((await world.str.get(one, { read: "direct" })).value).toBe(`${one} ${salt}`);
          }
          const { names: listed } = await world.str.list();
          expect(listed).toEqual([...listed].sort());
          expect(listed).toEqual(expect.arrayContaining(names));
        },
      ),
      { numRuns: 25, examples: [[odd, ""]] },
    );
  });

  test("every odd name can be watched, written and deleted, with a replica and without", async () => {
    for (const { replica } of ways) {
      const world = await worldOf(etcd, { replica });
      for (const one of odd) {
        const told = watchedValue(world.str.watch(one));
        await told.begun();
        await world.str.set(one, "1");
        await world.strmap.set(one, "2");
        await eventually(`${JSON.stringify(one)} is told`, () => told.now.get("") === "1");
        expect([...(await world.strmap.get(one)).value]).toEqual([["h1", "2"]]);
        await world.str.del(one);
        await eventually(`${JSON.stringify(one)} is told to be gone`, () => !told.now.has(""));
        expect(told.wrong).toEqual([]);
        await told.stop();
      }
      expect((await world.strmap.list({ read: "linearizable" })).names).toEqual([...odd].sort());
      expect((await world.str.list({ read: "linearizable" })).names).toEqual([]);
      expect(world.status.malformed.count).toBe(0);
    }
  });

  test("a string never writes, reads or lists what is a map's entry", async () => {
    const world = await worldOf(etcd, { replica: false });
    await world.strmap.set("a", "of the map");
    await world.str.set("a/h1", "of the string");
    await world.str.set("a", "another string");
    expect([...(await world.strmap.get("a")).value]).toEqual([["h1", "of the map"]]);
    expect((await world.str.get("a/h1")).value).toBe("of the string");
    expect((await world.str.list()).names).toEqual(["a", "a/h1"]);
    expect((await world.strmap.list()).names).toEqual(["a"]);
    await world.str.del("a/h1");
    expect((await world.strmap.get("a")).value.size).toBe(1);
  });

  test("keys of mgmt that are written plainly are read by their plain names", async () => {
    const world = await worldOf(etcd, { replica: false, namespace: "/_mgmt" });
    for (const plain of ["some:key with space", "ключ", "a=b&c?d#e", "k~(x)!'*"]) {
      await putRaw(etcd, `/_mgmt/strings/${plain}`, plain);
      expect((await world.str.get(plain)).value).toBe(plain);
      await world.str.set(plain, "ours");
      expect((await etcd.client.get(`/_mgmt/strings/${plain}`)).entry?.value).toBe("ours");
    }
  });

  test("a whole key of 1,900 bytes is taken, also by the replica, and one of 1,901 is not", async () => {
    const world = await worldOf(etcd);
    const { strings } = keysOf(world);
    const longest = "x".repeat(1_900 - strings.start.length);
    await copyHas(world, (await world.str.set(longest, "1")).revision);
    expect((await world.str.get(longest)).value).toBe("1");
    expect(world.str.getSync(longest).value).toBe("1");
    const inMap = longest.slice("/h1".length);
    await world.strmap.set(inMap, "2");
    expect((await world.strmap.get(inMap)).value.get("h1")).toBe("2");
    // Each slash takes three bytes.
    const encoded = "/".repeat(Math.floor(longest.length / 3));
    await world.str.set(encoded, "3");
    expect((await world.str.get(encoded)).value).toBe("3");
    for (const call of [
      () => world.str.set(`${longest}x`, "1"),
      () => world.str.get(`${longest}x`),
      () => world.str.del(`${longest}x`),
      () => world.strmap.set(longest, "1"),
      () => world.strmap.get(longest),
      () => world.str.set(`${encoded}////`, "1"),
      () => world.batch((b) => b.str.set(`${longest}x`, "1")),
    ]) {
      const error = await failure(call());
      expect(error).toMatchObject({ code: "NAME_TOO_LONG", outcome: "none", retryable: false });
      expect(error.data).toMatchObject({ most: 1_900 });
    }
  });

  test("what is no name is refused by every function, and says why", async () => {
    const world = await worldOf(etcd);
    const wrong: readonly unknown[] = ["", "\ud800", "a\udc00b", "a\ufffd", undefined, null, 7, {}, ["a"]];
    for (const one of wrong as readonly string[]) {
      for (const call of [
        () => world.str.get(one),
        async () => world.str.getSync(one),
        () => world.str.set(one, "1"),
        () => world.str.del(one),
        () => world.strmap.get(one),
        () => world.strmap.set(one, "1"),
        () => world.strmap.del(one),
        () => world.batch((b) => b.str.set(one, "1")),
        () => world.batch((b) => b.strmap.del(one), { atomic: true }),
        () => world.lock(one),
      ]) {
        expect(await failure(call())).toMatchObject({ code: "INVALID_NAME", outcome: "none", retryable: false });
      }
      for (const watch of [world.str.watch(one), world.strmap.watch(one)]) {
        expect(await failure(watch[Symbol.asyncIterator]().next())).toMatchObject({ code: "INVALID_NAME" });
      }
    }
    expect((await world.str.list()).names).toEqual([]);
  });
});

/** Short ones, long ones, and what has a meaning somewhere. */
function anyName(): fc.Arbitrary<string> {
  const unit = fc.oneof(
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 }),
    fc.constantFrom("/", "%", "..", "\u0000", "\u001f", "\u007f", "%2F", "*", "🦊"),
  );
  return fc
    .oneof(
      fc.string({ unit: "binary", minLength: 1, maxLength: 80 }).filter((text) => !text.includes("\ufffd")),
      fc.array(unit, { minLength: 1, maxLength: 20 }).map((parts) => parts.join("")),
    )
    .filter((text) => !text.includes("\ufffd"));
}

describe("values", () => {
  const mib = 1024 * 1024;

  test.each(ways)("1 MiB is written, read and watched, and one byte more is refused, $way", async ({ replica }) => {
    const world = await worldOf(etcd, { replica });
    const told = watchedValue(world.str.watch(name));
    await told.begun();
    // Of two bytes each: it is bytes that count.
    const most = "ä".repeat(mib / 2);
    expect(await world.str.set(name, most)).toMatchObject({ changed: true });
    expect((await world.str.get(name)).value).toBe(most);
    await eventually("it is told", () => told.now.get("") === most);
    await world.strmap.set(name, most);
    expect((await world.strmap.get(name)).value.get("h1")).toBe(most);
    const before = await revisionOf(etcd);
    for (const call of [
      () => world.str.set(name, `${most}x`),
      () => world.strmap.set(name, `${most}x`),
      () => world.batch((b) => b.str.set(name, `${most}x`)),
    ]) {
      const error = await failure(call());
      expect(error).toMatchObject({ code: "TOO_LARGE", outcome: "none", data: { bytes: mib + 1, most: mib } });
    }
    expect(await revisionOf(etcd)).toBe(before);
  });

  test.each([200 * 1024, mib])("a value of %d bytes that is there already makes no revision", async (bytes) => {
    const world = await worldOf(etcd, { replica: false });
    const value = "x".repeat(bytes);
    const lock = await world.lock("large");
    const first = await world.str.set(name, value);
    const { revision: inMap } = await world.strmap.set(name, value);
    const revisions = await revisionsOf(etcd, async () => {
      for (const options of [{}, { ifRevision: first.revision }]) {
        expect(await world.str.set(name, value, options)).toMatchObject({ changed: false });
      }
      expect(await world.strmap.set(name, value, { ifRevision: inMap })).toMatchObject({ changed: false });
      const { changed } = await world.batch((b) => {
        b.str.set(name, value);
        b.strmap.set(name, value);
      });
      expect(changed).toBe(false);
    });
    expect(revisions).toBe(0);
    await lock.release();
    expect(await world.str.set(name, `${value.slice(1)}y`)).toMatchObject({ changed: true });
  });

  test("what is no text is refused, and half a surrogate pair is none", async () => {
    const world = await worldOf(etcd, { replica: false });
    const wrong: readonly unknown[] = ["\ud800", "a\udfff", undefined, null, 7, {}, Buffer.from("a")];
    for (const one of wrong as readonly string[]) {
      for (const call of [
        () => world.str.set(name, one),
        () => world.strmap.set(name, one),
        () => world.batch((b) => b.str.set(name, one)),
      ]) {
        const error = await failure(call());
        expect(error).toMatchObject({ code: "INVALID_VALUE", outcome: "none" });
        expect(error.key).toMatch(/strings\/a%2Fb/);
      }
    }
    // The mark itself is a character like any other in a value.
    await world.str.set(name, "\ufffd");
    expect((await world.str.get(name)).value).toBe("\ufffd");
  });

  test.each(ways)(
    "a value of others that is not UTF-8 is refused where it is asked for, passed over elsewhere, and told, $way",
    async ({ replica }) => {
      const world = await worldOf(etcd, { replica });
      const { strings } = keysOf(world);
      await putRaw(etcd, strings.str("bad"), notText);
      await putRaw(etcd, strings.entry("m", "h2"), notText);
      await world.strmap.set("m", "good");
      const error = await failure(world.str.get("bad", { read: "linearizable" }));
      expect(error).toMatchObject({ code: "INVALID_VALUE", key: strings.str("bad"), outcome: "none" });
      expect([...(await world.strmap.get("m")).value]).toEqual([["h1", "good"]]);
      expect((await world.str.list()).names).toEqual(["bad"]);
      expect(world.status.malformed).toEqual({
        count: 2,
        examples: [strings.str("bad"), strings.entry("m", "h2")].map((key) => ({ key, why: "its value is not UTF-8" })),
      });
      const told: number[] = [];
      const subscription = world.status$.subscribe(({ malformed }) => told.push(malformed.count));
      await putRaw(etcd, `${strings.start}a/b/c`, "1");
      await world.str.list({ read: "linearizable" });
      expect(told.at(-1)).toBe(3);
      subscription.unsubscribe();
      // Counted once, however often it is met.
      await world.str.list({ read: "linearizable" });
      expect(world.status.malformed.count).toBe(3);
    },
  );
});

describe("many at once", () => {
  test("10,001 concurrent writes all succeed: none is refused as too many", { timeout: 60_000 }, async () => {
    const world = await worldOf(etcd, { replica: false });
    const done = await Promise.all(
      Array.from({ length: 10_001 }, (_, n) => world.str.set(`n${n}`, `${n}`, { timeoutMs: 50_000 })),
    );
    expect(done.every(({ changed }) => changed)).toBe(true);
    expect((await world.str.list()).names.length).toBe(10_001);
  });
});
