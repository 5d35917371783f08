// Two agents of one process with everything that happens to them, and not a word of our own. Argument: their options as JSON.
import { startAgent, type AgentOptions } from "../../../src/index.ts";

const [first, second] = JSON.parse(process.argv[2] ?? "[]") as [AgentOptions, AgentOptions];
const one = startAgent(first);
const two = startAgent(second);
await Promise.all([one.ready, two.ready]);
const { serverPid } = one.status();
const again = new Promise((resolve) => one.serverReady$.subscribe(resolve));
process.kill(serverPid ?? 0, "SIGKILL");
await again;
const taken = startAgent({ ...first, prefix: `${first.prefix ?? ""}/other` });
await taken.exited;
await two.leave();
await one.leave();
// Nothing may hold the process from here on: it ends by itself.
