import { expect, onTestFinished, test, vi } from "vitest";
import { carryOut, type Outcome } from "../../../src/agent/lead/carry-out.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { LastGate } from "../../../src/agent/lead/last-gate.ts";
import type { Step } from "../../../src/chooser/decision.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { broken } from "./broken.ts";
import { never, see, silent, type Leading, type Seen } from "./leader.ts";

function carry(leader: Leading, lastGate: LastGate, step: Step, seen: Seen): Promise<Outcome> {
  const events = new EventLog({ ...leader, clock, log: silent, leader: "h1" });
  const deps = { ...leader, clock, log: silent, events, passOverMs: 60_000, lastGate };
  return carryOut(deps, step, "because of the test", { ...seen, justNow: true }, never);
}

const promote = (member: string): Step => ({ kind: "promote", agent: undefined, member });

test(
  "the promotion that follows a removal rests on that one's gate, and on the look between the two",
  { timeout: 60_000 },
  async () => {
    const { leader, dead, learner } = await broken();
    const { client } = leader;
    const { members: before } = await client.readMembership();
    await client.removeMember(dead);
    const seen = await see(leader);
    const looks = vi.spyOn(client, "readMembership");
    const heard = vi.spyOn(client, "metrics");
    const lastGate = new LastGate();
    lastGate.keep(dead, before, seen.raftLeader ?? "", new Set(before.map(({ id }) => id)), clock.nowMs());
    expect(await carry(leader, lastGate, promote(learner), seen)).toEqual({ done: true });
    expect(looks).not.toHaveBeenCalled();
    expect(heard).not.toHaveBeenCalled();
    const { members } = await client.readMembership();
    expect(members.filter((row) => !row.learner)).toHaveLength(3);
    expect((await client.get(leader.keys.step)).entry).toBeUndefined();
  },
);

test(
  "without such a gate a look counts for nothing, however new: a learner that stands still is not promoted",
  { timeout: 60_000 },
  async () => {
    const { leader, learner, learnerNode } = await broken();
    onTestFinished(() => learnerNode.resume());
    const seen = await see(leader);
    learnerNode.pause();
    const looks = vi.spyOn(leader.client, "readMembership");
    expect(await carry(leader, new LastGate(), promote(learner), seen)).toEqual({
      held: `member ${learner} does not take part yet`,
    });
    expect(looks).toHaveBeenCalledOnce();
  },
);
