import { expect, test } from "vitest";
import { BatchQueue, unitOf } from "../../src/etcd/batch-queue.ts";
import type { Unit, Waiter } from "../../src/etcd/batch-queue.ts";

const limits = { ops: 127, bytes: 1024 * 1024 };
const none: readonly ReadonlySet<string>[] = [];

function queueOf(): { readonly queue: BatchQueue; put(key: string, when?: number): readonly [Unit, Waiter] } {
  const queue = new BatchQueue();
  let n = 0;
  return {
    queue,
    put: (key, when) => {
      const op = { put: key, value: `${++n}` };
      const unit = unitOf({
        compare: when === undefined ? [] : [{ key, modRevision: when }],
        ops: [op],
        single: true,
        sinceMs: n,
      });
      const waiter: Waiter = {
        op: when === undefined ? op : undefined,
        session: undefined,
        resolve: () => undefined,
        reject: () => undefined,
      };
      return [queue.add(unit, waiter), waiter];
    },
  };
}

const keysOf = (units: readonly Unit[]): string[] => units.map(({ keys }) => keys.join());

test("a write of a key that is being sent waits, what waits behind it for the same key too, and others go before them", () => {
  const { queue, put } = queueOf();
  put("/a", 1);
  put("/b");
  put("/a", 2);
  put("/c");
  const first = queue.take(limits, none);
  expect(keysOf(first.units)).toEqual(["/a", "/b", "/c"]);
  expect([...first.keys]).toEqual(["/a", "/b", "/c"]);
  put("/d");
  expect(keysOf(queue.take(limits, [first.keys]).units)).toEqual(["/d"]);
  expect(queue.size).toBe(1);
  expect(keysOf(queue.take(limits, none).units)).toEqual(["/a"]);
  expect([queue.size, queue.writes, queue.bytes]).toEqual([0, 0, 0]);
});

test("of an atomic write no key is sent by anybody else before it, although it has to wait for one of them only", () => {
  const { queue, put } = queueOf();
  const both = unitOf({ compare: [], ops: [{ del: "/a" }, { del: "/b" }], single: false, sinceMs: 0 });
  queue.add(both, { op: undefined, session: undefined, resolve: () => undefined, reject: () => undefined });
  put("/b", 1);
  expect(keysOf(queue.take(limits, [new Set(["/a"])]).units)).toEqual([]);
  expect(queue.take(limits, none).units).toEqual([both]);
});

test("what is put back goes before what came since, and is the same count and size", () => {
  const { queue, put } = queueOf();
  put("/a");
  put("/b");
  const { units } = queue.take(limits, none);
  put("/a");
  put("/c");
  queue.putBack(units);
  expect(queue.writes).toBe(4);
  expect(keysOf(queue.take(limits, none).units)).toEqual(["/a", "/b", "/c"]);
  expect(queue.take(limits, none).units.map(({ ops }) => ops)).toEqual([[{ put: "/a", value: "3" }]]);
  expect([queue.size, queue.writes, queue.bytes]).toEqual([0, 0, 0]);
});

test("a write that is withdrawn leaves the others of its key, and the last of them takes the key with it", () => {
  const { queue, put } = queueOf();
  const [unit, one] = put("/a");
  const [same, two] = put("/a");
  expect(same).toBe(unit);
  expect(queue.remove(unit, one)).toBe(true);
  expect([queue.size, queue.writes]).toEqual([1, 1]);
  expect(queue.remove(unit, two)).toBe(true);
  expect([queue.size, queue.writes, queue.bytes]).toEqual([0, 0, 0]);
  expect(put("/a")[0]).not.toBe(unit);
  expect(queue.remove(unit, two)).toBe(false);
});

test("what waits too long is taken from the front, and nothing that came later", () => {
  const { queue, put } = queueOf();
  for (const key of ["/a", "/b", "/c", "/d"]) put(key);
  expect(keysOf(queue.takeOlder(3))).toEqual(["/a", "/b"]);
  expect(queue.takeOlder(3)).toEqual([]);
  expect(keysOf(queue.takeOlder(Infinity))).toEqual(["/c", "/d"]);
  expect([queue.size, queue.writes, queue.bytes]).toEqual([0, 0, 0]);
});

test("10,000 writes of as many keys leave in the order they came, 127 to a transaction", () => {
  const { queue, put } = queueOf();
  for (let i = 0; i < 10_000; i++) put(`/${i}`);
  const seen: string[] = [];
  while (queue.size > 0) {
    const { units } = queue.take(limits, none);
    expect(units.length).toBeLessThanOrEqual(127);
    seen.push(...keysOf(units));
  }
  expect(seen).toEqual(Array.from({ length: 10_000 }, (_, i) => `/${i}`));
});
