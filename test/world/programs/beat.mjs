// Writes numbered values into a string on the World's session, one after the other, and says before each that it is about to, after each
// that it has, and when the session is lost. `refresh` names a string that it writes again and again with a TTL of its own.
import { setTimeout as delay } from "node:timers/promises";
import { openWorld, say, WorldError } from "./built-world.mjs";

const { name, refresh, ...options } = JSON.parse(process.argv[2] ?? "{}");
const world = await openWorld(options);
/** @type {Set<string>} */
const known = new Set();

for (let n = 1; ; n++) {
  try {
    const session = await world.session();
    if (!known.has(session.leaseId)) {
      known.add(session.leaseId);
      const { leaseId } = session;
      session.signal.addEventListener("abort", () => say({ msg: "lost", leaseId, why: String(session.signal.reason.code) }));
      say({ msg: "session", leaseId });
    }
    const { revision } = await world.str.set(name, `${n}`, { lease: session });
    say({ msg: "wrote", n, revision, leaseId: session.leaseId });
    if (refresh !== undefined) await world.str.set(refresh, `${n}`, { lease: { ttl: 2 } });
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    say({ msg: "failed", n, code: error.code, outcome: error.outcome });
  }
  await delay(50);
}
