// Holds the network namespace it runs in and asks there on behalf of a test: a request per line of stdin, an answer per line of
// stdout. It ends, and the namespace with it, when stdin does, so also when the test dies.
import { execFileSync } from "node:child_process";
import { createInterface } from "node:readline";

if (process.argv.includes("--lo-up")) execFileSync("ip", ["link", "set", "lo", "up"], { stdio: ["ignore", "ignore", "inherit"] });
console.log(JSON.stringify({ ready: true }));

createInterface({ input: process.stdin })
  .on("line", (line) => void answer(line))
  .on("close", () => process.exit(0));

/** @param {string} line */
async function answer(line) {
  /** @type {{ id: number, url: string, body?: string, timeoutMs: number }} */
  const { id, url, body, timeoutMs } = JSON.parse(line);
  try {
    const response = await fetch(url, {
      ...(body === undefined ? {} : { method: "POST", body }),
      // A connection that is kept may be met just as a server that is stopped, or has refused a large request, closes it.
      headers: { connection: "close" },
      signal: AbortSignal.timeout(timeoutMs),
    });
    console.log(JSON.stringify({ id, status: response.status, text: await response.text() }));
  } catch (error) {
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    console.log(JSON.stringify({ id, error: String(cause) }));
  }
}
