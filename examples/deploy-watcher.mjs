// @ts-check
// Writes the payload of the newest deploy to a file: of those that are there when it starts, and of each that comes.
//   node examples/deploy-watcher.mjs [FILE [SEED...]]
import { writeFile } from "node:fs/promises";
import { openWorld } from "quorate/world";

const [, , file = "deployed", ...seeds] = process.argv;
const end = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end.abort());

const world = await openWorld({ seeds: seeds.length > 0 ? seeds : ["http://127.0.0.1:2379"] });
let deployed = 0;
try {
  // Coalesce: of several that come while one is written, only the newest matters. No payload comes with the events.
  for await (const event of world.deploy.watch({ coalesce: true, signal: end.signal })) {
    if (event.kind === "state") continue;
    const read = { atLeast: event.revision };
    const { id } = await world.deploy.maxId({ read });
    if (id <= deployed) continue;
    const { deploy } = await world.deploy.get(id, { read });
    if (deploy === undefined) continue; // Pruned meanwhile: a newer one is about to be told.
    await writeFile(file, deploy.payload);
    deployed = id;
    console.log(`deployed ${id} ${deploy.hash ?? ""}`);
  }
} finally {
  await world.close();
}
