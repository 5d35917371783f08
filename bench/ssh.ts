/**
 * What a tunnel costs: puts of one caller through ssh, on one hop and on two, beside the same directly, in turn and in one run.
 *
 *   npm run bench -- ssh [--puts 300]
 *
 * Exits 1 where the middle put through one hop, or through two, takes more than 3 ms more than the middle one directly. The hosts are
 * sshds on the loopback address; what the way to a real one takes comes on top.
 */
import type * as ClockModule from "../src/clock.ts";
import type * as Wire from "../src/etcd/index.ts";
import type { EtcdClient } from "../src/etcd/index.ts";
import type * as Ssh from "../src/ssh/index.ts";
import type { SshOptions } from "../src/ssh/index.ts";
import type * as TunnelsModule from "../src/ssh/tunnels.ts";
import { startEtcd } from "../test/support/etcd-process.ts";
import { startSshd } from "../test/support/sshd.ts";

const limitMs = 3;
const built = async <T>(path: string): Promise<T> => (await import(new URL(`../dist/${path}`, import.meta.url).href)) as T;
const { systemClock: clock } = await built<typeof ClockModule>("clock.js");
const { EtcdClient: Client, wiresBy } = await built<typeof Wire>("etcd/index.js");
const { sshRoute } = await built<typeof Ssh>("ssh/index.js");
const { Tunnels } = await built<typeof TunnelsModule>("ssh/tunnels.js");

const at = process.argv.indexOf("--puts");
const puts = at >= 0 ? Number(process.argv[at + 1]) : 300;
const value = "v".repeat(256);

function middle(all: readonly number[], part = 0.5): number {
  return all.toSorted((a, b) => a - b)[Math.floor(all.length * part)] ?? NaN;
}

const etcd = await startEtcd(1);
const outer = await startSshd();
const inner = await startSshd();
const through = (ssh: SshOptions): EtcdClient => {
  const tunnels = new Tunnels(sshRoute(ssh), clock);
  const wires = wiresBy((url, signal) => tunnels.dial(url, signal), {
    close: () => {
      tunnels.close();
    },
  });
  return Client.create({ endpoints: etcd.urls, clock, wires });
};
const ways = [
  { name: "directly", client: Client.create({ endpoints: etcd.urls, clock }) },
  { name: "through one host", client: through(outer.login) },
  { name: "through two hosts", client: through({ ...inner.login, jump: outer.login }) },
] as const;
try {
  const took = ways.map((): number[] => []);
  for (let n = -20; n < puts; n++) {
    for (let i = 0; i < ways.length; i++) {
      const turn = (n + 20 + i) % ways.length;
      const fromMs = clock.nowMs();
      await ways[turn]!.client.put(`/bench/${turn}`, `${n}${value}`, { timeoutMs: 15_000 });
      // The first ones also connect.
      if (n >= 0) took[turn]!.push(clock.nowMs() - fromMs);
    }
  }
  const direct = middle(took[0]!);
  for (const [n, { name }] of ways.entries()) {
    const of = middle(took[n]!);
    const good = of - direct <= limitMs;
    const ms = (one: number): string => `${one.toFixed(2)} ms`;
    const more = n === 0 ? "" : `, ${ms(of - direct)} more ${good ? "ok" : "MISSED"} (at most ${limitMs} ms)`;
    console.log(`a put ${name.padEnd(18)} ${ms(of)} (middle), ${ms(middle(took[n]!, 0.95))} (95 of 100)${more}`);
    if (!good) process.exitCode = 1;
  }
  console.log(`sshd: ${outer.kind}`);
} finally {
  for (const { client } of ways) await client.close();
  await inner[Symbol.asyncDispose]();
  await outer[Symbol.asyncDispose]();
  await etcd.stop();
}
