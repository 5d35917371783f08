// Takes part in many namespaces, and says when it begins to count itself as scheduled and until when it did. Times are those of the
// machine's monotonic clock, in milliseconds: they compare between processes. SIGTERM ends it in good order.
import { setTimeout as delay } from "node:timers/promises";
import { WorldError, openWorld, say } from "./built-world.mjs";

/** @type {import("../../../src/world/index.ts").WorldOptions & { names: string[] }} */
const { names, ...options } = JSON.parse(process.argv[2] ?? "{}");
const world = await openWorld(options);
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
let over = false;
process.once("SIGTERM", () => {
  over = true;
  void world.close();
});

/**
 * What fails while this host is cut off is asked again.
 *
 * @param {string} name
 * @returns {ReturnType<typeof world.scheduler>}
 */
async function join(name) {
  try {
    return await world.scheduler(name, { timeoutMs: 60_000 });
  } catch (error) {
    if (over || !(error instanceof WorldError) || !error.retryable) throw error;
    await delay(100);
    return await join(name);
  }
}

/** @param {string} name */
async function takePart(name) {
  const scheduling = await join(name);
  while (!over) {
    const place = await scheduling.whenScheduled();
    let lastMs = nowMs();
    say({ msg: "began", name, revision: place.revision, atMs: lastMs });
    try {
      for (;;) {
        const ms = nowMs();
        place.check();
        lastMs = ms;
        await delay(20, undefined, { signal: place.signal });
      }
    } catch {
      say({ msg: "ended", name, revision: place.revision, lastMs });
    }
  }
}

const all = names.map((name) =>
  takePart(name).catch((/** @type {unknown} */ error) => {
    if (!over) say({ msg: "failed", name, error: String(error) });
  }),
);
say({ msg: "taking part" });
await Promise.all(all);
