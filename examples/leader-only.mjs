// @ts-check
// A job that runs on one host at a time: start it several times, and end the one that leads.
//   node examples/leader-only.mjs [SEED...]
import { setTimeout as sleep } from "node:timers/promises";
import { openWorld } from "quorate/world";

const [, , ...seeds] = process.argv;
const end = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end.abort());

const world = await openWorld({ seeds: seeds.length > 0 ? seeds : ["http://127.0.0.1:2379"] });
try {
  console.log("waiting to lead");
  await world.leaderOnly("counter", count, { signal: end.signal });
} catch (error) {
  if (!end.signal.aborted) throw error;
} finally {
  await world.close(); // Lets the next one lead at once. After a kill it takes ten seconds: the session's TTL.
}

/**
 * @param {AbortSignal} signal fires before anybody else can lead
 * @param {import("quorate/world").Fence} fence makes etcd refuse what this program writes when it leads no more
 */
async function count(signal, fence) {
  console.log("leading");
  for (;;) {
    // Linearizable: it must not miss what the leader before it wrote last.
    const { value } = await world.str.get("count", { read: "linearizable", signal });
    const next = String(Number(value ?? 0) + 1);
    await world.str.set("count", next, { fence, signal });
    console.log(`counted to ${next}`);
    await sleep(1_000, undefined, { signal });
  }
}
