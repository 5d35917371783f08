import { filter, firstValueFrom, timeout } from "rxjs";
import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import { eventually } from "../support/eventually.ts";
import { FaultyProxy } from "../support/proxy.ts";
import { host, start } from "./agents.ts";

const keys = keysUnder("/_mgmt");

test(
  "a nominee that starts and never catches up is given up, is not promoted, and the voter serves on",
  { timeout: 120_000 },
  async () => {
    const one = await host("h1", { idealClusterSize: 2, stallTimeoutMs: 3_000, sessionTtlMs: 5_000 });
    // What the learner hears of the voter passes here: it dials the voter's address.
    const proxy = await FaultyProxy.start(one.serverUrls?.[0] ?? "");
    onTestFinished(() => proxy[Symbol.asyncDispose]());
    await start({ ...one, advertiseServerUrls: [proxy.url] }).ready;
    const two = start(await host("h2", { seeds: one.clientUrls, sessionTtlMs: 5_000 }));
    await firstValueFrom(
      two.status$.pipe(
        filter(({ role }) => role === "learner"),
        timeout({ first: 40_000 }),
      ),
    );
    await using client = EtcdClient.create({ endpoints: one.clientUrls, clock });

    proxy.stall("down");
    for (let i = 0; i < 1_200; i += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, n) => client.put(`/behind/${i + n}`, "x", { timeoutMs: 10_000 })));
    }
    interface Told {
      readonly step: string;
      readonly because: string;
    }
    const events = async (): Promise<Told[]> =>
      (await client.range(keys.events, { timeoutMs: 10_000 })).entries.map(({ value }) => JSON.parse(value) as Told);
    const removal = await eventually(
      "the learner is given up",
      async () => (await events()).find(({ step }) => step === "remove"),
      60_000,
    );
    expect(removal.because).toBe("learner h2 lags and does not move");
    expect((await events()).map(({ step }) => step)).not.toContain("promote");
    const { members } = await client.readMembership();
    expect(members.map(({ name }) => name)).toEqual(["h1"]);
    await client.put("/still", "serving");
    proxy.heal();
  },
);
