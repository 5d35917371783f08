import { describe, expect, test } from "vitest";
import { systemClock, type Clock } from "../../../src/clock.ts";
import { ControlView } from "../../../src/agent/control/control-view.ts";
import {
  anotherStands,
  noRoundMs,
  RoundWatch,
  StandBack,
  StandsBack,
  unreachableMs,
  whyBlind,
} from "../../../src/agent/lead/stand-back.ts";
import type { MemberSeen } from "../../../src/chooser/index.ts";
import { EtcdClient } from "../../../src/etcd/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { leading, never, silent } from "./leader.ts";
import { keys } from "./rows.ts";

function seen(id: string, more: Partial<MemberSeen> = {}): MemberSeen {
  return {
    id,
    agent: `agent-${id}`,
    role: "voter",
    started: true,
    raftLeader: false,
    answers: false,
    heard: true,
    healthyForMs: 0,
    unansweredForMs: unreachableMs,
    knownForMs: 60_000,
    lag: undefined,
    stalledForMs: 0,
    agentLive: true,
    report: undefined,
    zone: "",
    priority: 0,
    sinceRevision: 1,
    ...more,
  };
}

const nobody = (): boolean => false;

describe("a leader is blind", () => {
  test("once a voter that the raft leader hears has not answered it for 10 s", () => {
    expect(whyBlind([seen("v1"), seen("v2")], (id) => id === "v2")).toBe("it cannot reach agent-v1, which the raft leader hears");
    expect(whyBlind([seen("v1", { unansweredForMs: unreachableMs - 1 })], nobody)).toBeUndefined();
  });

  test("once the raft leader has not answered it for 10 s: what that hears cannot be known then", () => {
    const why = "it cannot reach the raft leader agent-v1, which the others follow";
    expect(
      whyBlind([seen("v1", { raftLeader: true, heard: undefined }), seen("v2", { heard: undefined })], (id) => id === "v2"),
    ).toBe(why);
  });

  test.each<[string, Partial<MemberSeen>]>([
    ["a voter that is dead: the raft leader does not hear it either", { heard: false }],
    ["a voter of which nobody knows", { heard: undefined }],
    ["a learner, which others may not reach either", { role: "learner" }],
  ])("not for %s", (_what, more) => {
    expect(whyBlind([seen("v1", more)], nobody)).toBeUndefined();
  });
});

/** Time that passes only where somebody waits for it. */
class QuickClock implements Clock {
  #nowMs = 0;
  nowMs = (): number => this.#nowMs;
  wallTime = (): Date => systemClock.wallTime();
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#nowMs += ms;
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
}

describe("a leader that finishes no round", () => {
  test("for 30 s lets another one lead, and not before", async () => {
    const clock = new QuickClock();
    const watch = new RoundWatch(clock, () => true);
    await clock.sleep(20_000, never);
    watch.finished();
    await expect(watch.run(never)).rejects.toThrow(new StandsBack("it finished no round in 30 s"));
    expect(clock.nowMs()).toBe(20_000 + noRoundMs);
  });

  test("goes on while nobody else stands for election", async () => {
    const clock = new QuickClock();
    const watch = new RoundWatch(clock, () => clock.nowMs() >= 300_000);
    await expect(watch.run(never)).rejects.toBeInstanceOf(StandsBack);
    expect(clock.nowMs()).toBe(300_000);
  });
});

describe("an agent that stood back", () => {
  test("does not stand again for 60 s, and longer each time; at once where nobody else stands", async () => {
    await using etcd = await startEtcd(1);
    const first = await leading(etcd.urls, keys);
    const view = new ControlView(keys);
    const over = new AbortController();
    await using client = EtcdClient.create({ endpoints: etcd.urls, clock: systemClock });
    const following = view.follow(client, { clock: systemClock, log: silent }, over.signal).catch(() => undefined);
    await view.until(() => view.complete, never);
    expect(anotherStands(view, keys, "h1")).toBe(false);

    // The other one is elected as soon as the first has let go.
    await client.put(`${keys.leader.prefix}abc`, "h2");
    await view.until(() => anotherStands(view, keys, "h1"), never);
    const clock = new QuickClock();
    const back = new StandBack(clock);
    await back.over(view, keys, "h1", never);
    expect(clock.nowMs()).toBe(0);
    expect(await back.begin({ client, leadership: first.leadership }, never)).toBe(60_000);
    expect((await client.get(first.leadership.key)).entry).toBeUndefined();
    expect(first.leadership.signal.aborted).toBe(true);
    await back.over(view, keys, "h1", never);
    expect(clock.nowMs()).toBe(60_000);
    expect(await back.begin({ client, leadership: first.leadership }, never)).toBe(120_000);

    // Real time from here: it does not wait for it.
    const real = new StandBack(systemClock);
    await real.begin({ client, leadership: first.leadership }, never);
    const standing = real.over(view, keys, "h1", never);
    await client.del(`${keys.leader.prefix}abc`);
    await standing;
    over.abort(new Error("over"));
    await following;
  });
});
