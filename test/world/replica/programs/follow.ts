// Follows one range of a replica, in a process of its own. Prints a line for each piece of news: kind, revision, and the value of its
// first put with the milliseconds since the epoch at which it was seen.
import { systemClock as clock } from "../../../../src/clock.ts";
import { openReplica } from "../../../../src/world/replica/index.ts";

const [folder, start, end] = process.argv.slice(2) as [string, string, string];
const replica = await openReplica({ clock, folder });
const following = replica.follow({ start, end }, (news) => {
  const first = news.kind === "snapshot" ? news.entries[0] : news.changes.map((change) => "entry" in change && change.entry)[0];
  const value = first ? Buffer.from(first.value).toString() : "";
  const seenMs = performance.timeOrigin + performance.now();
  process.stdout.write(`${JSON.stringify({ kind: news.kind, revision: news.revision, value, seenMs })}\n`);
});
await following.over;
