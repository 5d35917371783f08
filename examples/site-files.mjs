// @ts-check
// A local folder that follows a tree of files; `quorate fs sync FOLDER --tree site` on any host changes it on all.
//   node examples/site-files.mjs [FOLDER [SEED...]]
import { openWorld } from "quorate/world";

const [, , folder = "site", ...seeds] = process.argv;
const end = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end.abort());

const world = await openWorld({ seeds: seeds.length > 0 ? seeds : ["http://127.0.0.1:2379"] });
try {
  const site = world.fs("etcdfs:///fs/site");
  for await (const event of site.changes({ signal: end.signal })) {
    if (event.kind === "state") continue;
    const { files, moved, deleted } = await site.download(folder, { mirror: true });
    console.log(`${folder}: ${files} files, ${moved} bytes moved, ${deleted} deleted`);
  }
} finally {
  await world.close();
}
