// Judges one file in a process of its own, and prints the verdict as JSON: LMDB may end a process that maps a damaged file.
import { writeSync } from "node:fs";
import { judge } from "./probe.ts";

const [path = "", copyTo] = process.argv.slice(2);
writeSync(1, JSON.stringify(await judge(path, copyTo)));
