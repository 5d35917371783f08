// Commits one large transaction to a tree of files, and says before each file that it is about to write it, and when it has committed.
import { randomBytes } from "node:crypto";
import { openWorld, say } from "./built-world.mjs";

const { uri, files, ...options } = JSON.parse(process.argv[2] ?? "{}");
const world = await openWorld(options);
await world.fs(uri).transaction(async (tx) => {
  for (let n = 1; n <= files; n++) {
    say({ msg: "writing", n });
    await tx.writeFile(`/new-${n}`, randomBytes(256 * 1024));
  }
  say({ msg: "committing" });
});
say({ msg: "committed" });
await world.close();
