// Uses everything a client has, closes it, and has to end by itself. Prints what it is at.
import { systemClock as clock } from "../../../src/clock.ts";
import { campaign, EtcdClient, Session, watchRange } from "../../../src/etcd/index.ts";

const [urls, unreachable] = process.argv.slice(2) as [string, string];
const stop = new AbortController();
const client = EtcdClient.create({ endpoints: [...urls.split(","), unreachable], clock });
const watching = watchRange(client, { start: "/", end: "0" }, () => undefined, { clock }, stop.signal).catch(() => undefined);
const session = await Session.open(client, { ttlMs: 5_000, clock }, stop.signal);
const leadership = await campaign({ client, session, prefix: "/exit/", value: "x", clock }, stop.signal);
await client.put("/a", "1");
await client.readMembership();
await client.status(unreachable).catch(() => undefined);
await client.metrics(client.endpoints.urls()[0]!);
await clock.sleep(1_000, stop.signal);
client.endpoints.set(urls.split(",").slice(1));
await client.get("/a");
await leadership.resign();
await session.close();
stop.abort();
await watching;
await client.close();
process.stdout.write("closed\n");
