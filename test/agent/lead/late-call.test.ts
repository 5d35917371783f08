import { expect, onTestFinished, test } from "vitest";
import { carryOut, type CarryOutDeps } from "../../../src/agent/lead/carry-out.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { freshMs } from "../../../src/agent/lead/last-gate.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import type { EtcdClient } from "../../../src/etcd/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import { leading, never, see, silent, type Leading } from "./leader.ts";

/** As if the endpoint that a removal is given to first did not answer for so long. */
function slowToRemove({ client }: Leading, ms: number): EtcdClient {
  return new Proxy(client, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (name === "removeMember")
        return async (...args: Parameters<EtcdClient["removeMember"]>) => {
          await clock.sleep(ms, never);
          return target.removeMember(...args);
        };
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

test(
  "a member call that cannot leave within 500 ms of its gate is not sent, and its record is taken back",
  { timeout: 60_000 },
  async () => {
    const etcd = await startEtcd(3, { flags: ["--strict-reconfig-check=false"] });
    onTestFinished(() => etcd.stop());
    const leader = await leading(etcd.urls);
    const seen = await eventually("there is a raft leader", async () => {
      const found = await see(leader);
      return found.raftLeader !== undefined && found;
    });
    const member = seen.look.membership.members.find(({ id }) => id !== seen.raftLeader)?.id ?? "";
    const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
    const step = { kind: "remove", agent: undefined, member, cause: "surplus", passOver: false } as const;
    const after = async (ms: number): ReturnType<typeof carryOut> => {
      const deps: CarryOutDeps = { ...leader, client: slowToRemove(leader, ms), clock, log: silent, events, passOverMs: 60_000 };
      return carryOut(deps, step, "because of the test", await see(leader), never);
    };

    expect(await after(freshMs + 100)).toEqual({
      held: `Cannot send remove: it could not leave within ${freshMs} ms of its gate`,
    });
    const { look } = await see(leader);
    expect(look.step).toBeUndefined();
    expect(look.membership.members).toHaveLength(3);
    // Whatever the one that is removed still answers, if it is the one that is asked.
    await after(0);
    await eventually("it is removed", async () => (await see(leader)).look.membership.members.length === 2);
  },
);
