// Opens a replica as whoever runs this, reads one key, and prints what it is told.
import { systemClock as clock } from "../../../../src/clock.ts";
import { openReplica } from "../../../../src/world/replica/index.ts";

const [folder, key, ...endpoints] = process.argv.slice(2) as [string, string];
const replica = await openReplica({ clock, folder, endpoints });
const { entry } = await replica.get(key, { read: "linearizable", timeoutMs: 20_000 });
const { because, state, folder: used } = replica.status;
const value = entry === undefined ? undefined : Buffer.from(entry.value).toString();
process.stdout.write(`${JSON.stringify({ value, because, state, folder: used, feeder: replica.feederPid })}\n`);
await replica.close();
