// Writes numbered keys one after the other until it gets a line on stdin, each with a short deadline and again at the next endpoint
// until one acknowledges it. Then reads everything back and tells, as JSON on stdout, what is missing and how long it was stopped.
import { Agent } from "node:http";
import { Agent as SecureAgent } from "node:https";
import { setTimeout as delay } from "node:timers/promises";
import { ask as send } from "./http.mjs";

const [who = "", prefix = "", ...endpoints] = process.argv.slice(2);
/** @type {{ tls?: object, login?: { user: string, password: string } }} */
const { tls, login } = JSON.parse(who);
const how = {
  // Shorter than any election: a request that a stopping server never answers is told from one.
  timeoutMs: 500,
  ...(tls && { tls }),
  ...(login && { login }),
  agent: tls === undefined ? new Agent({ keepAlive: true }) : new SecureAgent({ keepAlive: true }),
};
/** @param {number} n */
const keyOf = (n) => `${prefix}/${String(n).padStart(8, "0")}`;
/** @param {string} text */
const base64 = (text) => Buffer.from(text).toString("base64");
let at = 0;
let going = true;
process.stdin.once("data", () => (going = false)).once("end", () => process.exit(1));

/**
 * Asks one endpoint; the next one when it does not answer.
 *
 * @param {string} path
 * @param {object} request
 * @returns {Promise<any>}
 */
async function ask(path, request) {
  try {
    const { status, text } = await send(`${endpoints[at]}/v3/${path}`, { ...how, body: JSON.stringify(request) });
    if (status !== 200) throw new Error(text);
    return JSON.parse(text);
  } catch (error) {
    at = (at + 1) % endpoints.length;
    throw error;
  }
}

/**
 * @param {string} path
 * @param {object} request
 * @returns {Promise<any>}
 */
async function until(path, request) {
  for (;;) {
    try {
      return await ask(path, request);
    } catch {
      await delay(10);
    }
  }
}

let acknowledged = 0;
let longestGapMs = 0;
let gapAtMs = 0;
let misread = 0;
let last = performance.now();
const started = last;
const startedAt = Date.now();
while (going) {
  const key = base64(keyOf(acknowledged));
  await until("kv/put", { key, value: base64(String(acknowledged)) });
  acknowledged += 1;
  // Linearizable: it must see what was acknowledged just now, whoever answers.
  const { kvs } = await until("kv/range", { key });
  if (kvs?.length !== 1) misread += 1;
  const now = performance.now();
  if (now - last > longestGapMs) [longestGapMs, gapAtMs] = [now - last, last - started];
  last = now;
  if (acknowledged === 1) console.log(JSON.stringify({ writing: true }));
  await delay(2); // leave the processors to those under test
}

const lost = [];
for (let n = 0; n < acknowledged; n += 1_000) {
  const { kvs } = await until("kv/range", { key: base64(keyOf(n)), range_end: base64(keyOf(n + 1_000)), keys_only: true });
  const there = new Set((kvs ?? []).map((/** @type {{ key: string }} */ kv) => Buffer.from(kv.key, "base64").toString()));
  for (let i = n; i < Math.min(n + 1_000, acknowledged); i++) if (!there.has(keyOf(i))) lost.push(keyOf(i));
}
console.log(
  JSON.stringify({
    acknowledged,
    lost,
    misread,
    longestGapMs: Math.round(longestGapMs),
    gapAtMs: Math.round(gapAtMs),
    gapAt: new Date(startedAt + gapAtMs).toISOString(),
  }),
);
process.exit(0);
