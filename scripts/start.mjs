// npm start: set-up, then the command line in this same process, so that signals and exit codes are its own.
// Without a command it is the demo; `npm start -- run --hostname h1` runs any other.
import { fileURLToPath } from "node:url";
import { fail, setup } from "./setup.mjs";

const given = process.argv.slice(2);
const [first = "demo"] = given;
const named = !first.startsWith("-") || ["-h", "--help", "-V", "--version"].includes(first);
const args = given.length > 0 && named ? given : ["demo", ...given];

try {
  // Other commands need no etcd, or are told which one and look for it themselves.
  await setup({ etcd: args[0] === "demo" && !args.some((arg) => /^--(etcd-bin|help)\b/.test(arg)) });
  const launcher = new URL("../bin/quorate.js", import.meta.url);
  process.argv = [process.execPath, fileURLToPath(launcher), ...args];
  await import(launcher.href);
} catch (error) {
  fail(error);
}
