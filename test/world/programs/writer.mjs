// One of several programs that write and watch the same World: numbers into its own entry of a map and into a string of its own, and
// resources that come and go. It says what it has written, and everything that it is told. SIGTERM stops the writing; SIGINT ends it.
import { setTimeout as delay } from "node:timers/promises";
import { openWorld, say, WorldError } from "./built-world.mjs";

/** @type {{ prefix: string, hosts: string[] }} */
const { prefix, hosts } = JSON.parse(process.argv[2] ?? "{}");
const world = await openWorld({ prefix });
const { hostname } = world;
const map = "numbers";
const own = `number of ${hostname}`;
const timeoutMs = 3_000;
let writing = true;
process.once("SIGTERM", () => (writing = false));
process.once("SIGINT", () => void world.close());

/**
 * @param {string} of
 * @param {import("../../../src/world/index.ts").Watch<{ readonly kind: string }>} watch
 */
function watching(of, watch) {
  watch.subscribe({
    next: (event) => {
      if (event.kind !== "state") say({ msg: "event", of, ...event });
    },
    error: (/** @type {{ code: string, message: string }} */ { code, message }) => {
      if (code !== "CLOSED") say({ msg: "wrong", what: `watching ${of} failed with ${message}` });
    },
  });
}

/**
 * What failed for now.
 *
 * @param {unknown} error
 */
async function passing(error) {
  if (!(error instanceof WorldError)) throw error;
  say({ msg: "failed", code: error.code, outcome: error.outcome });
  await delay(20);
}

/**
 * Tries until it succeeds.
 *
 * @template T
 * @param {() => Promise<T>} call
 * @returns {Promise<T>}
 */
async function until(call) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      await passing(error);
    }
  }
}

/** The two registers: one that is read, and written only where nobody has written it since. */
const registers = {
  entry: {
    /** @param {"linearizable" | "session"} read */
    get: async (read) => {
      const { value, modRevision, revision } = await world.strmap.get(map, { read, timeoutMs });
      return { value: value.get(hostname), modRevision, revision };
    },
    /** @type {(n: number, ifRevision: number) => Promise<{ revision: number }>} */
    set: (n, ifRevision) => world.strmap.set(map, `${n}`, { ifRevision, timeoutMs }),
  },
  string: {
    /** @param {"linearizable" | "session"} read */
    get: (read) => world.str.get(own, { read, timeoutMs }),
    /** @type {(n: number, ifRevision: number) => Promise<{ revision: number }>} */
    set: (n, ifRevision) => world.str.set(own, `${n}`, { ifRevision, timeoutMs }),
  },
};

/**
 * Counts up from what is there, one by one: what became of a write that failed is read.
 *
 * @param {"entry" | "string"} of
 */
async function count(of) {
  const { get, set } = registers[of];
  let highest = 0;
  while (writing) {
    let { value, modRevision } = await until(() => get("linearizable"));
    let n = Number(value ?? "0");
    try {
      while (writing) {
        ({ revision: modRevision } = await set(++n, modRevision));
        say({ msg: "wrote", of, n, revision: modRevision });
        const read = await get("session").catch(passing);
        if (read === undefined) continue;
        if (read.value !== `${n}` || read.modRevision !== modRevision)
          say({ msg: "wrong", what: `wrote ${n} of ${of} at ${modRevision}, and read ${read.value} of ${read.modRevision}` });
        if (read.revision < Math.max(highest, modRevision))
          say({ msg: "wrong", what: `read at ${read.revision} after ${Math.max(highest, modRevision)}` });
        highest = read.revision;
        await delay(15);
      }
    } catch (error) {
      await passing(error);
    }
  }
}

/** Three of four resources at a time, one of them for one host alone: each round one of them goes, and another one comes. */
async function exporting() {
  for (let n = 1; writing; n++) {
    const list = [0, 1, 2].map((i) => {
      const name = `r${(n + i) % 4}`;
      return { kind: "number", name, value: `${hostname} ${process.pid} ${n}`, ...(name === "r0" ? { to: hosts[0] } : {}) };
    });
    await until(async () => {
      if (!writing) return;
      const { revision } = await world.resource.export(list, { mode: "replace", timeoutMs });
      say({ msg: "exported", names: list.map(({ name }) => name), revision });
    });
    await delay(60);
  }
}

watching("map", world.strmap.watch(map));
for (const host of hosts) watching(`string of ${host}`, world.str.watch(`number of ${host}`));
watching("resources", world.resource.watch({ kind: "number" }));
await Promise.all([count("entry"), count("string"), exporting()]);
say({ msg: "stopped" });
