import { expect, onTestFinished, test } from "vitest";
import { Foresight } from "../../../src/agent/lead/foresight.ts";
import { hear } from "../../../src/agent/lead/gate.ts";
import { hearingMs } from "../../../src/agent/lead/memory.ts";
import { systemClock } from "../../../src/clock.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { leading, never, see, silent } from "./leader.ts";

test(
  "who looked ahead knows with its first round who is silent; what was seen long ago is forgotten",
  { timeout: 60_000 },
  async () => {
    const etcd = await startEtcd(3);
    onTestFinished(() => etcd.stop());
    const leader = await leading(etcd.urls);
    const { client, keys } = leader;
    const { raftLeader } = await client.status(etcd.urls[0] ?? "");
    const { members } = await client.readMembership();
    const victim = members.find(({ id }) => id !== raftLeader);
    await etcd.nodes.find(({ name }) => name === victim?.name)?.kill();

    let aheadMs = 0;
    const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs };
    const foresight = new Foresight({ client, keys, clock, log: silent });
    const firstRound = async (): Promise<boolean | undefined> => {
      const { look } = await see(leader);
      const heard = await hear(client, members, raftLeader, never);
      const seen = foresight.memory().members({ nowMs: clock.nowMs(), look, statuses: new Map(), heard });
      return seen.find(({ id }) => id === victim?.id)?.heard;
    };
    await foresight.look(never);
    aheadMs += hearingMs;
    expect(await firstRound()).toBe(false);
    expect(await firstRound()).toBe(true);
    await foresight.look(never);
    aheadMs += 3_000;
    expect(await firstRound()).toBe(true);
  },
);
