// @ts-check
// A configuration file that follows the map "backends", in which each host writes its own address.
//   node examples/live-config.mjs [FILE [SEED...]]
import { rename, writeFile } from "node:fs/promises";
import { openWorld } from "quorate/world";

const [, , file = "backends.conf", ...seeds] = process.argv;
const end = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end.abort());

const world = await openWorld({ seeds: seeds.length > 0 ? seeds : ["http://127.0.0.1:2379"] });
try {
  // Settle: a hundred hosts that start at once are one new file, not a hundred.
  const changes = world.strmap.watch("backends", { settle: { minMs: 100 }, signal: end.signal });
  for await (const event of changes) {
    if (event.kind === "state") continue;
    const { value } = await world.strmap.get("backends", { read: { atLeast: event.revision } });
    await replace(file, [...value].map(([host, address]) => `server ${address} # ${host}\n`).join(""));
    console.log(`${file}: ${value.size} backends`);
  }
} finally {
  await world.close();
}

/**
 * Whoever reads the file sees all of it or nothing of it.
 *
 * @param {string} path
 * @param {string} text
 */
async function replace(path, text) {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}
