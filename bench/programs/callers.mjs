// Puts of many callers at once against one client URL, for so long: prints how many a second were acknowledged.

// By name only at run time: the types are checked without a build.
/** @type {(path: string) => Promise<Record<string, any>>} */
const built = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { systemClock: clock } = await built("clock.js");
const { EtcdClient } = await built("etcd/index.js");

const [url = "", callers = "64", ms = "3000"] = process.argv.slice(2);
const client = EtcdClient.create({ endpoints: [url], clock });
/** @type {number} */
let done = 0;
let untilMs = Number.POSITIVE_INFINITY;
/** @param {number} n */
const call = async (n) => {
  while (clock.nowMs() < untilMs) {
    await client.put(`key-${n}`, "value");
    done += 1;
  }
};
const calling = Array.from({ length: Number(callers) }, (_, n) => call(n));
// What the first connections take does not count.
await clock.sleep(500, new AbortController().signal);
const before = done;
/** @type {number} */
const fromMs = clock.nowMs();
untilMs = fromMs + Number(ms);
await Promise.all(calling);
console.log(((done - before) * 1_000) / (Number(clock.nowMs()) - fromMs));
await client.close();
