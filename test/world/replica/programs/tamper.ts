// Writes a value that never was into the file of a replica, checksum and all: what only a comparison with the cluster can find.
import { open } from "lmdb";
import { encodeEntry } from "../../../../src/world/replica/entry.ts";
import { envOptions } from "../../../../src/world/replica/format.ts";
import { FileReader } from "../../../../src/world/replica/snapshot.ts";

const [path, key] = process.argv.slice(2) as [string, string];
const reader = new FileReader(path);
const entry = reader.get(key)!;
await reader.close();
const raw = Buffer.from(key);
const env = open<Buffer, Buffer>({ ...envOptions, path, noSync: true, overlappingSync: false });
env.putSync(raw, encodeEntry({ ...entry, key: raw, value: Buffer.from("never written") }));
await env.close();
process.stdout.write("done\n");
