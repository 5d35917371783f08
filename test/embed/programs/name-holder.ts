// Prints as JSON who holds the port of a URL, as another user where one is given: one who need not be able to read these sources.
import { portHolder } from "../../../src/embed/index.ts";

const [, , url = "", uid] = process.argv;
if (uid !== undefined) process.setuid?.(Number(uid));
process.stdout.write(`${JSON.stringify(await portHolder(url))}\n`);
