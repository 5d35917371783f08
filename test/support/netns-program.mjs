// Holds the network namespace it runs in and asks there on behalf of a test: a request per line of stdin, an answer per line of
// stdout. It ends, and the namespace with it, when stdin does, so also when the test dies.
import { execFileSync } from "node:child_process";
import { createInterface } from "node:readline";
import { ask } from "./http.mjs";

if (process.argv.includes("--lo-up")) execFileSync("ip", ["link", "set", "lo", "up"], { stdio: ["ignore", "ignore", "inherit"] });
console.log(JSON.stringify({ ready: true }));

createInterface({ input: process.stdin })
  .on("line", (line) => void answer(line))
  .on("close", () => process.exit(0));

/** @param {string} line */
async function answer(line) {
  /** @type {{ id: number, url: string, body?: string, timeoutMs: number, tls?: object, login?: { user: string, password: string } }} */
  const { id, url, ...how } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ id, ...(await ask(url, how)) }));
  } catch (error) {
    console.log(JSON.stringify({ id, error: String(error) }));
  }
}
