// Writes entries of every kind under its hostname, on leases and without, and says so. Then waits; SIGTERM closes the World and ends it.
// With `looking` it writes nothing and says what of that it finds.
import { openWorld, say } from "./built-world.mjs";

/** @type {import("../../../src/world/index.ts").WorldOptions & { looking?: boolean }} */
const { looking = false, ...options } = JSON.parse(process.argv[2] ?? "{}");
const world = await openWorld(options);
const { hostname } = world;

// Without it nothing would keep a program alive that only holds what it has written.
const staying = setInterval(() => undefined, 60_000);
process.once("SIGTERM", () => {
  clearInterval(staying);
  void world.close().then(() => say({ msg: "closed" }));
});

if (looking) {
  const entries = [(await world.strmap.get("up")).value.get(hostname), (await world.strmap.get("known")).value.get(hostname)];
  const strings = [(await world.str.get(`up of ${hostname}`)).value, (await world.str.get(`known of ${hostname}`)).value];
  const { items } = await world.resource.collect({ host: hostname });
  say({ msg: "found", entries, strings, resources: items.map(({ name, leased }) => ({ name, leased })) });
} else {
  const lease = "session";
  await world.strmap.set("up", "yes", { lease });
  await world.strmap.set("known", "yes");
  await world.str.set(`up of ${hostname}`, "yes", { lease });
  await world.str.set(`known of ${hostname}`, "yes");
  await world.resource.export([{ kind: "web", name: "up", value: "yes" }], { lease });
  await world.resource.export([{ kind: "web", name: "known", value: "yes" }]);
  const own = await world.session({ ttl: 4 });
  await world.str.set(`own session of ${hostname}`, "yes", { lease: own });
  await world.strmap.set("for a while", "yes", { lease: { ttl: 3 } });
  const { leaseId } = await world.session();
  say({ msg: "written", leaseId, ownLeaseId: own.leaseId });
}
