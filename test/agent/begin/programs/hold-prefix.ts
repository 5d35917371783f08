// Opens a prefix and holds it until it is killed. Arguments: the folder, the hostname.
import { Prefix } from "../../../../src/agent/begin/state.ts";

const [folder, hostname] = process.argv.slice(2);
const prefix = await Prefix.open(folder, "/nowhere/", hostname ?? "");
setInterval(() => undefined, 60_000);
process.stdout.write(`${prefix.state.identity}\n`);
