// Writes a value that never was into the file of a replica, checksum and all: what only a comparison with the cluster can find.
import { ReplicaFile } from "../../../../src/world/replica/file.ts";
import { FileReader } from "../../../../src/world/replica/snapshot.ts";

const [path, key] = process.argv.slice(2) as [string, string];
const reader = new FileReader(path);
const entry = reader.get(key)!;
await reader.close();
const file = ReplicaFile.open(path);
file.fill([{ ...entry, key: Buffer.from(key), value: Buffer.from("never written") }]);
await file.close();
process.stdout.write("done\n");
