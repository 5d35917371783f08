// Prints as JSON who holds the port of a URL.
import { portHolder } from "../../../src/embed/index.ts";

process.stdout.write(`${JSON.stringify(await portHolder(process.argv[2] ?? ""))}\n`);
