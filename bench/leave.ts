/**
 * What `^C` costs those who stay: a writer runs while two and three agents leave one after the other, the founder first and last. And how
 * soon a second agent on taken ports says so.
 *
 *   npm run bench -- leave
 *
 * Exits 1 when an acknowledged write is lost, the writer is stopped for more than 3 s, or the refusal takes more than 5 s.
 */
import { systemClock as clock } from "../src/clock.ts";
import { Fleet } from "../test/support/agents.ts";

const gapLimitMs = 3_000;
const refusalLimitMs = 5_000;
const beyond: string[] = [];

async function leave(what: string, hosts: readonly string[], size: number, order: readonly string[]): Promise<void> {
  await using fleet = await Fleet.open();
  const agents = new Map((await fleet.form(hosts, size)).map((agent) => [agent.place.hostname, agent]));
  const writer = await fleet.writer(hosts);
  const took: number[] = [];
  for (const host of order) {
    const startMs = clock.nowMs();
    const ended = await agents.get(host)?.interrupt();
    took.push(clock.nowMs() - startMs);
    if (ended?.code !== 0) throw new Error(`${host} ended with ${ended?.code ?? "a signal"}: ${ended?.stderr ?? ""}`);
  }
  const stay = hosts.filter((host) => !order.includes(host));
  await fleet.settled(Math.min(size, stay.length), stay);
  const { acknowledged, lost, longestGapMs } = await writer.finish();
  const each = took.map((ms) => `${(ms / 1_000).toFixed(2)} s`).join(", ");
  console.log(
    `${what.padEnd(36)} ${order.join(", ")} gone after ${each}; ${acknowledged} writes, ${lost.length} lost, longest gap ${longestGapMs} ms (limit ${gapLimitMs})`,
  );
  if (lost.length > 0 || longestGapMs > gapLimitMs) beyond.push(what);
}

async function refusal(): Promise<void> {
  await using fleet = await Fleet.open();
  const first = await (await fleet.start("h1")).ready();
  const { clientUrl, serverUrl } = first.place;
  const startMs = clock.nowMs();
  const second = await fleet.quorate(
    "run",
    "--tmp-prefix",
    "--hostname=h2",
    `--client-urls=${clientUrl}`,
    `--server-urls=${serverUrl}`,
  );
  const ms = clock.nowMs() - startMs;
  if (second.code !== 1) throw new Error(`the second agent ended with ${second.code ?? "a signal"}: ${second.stderr}`);
  console.log(`a second agent on taken ports: refused after ${Math.round(ms)} ms (limit ${refusalLimitMs})`);
  if (ms > refusalLimitMs) beyond.push("the refusal");
}

const three = ["h1", "h2", "h3"];
const five = [...three, "h4", "h5"];
await leave("two of three, founder first", three, 3, ["h1", "h2"]);
await leave("two of three, founder last", three, 3, ["h3", "h1"]);
await leave("three of five, founder first", five, 5, ["h1", "h2", "h3"]);
await leave("three of five, founder last", five, 5, ["h5", "h4", "h1"]);
await refusal();
if (beyond.length > 0) {
  console.log(`beyond the limit: ${beyond.join("; ")}`);
  process.exitCode = 1;
}
