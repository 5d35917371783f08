// @ts-check
// Each host exports its name and address, and each writes a hosts file of what all have exported.
//   node examples/hosts-file.mjs [NAME ADDRESS [FILE [SEED...]]]
import { writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { openWorld } from "quorate/world";

const [, , name = hostname(), address = "127.0.0.1", file = `hosts-${name}`, ...given] = process.argv;
const seeds = given.length > 0 ? given : ["http://127.0.0.1:2379"];
const end = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end.abort());

const world = await openWorld({ seeds, hostname: name });
try {
  // Replace: what this host exported in an earlier life, and does not any more, is deleted. Without a lease it stays
  // while the host is being restarted; with { lease: "session" } it would go with the program.
  const own = [{ kind: "host", name, value: address }];
  await world.resource.export(own, { scope: "hosts-file", mode: "replace" });
  for await (const event of world.resource.watch({ kind: "host" }, { coalesce: true, signal: end.signal })) {
    if (event.kind === "state") continue;
    const { items } = await world.resource.collect({ kind: "host" }, { read: { atLeast: event.revision } });
    await writeFile(file, items.map((item) => `${item.value} ${item.name}\n`).join(""));
    console.log(`${file}: ${items.length} hosts`);
  }
} finally {
  await world.close();
}
