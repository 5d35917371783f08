// Reads every key of a replica one by one, as a program would, and prints what it needs for that.
import { readFileSync } from "node:fs";

// By name only at run time: the types are checked without a build.
/** @type {(path: string) => Promise<Record<string, any>>} */
const built = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { systemClock: clock } = await built("clock.js");
const { openReplica } = await built("world/replica/index.js");

const [folder = "", prefix = ""] = process.argv.slice(2);
const replica = await openReplica({ clock, folder });
await replica.ready({ timeoutMs: 30_000 });
let keys = 0;
for (let n = 0; n < 100_000; n++) if (replica.getSync(`${prefix}many/${n}`) !== undefined) keys++;
const status = readFileSync("/proc/self/status", "utf8");
/** @param {string} name */
const mb = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1024;
console.log(JSON.stringify({ keys, residentMb: mb("VmRSS"), fileMb: mb("RssFile") }));
await replica.close();
