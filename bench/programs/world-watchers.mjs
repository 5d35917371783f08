// Watches many strings at once, each another one, and prints how many bytes of memory each watch takes, subscribed to and iterated.
// Needs --expose-gc.

// By name only at run time: the types are checked without a build.
/** @type {(path: string) => Promise<Record<string, any>>} */
const built = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { openWorld } = await built("world/index.js");

const [url = "", folder = ""] = process.argv.slice(2);
const count = 5_000;
/** @param {number} n */
const nameOf = (n) => `watched-${n}`;
const world = await openWorld({ seeds: [url], folder, namespace: "/_watchers", hostname: "bench" });
await world.ready({ timeoutMs: 60_000 });
const names = Array.from({ length: count }, (_, n) => nameOf(n));
await Promise.all(names.map((name) => world.str.set(name, `value of ${name}`, { timeoutMs: 60_000 })));
await world.str.get(nameOf(0), { read: "linearizable" });

async function used() {
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/**
 * Bytes for each of the watches that `begin` begins; it gets a function to be called with each event, and returns what ends them.
 *
 * @param {(told: (event: { kind: string }) => void) => (() => Promise<void>)} begin
 */
async function bytesOf(begin) {
  const before = await used();
  let snapshots = 0;
  let live = 0;
  /** @type {() => void} */
  let all = () => undefined;
  const begun = new Promise((resolve) => (all = () => resolve(undefined)));
  const end = begin((event) => {
    if (event.kind === "snapshot") snapshots++;
    else if (event.kind === "state") live++;
    if (snapshots === count && live >= count) all();
  });
  await begun;
  const after = await used();
  await end();
  return (after - before) / count;
}

/** @param {(event: { kind: string }) => void} told */
const subscribe = (told) => {
  const subscriptions = names.map((name) => world.str.watch(name).subscribe(told));
  return async () => {
    for (const subscription of subscriptions) subscription.unsubscribe();
  };
};
/** @param {(event: { kind: string }) => void} told */
const iterate = (told) => {
  const over = new AbortController();
  const loops = names.map(async (name) => {
    for await (const event of world.str.watch(name, { signal: over.signal })) told(event);
  });
  return async () => {
    over.abort();
    await Promise.all(loops);
  };
};

// What is compiled and cached with the first ones is nobody's.
await bytesOf(subscribe);
await bytesOf(iterate);
console.log(JSON.stringify({ subscribed: await bytesOf(subscribe), iterated: await bytesOf(iterate) }));
await world.close();
