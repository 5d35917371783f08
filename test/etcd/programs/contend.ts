// One host of several that want the same locks and elections. Holds what it gets until it loses it, and writes about it, fenced.
import { systemClock as clock } from "../../../src/clock.ts";
import { campaign, EtcdClient, lock, Session } from "../../../src/etcd/index.ts";
import type { Compare } from "../../../src/etcd/index.ts";

const [url, host, names] = process.argv.slice(2) as [string, string, string];
const never = new AbortController().signal;
const ttlMs = 2_000;
const client = EtcdClient.create({ endpoints: [url], clock });

interface Held {
  readonly revision: number;
  readonly signal: AbortSignal;
  fence(): Compare;
}

let session: Promise<Session> | undefined;
async function ownSession(): Promise<Session> {
  const known = await session?.catch(() => undefined);
  if (known && !known.signal.aborted) return known;
  return (session = Session.open(client, { ttlMs, clock }, never));
}

async function get(name: string): Promise<Held> {
  if (Number(name) % 2 === 0) return await lock({ client, name: `/held/${name}`, clock, ttlMs }, never);
  return await campaign({ client, session: await ownSession(), prefix: `/held/${name}/`, value: host, clock }, never);
}

async function contend(name: string): Promise<never> {
  for (;;) {
    try {
      const held = await get(name);
      while (!held.signal.aborted) {
        const say = (key: string): { put: string; value: string } => ({
          put: `/${key}/${name}`,
          value: `${held.revision} ${host}`,
        });
        const txn = { compare: [held.fence()], then: [say("said")], else: [say("refused")] };
        await client.txn(txn, { signal: held.signal, timeoutMs: 500 }).catch(() => undefined);
        await clock.sleep(100, held.signal);
      }
    } catch {
      await clock.sleep(100, never);
    }
  }
}

process.stdout.write("ready\n");
await Promise.all(names.split(",").map(contend));
