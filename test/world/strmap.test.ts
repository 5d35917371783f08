import { afterAll, beforeAll } from "vitest";
import type { HostEntry, World } from "../../src/world/index.ts";
import { etcdOfWorlds, keysOf, watchedList } from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { name, testsOfReading, testsOfWatching, testsOfWriting } from "./suites.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const of = (): WorldEtcd => etcd;
const keyOf = (world: World): string => keysOf(world).strings.entry(name, world.hostname);

testsOfReading("strmap.get", of, {
  keyOf,
  read: (world, options) => world.strmap.get(name, options),
  shown: (result) => Object.fromEntries((result as Awaited<ReturnType<World["strmap"]["get"]>>).value),
  expected: (value) => (value === undefined ? {} : { h1: value }),
});

testsOfReading("strmap.list", of, {
  keyOf,
  read: (world, options) => world.strmap.list(options),
  // One of the malformed neighbours is a value of h9 in the same map, whose name is sound.
  shown: (result) => (result as Awaited<ReturnType<World["strmap"]["list"]>>).names,
  expected: (value) => (value === undefined ? [] : [name]),
});

testsOfWriting("strmap.set", of, {
  keyOf,
  write: (world, value, options) => world.strmap.set(name, value ?? "", options),
  valueOf: (n) => `${n}`,
});

testsOfWriting("strmap.del", of, {
  keyOf,
  write: (world, _, options) => world.strmap.del(name, options),
  valueOf: () => undefined,
});

testsOfWatching("strmap.watch", of, {
  keyOf,
  watch: (world, by, signal) => {
    const told = watchedList(world.strmap.watch(name, signal === undefined ? {} : { signal }), ({ host }) => host, by);
    return Object.assign(told, { value: () => (told.now.get("h1") as HostEntry | undefined)?.value });
  },
});
