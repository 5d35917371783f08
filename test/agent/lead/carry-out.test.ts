import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Step } from "../../../src/chooser/decision.ts";
import type { OpenStep } from "../../../src/chooser/snapshot.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { QuorateError } from "../../../src/errors.ts";
import type { EtcdClient, MemberRow, Op } from "../../../src/etcd/index.ts";
import { carryOut, type CarryOutDeps, type Outcome } from "../../../src/agent/lead/carry-out.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { readRecord, writeRecord, type SeatRecord, type StepRecord } from "../../../src/agent/control/records.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { freePorts } from "../../support/ports.ts";
import { agentRecord, leading, never, see, silent, unaware, type Leading, type Seen } from "./leader.ts";
import { uuid } from "./rows.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1, { flags: ["--strict-reconfig-check=false"] });
});
afterAll(() => etcd.stop());

const done = { done: true };

/** One leader, one volunteer h2 that nobody has nominated, and what can be asked of them. */
class Scene {
  readonly leader: Leading;
  readonly peerUrl: string;

  private constructor(leader: Leading, peerUrl: string) {
    this.leader = leader;
    this.peerUrl = peerUrl;
  }

  static async open(): Promise<Scene> {
    const leader = await leading(etcd.urls);
    const [port] = await freePorts(1);
    const scene = new Scene(leader, `http://127.0.0.1:${port}`);
    const { client, keys } = leader;
    await client.put(keys.agents.key("h2"), agentRecord(2));
    await client.put(keys.volunteer.key("h2"), scene.peerUrl);
    onTestFinished(async () => {
      for (const row of (await scene.rows()).slice(1)) await client.removeMember(row.id);
    });
    return scene;
  }

  async step(step: Step, more: { seen?: Seen; deps?: Partial<CarryOutDeps> } = {}): Promise<Outcome> {
    const events = new EventLog({ ...this.leader, clock, log: silent, leader: "h1" });
    const deps = { ...this.leader, clock, log: silent, events, passOverMs: 60_000, ...more.deps };
    return carryOut(deps, step, "because of the test", more.seen ?? (await see(this.leader)), never);
  }

  /** The one that serves first. */
  async rows(): Promise<readonly MemberRow[]> {
    return (await this.leader.client.readMembership()).members.toSorted((a, b) => Number(b.name !== "") - Number(a.name !== ""));
  }

  async value(key: string): Promise<string | undefined> {
    return (await this.leader.client.get(key)).entry?.value;
  }

  async seat(agent: string): Promise<SeatRecord | undefined> {
    const value = await this.value(this.leader.keys.seats.key(agent));
    return value === undefined ? undefined : (readRecord("seat", value) as SeatRecord);
  }

  async record(step: Omit<StepRecord, "schema" | "leaderRevision">): Promise<void> {
    await this.leader.client.put(this.leader.keys.step, writeRecord("step", { schema: 1, leaderRevision: 1, ...step }));
  }

  /** Nominated and added: a learner that never starts. Returns its id. */
  async withLearner(): Promise<string> {
    expect(await this.step({ kind: "nominate", agent: "h2", standby: false })).toEqual(done);
    expect(await this.step({ kind: "add-learner", agent: "h2" })).toEqual(done);
    const seat = await this.seat("h2");
    return seat?.member ?? "";
  }

  /** No record is open. */
  async nothingOpen(): Promise<void> {
    expect(await this.value(this.leader.keys.step)).toBeUndefined();
  }
}

/** The same client, of which one call behaves otherwise. */
function withCall<K extends "addLearner" | "removeMember" | "txn">(client: EtcdClient, name: K, call: EtcdClient[K]): EtcdClient {
  return Object.create(client, { [name]: { value: call } }) as EtcdClient;
}

const promote = (member: string): Step => ({ kind: "promote", agent: "h2", member });
const remove = (member: string, more: Partial<Extract<Step, { kind: "remove" }>> = {}): Step => ({
  kind: "remove",
  agent: "h2",
  member,
  cause: "failed-learner",
  passOver: false,
  ...more,
});

test("a removal is not recorded where its host has announced otherwise since it was looked at", async () => {
  const scene = await Scene.open();
  const member = await scene.withLearner();
  const { client, keys } = scene.leader;
  const isRecord = (op: Op): boolean => "put" in op && op.put === keys.step;
  let isAnnounced = false;
  const late = withCall(client, "txn", async (txn, options) => {
    if (!isAnnounced && txn.then.some(isRecord)) {
      isAnnounced = true;
      await client.put(keys.restarting.key("h2"), writeRecord("reason", { reason: "it is stopped" }));
    }
    return client.txn(txn, options);
  });
  await expect(scene.step(remove(member), { deps: { client: late } })).rejects.toMatchObject({
    code: "CONFLICT",
    message: "Cannot remove h2: what it has announced has changed meanwhile",
    retryable: true,
  });
  await scene.nothingOpen();
  expect((await scene.rows()).map(({ id }) => id)).toContain(member);
});

describe("nominations", () => {
  test("a nomination has the URLs and the instance of the volunteer, and an event tells why", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    expect(await scene.step({ kind: "nominate", agent: "h2", standby: true })).toEqual(done);
    expect(await scene.value(keys.nominated.key("h2"))).toBe(scene.peerUrl);
    expect(await scene.seat("h2")).toEqual({ schema: 1, instance: uuid(102), role: "learner", standby: true });
    const [event] = (await client.range(keys.events)).entries;
    expect(JSON.parse(event?.value ?? "")).toMatchObject({ step: "nominate", agent: "h2", because: "because of the test" });
    await scene.nothingOpen();
  });

  test("garbage in the place of a nomination is written over, and not when it has become a nomination meanwhile", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    const nominate = { kind: "nominate", agent: "h2", standby: false } as const;
    await client.put(keys.nominated.key("h2"), "banana");
    const seen = await see(scene.leader);
    await client.put(keys.nominated.key("h2"), "pear");
    expect(await scene.step(nominate, { seen })).toEqual({ held: "what the plan rests on has changed meanwhile" });
    expect(await scene.step(nominate)).toEqual(done);
    expect(await scene.value(keys.nominated.key("h2"))).toBe(scene.peerUrl);
  });

  test("it is written once, and only while the volunteer is as it was when it was planned", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    const seen = await see(scene.leader);
    await client.put(keys.volunteer.key("h2"), "http://127.0.0.1:1");
    const nominate = { kind: "nominate", agent: "h2", standby: false } as const;
    expect(await scene.step(nominate, { seen })).toEqual({ held: "what the plan rests on has changed meanwhile" });
    expect(await scene.value(keys.nominated.key("h2"))).toBeUndefined();
    expect(await scene.step(nominate)).toEqual(done);
    expect(await scene.step(nominate)).toEqual({ held: "what the plan rests on has changed meanwhile" });
    await client.del(keys.volunteer.key("h2"));
    expect(await scene.step(nominate)).toEqual({ held: "h2 does not volunteer any more" });
  });

  test("withdrawn, both of its keys are gone; to withdraw what is gone is no error", async () => {
    const scene = await Scene.open();
    const { keys } = scene.leader;
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    for (let i = 0; i < 2; i++) expect(await scene.step({ kind: "withdraw", agent: "h2" })).toEqual(done);
    expect(await scene.value(keys.nominated.key("h2"))).toBeUndefined();
    expect(await scene.seat("h2")).toBeUndefined();
  });

  test("a voter that lost its nomination has it again, from the member list", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    const [voter] = await scene.rows();
    await client.put(keys.agents.key("h1"), agentRecord(1));
    expect(await scene.step({ kind: "renominate", agent: "h1", member: voter?.id ?? "" })).toEqual(done);
    expect(await scene.seat("h1")).toMatchObject({ member: voter?.id, role: "voter", instance: uuid(101) });
    expect(await scene.value(keys.nominated.key("h1"))).toBe(voter?.peerUrls.join());
    expect(await scene.step({ kind: "renominate", agent: "h1", member: "dead" })).toEqual({ held: "member dead is gone" });
  });
});

describe("once another agent leads, the one before it can change nothing, even if it has not noticed", () => {
  async function replaced(): Promise<{ scene: Scene; deps: Partial<CarryOutDeps>; seen: Seen }> {
    const scene = await Scene.open();
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    const old = unaware(scene.leader.leadership);
    const seen = await see(scene.leader);
    await scene.leader.client.del(old.key);
    const next = await leading(etcd.urls, scene.leader.keys);
    expect(next.leadership.revision).toBeGreaterThan(old.revision);
    return { scene, deps: { leadership: old }, seen };
  }

  test("not nominate", async () => {
    const { scene, deps } = await replaced();
    const { client, keys } = scene.leader;
    await client.put(keys.agents.key("h3"), agentRecord(3));
    await client.put(keys.volunteer.key("h3"), "http://127.0.0.1:3");
    expect(await scene.step({ kind: "nominate", agent: "h3", standby: false }, { deps })).toHaveProperty("held");
    expect(await scene.seat("h3")).toBeUndefined();
  });

  test.each<[string, Step]>([
    ["withdraw", { kind: "withdraw", agent: "h2" }],
    ["renominate", { kind: "renominate", agent: "h2", member: "" }],
    ["add a learner", { kind: "add-learner", agent: "h2" }],
  ])("not %s", async (_what, step) => {
    const { scene, deps, seen } = await replaced();
    const before = await scene.seat("h2");
    const own = step.kind === "renominate" ? { ...step, member: seen.look.membership.members[0]?.id ?? "" } : step;
    await expect(scene.step(own, { deps, seen })).rejects.toMatchObject({ code: "LEADERSHIP_LOST", retryable: true });
    expect(await scene.seat("h2")).toEqual(before);
    expect(await scene.rows()).toHaveLength(1);
    await scene.nothingOpen();
  });

  test("nor what the other one has recorded", async () => {
    const { scene, deps, seen } = await replaced();
    await scene.record({ op: "remove", agent: "h2", member: "abc" });
    const step: Step = { kind: "add-learner", agent: "h2" };
    await expect(scene.step(step, { deps, seen })).rejects.toMatchObject({ code: "LEADERSHIP_LOST" });
    expect(await scene.rows()).toHaveLength(1);
    expect(readRecord("step", (await scene.value(scene.leader.keys.step)) ?? "")).toMatchObject({ member: "abc" });
  });

  test("nor close a record that stands as it was: the other one may be sending its call again", async () => {
    const { scene, deps } = await replaced();
    await scene.record({ op: "remove", agent: "h2", member: "abc" });
    const step: Step = { kind: "complete", send: false, op: "remove", agent: "h2", member: "abc" };
    await expect(scene.step(step, { deps })).rejects.toMatchObject({ code: "LEADERSHIP_LOST" });
    expect(readRecord("step", (await scene.value(scene.leader.keys.step)) ?? "")).toMatchObject({ member: "abc" });
  });

  test("and one that has noticed does not even ask", async () => {
    const scene = await Scene.open();
    await scene.leader.leadership.resign();
    await expect(scene.step({ kind: "withdraw", agent: "h2" })).rejects.toMatchObject({ code: "LEADERSHIP_LOST" });
  });
});

describe("member calls", () => {
  test("a learner is added with the volunteer's URLs, its seat knows its id, and no record is left", async () => {
    const scene = await Scene.open();
    const member = await scene.withLearner();
    expect((await scene.rows())[1]).toMatchObject({ id: member, learner: true, peerUrls: [scene.peerUrl], name: "" });
    expect(await scene.seat("h2")).toMatchObject({ member, role: "learner", instance: uuid(102) });
    await scene.nothingOpen();
  });

  test("removed for cause, the nomination is gone with it, and its agent is passed over for a while", async () => {
    const scene = await Scene.open();
    const member = await scene.withLearner();
    expect(await scene.step(remove(member, { passOver: true }))).toEqual(done);
    expect(await scene.rows()).toHaveLength(1);
    expect(await scene.seat("h2")).toBeUndefined();
    const passed = (await scene.leader.client.get(scene.leader.keys.passedOver.key("h2"))).entry;
    expect(passed?.value).toContain("because of the test");
    expect(passed?.lease).not.toBe("0");
    await scene.nothingOpen();
  });

  test("URLs that somebody else wrote into the nomination never reach the cluster", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    await client.put(keys.nominated.key("h2"), "http://192.0.2.66:6666");
    expect(await scene.step({ kind: "add-learner", agent: "h2" })).toEqual(done);
    expect((await scene.rows())[1]?.peerUrls).toEqual([scene.peerUrl]);
    expect(await scene.value(keys.nominated.key("h2"))).toBe(scene.peerUrl);
  });

  test("a volunteer that has other URLs by now, or none, is not added with those that were proved", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    const seen = await see(scene.leader);
    await client.put(keys.volunteer.key("h2"), "http://192.0.2.66:6666");
    const held = { held: "h2 does not volunteer any more with these URLs" };
    expect(await scene.step({ kind: "add-learner", agent: "h2" }, { seen })).toEqual(held);
    await client.del(keys.volunteer.key("h2"));
    expect(await scene.step({ kind: "add-learner", agent: "h2" }, { seen })).toEqual(held);
    expect(await scene.rows()).toHaveLength(1);
    await scene.nothingOpen();
  });

  test("what the gate holds back leaves no record behind: a learner that never started is not promoted", async () => {
    const scene = await Scene.open();
    const member = await scene.withLearner();
    expect(await scene.step(promote(member))).toEqual({ held: `member ${member} does not take part yet` });
    expect((await scene.rows())[1]).toMatchObject({ id: member, learner: true });
    await scene.nothingOpen();
  });

  test("the last voter is not removed", async () => {
    const scene = await Scene.open();
    const [voter] = await scene.rows();
    expect(await scene.step(remove(voter?.id ?? "", { cause: "surplus" }))).toEqual({ held: "no voter would be left" });
    await scene.nothingOpen();
  });

  test("what etcd refuses is a wait with etcd's own words, and leaves no record behind", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    await scene.withLearner();
    await client.put(keys.agents.key("h3"), agentRecord(3));
    await client.put(keys.volunteer.key("h3"), "http://127.0.0.1:3");
    await scene.step({ kind: "nominate", agent: "h3", standby: false });
    const outcome = await scene.step({ kind: "add-learner", agent: "h3" });
    expect(outcome).toEqual({ held: expect.stringMatching(/^etcd: .*too many learner/) as string });
    expect(await scene.rows()).toHaveLength(2);
    await scene.nothingOpen();
  });

  test("raft leadership that cannot be moved is a wait", async () => {
    const scene = await Scene.open();
    const [voter] = await scene.rows();
    const move = { kind: "move-leader", fromAgent: "h1", toAgent: "h2", to: "dead" } as const;
    expect(await scene.step({ ...move, from: voter?.id ?? "" })).toHaveProperty("held");
    expect(await scene.step({ ...move, from: "beef" })).toEqual({ held: "raft leader beef has no client URL" });
  });
});

describe("the second look refuses", () => {
  const cases: readonly (readonly [string, (scene: Scene) => Promise<unknown>, string])[] = [
    ["when the member list has changed", (s) => s.leader.client.addLearner([s.peerUrl]), "the member list has changed meanwhile"],
    [
      "when somebody paused the chooser",
      (s) => s.leader.client.put(s.leader.keys.paused, '{"reason":"x"}'),
      "the chooser was paused meanwhile",
    ],
    [
      "when the nomination is gone",
      (s) => s.leader.client.del(s.leader.keys.seats.key("h2")),
      "the nomination of h2 has changed meanwhile",
    ],
    [
      "when its agent leaves",
      (s) => s.leader.client.put(s.leader.keys.leaving.key("h2"), '{"reason":"x"}'),
      "h2 has changed its mind about leaving",
    ],
  ];
  test.each(cases)("%s", async (_what, change, held) => {
    const scene = await Scene.open();
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    const seen = await see(scene.leader);
    await change(scene);
    const before = await scene.rows();
    expect(await scene.step({ kind: "add-learner", agent: "h2" }, { seen })).toEqual({ held });
    expect(await scene.rows()).toEqual(before);
    await scene.nothingOpen();
  });
});

test("the second look refuses what was planned for another cluster", async () => {
  const scene = await Scene.open();
  await scene.step({ kind: "nominate", agent: "h2", standby: false });
  const seen = await see(scene.leader);
  const elsewhere = { ...seen, look: { ...seen.look, membership: { ...seen.look.membership, clusterId: "beef" } } };
  const held = "the cluster has changed";
  expect(await scene.step({ kind: "add-learner", agent: "h2" }, { seen: elsewhere })).toEqual({ held });
  expect(await scene.rows()).toHaveLength(1);
});

describe("a recorded step", () => {
  const complete = (op: OpenStep["op"], send: boolean, member?: string): Step => ({
    kind: "complete",
    op,
    agent: "h2",
    member,
    send,
  });

  test("whose call got no answer stays open, and is closed once a look shows that it has happened", async () => {
    const scene = await Scene.open();
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    const { client, keys, leadership } = scene.leader;
    const lossy = withCall(client, "addLearner", async (urls, options) => {
      await client.addLearner(urls, options);
      throw new QuorateError("DEADLINE", "Cannot add: no answer", { retryable: true, data: { outcome: "unknown" } });
    });
    expect(await scene.step({ kind: "add-learner", agent: "h2" }, { deps: { client: lossy } })).toHaveProperty("held");
    expect(readRecord("step", (await scene.value(keys.step)) ?? "")).toMatchObject({
      op: "add-learner",
      agent: "h2",
      peerUrls: [scene.peerUrl],
      leaderRevision: leadership.revision,
    });
    expect(await scene.seat("h2")).not.toHaveProperty("member");
    expect(await scene.step(complete("add-learner", false))).toEqual(done);
    expect(await scene.seat("h2")).toMatchObject({ member: (await scene.rows())[1]?.id, role: "learner" });
    await scene.nothingOpen();
  });

  test("that etcd refused while its raft leader changed stays open: the proposal may still land", async () => {
    const scene = await Scene.open();
    const member = await scene.withLearner();
    const refusing = withCall(scene.leader.client, "removeMember", async () => {
      const data = { reason: "leader changed", outcome: "unknown" };
      throw new QuorateError("ETCD_REFUSED", "Cannot remove: etcd refused it: leader changed", { retryable: true, data });
    });
    expect(await scene.step(remove(member), { deps: { client: refusing } })).toHaveProperty("held");
    expect(await scene.value(scene.leader.keys.step)).toContain(member);
    expect(await scene.step(complete("remove", true, member))).toEqual(done);
    expect(await scene.rows()).toHaveLength(1);
    await scene.nothingOpen();
  });

  test("of an earlier leader is sent again where the plan says so", async () => {
    const scene = await Scene.open();
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    await scene.record({ op: "add-learner", agent: "h2", peerUrls: [scene.peerUrl] });
    expect(await scene.step(complete("add-learner", true))).toEqual(done);
    expect((await scene.rows())[1]).toMatchObject({ peerUrls: [scene.peerUrl], learner: true });
    await scene.nothingOpen();
  });

  test("of a promotion stays open while the removal that is to make it impossible is held back or refused", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    const member = await scene.withLearner();
    await scene.record({ op: "promote", agent: "h2", member });
    const stillOpen = async (): Promise<void> =>
      expect(readRecord("step", (await scene.value(keys.step)) ?? "")).toMatchObject({
        op: "promote",
        member,
        leaderRevision: 1,
      });
    const data = { reason: "unhealthy cluster", outcome: "none" };
    const refusing = withCall(client, "removeMember", () =>
      Promise.reject(new QuorateError("ETCD_REFUSED", "Cannot remove", { retryable: true, data })),
    );
    expect(await scene.step(remove(member), { deps: { client: refusing } })).toEqual({
      held: "etcd: unhealthy cluster",
      strict: true,
    });
    await stillOpen();
    // The only voter may be one of two by then, of which the other never started.
    const [voter] = await scene.rows();
    expect(await scene.step(remove(voter?.id ?? "", { agent: undefined, cause: "surplus" }))).toHaveProperty("held");
    await stillOpen();
    expect(await scene.step(remove(member))).toEqual(done);
    expect(await scene.rows()).toHaveLength(1);
    await scene.nothingOpen();
  });

  test("that is to be sent again and has happened by then is closed, and nothing is sent", async () => {
    const scene = await Scene.open();
    const member = await scene.withLearner();
    await scene.leader.client.removeMember(member);
    await scene.record({ op: "remove", agent: "h2", member });
    // Sent again, etcd would refuse it, and the record would stay for ever.
    expect(await scene.step(complete("remove", true, member))).toEqual(done);
    expect(await scene.seat("h2")).toBeUndefined();
    await scene.nothingOpen();
  });

  test("that is only to be closed is closed, and nothing is sent", async () => {
    const scene = await Scene.open();
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    await scene.record({ op: "add-learner", agent: "h2", peerUrls: [scene.peerUrl] });
    expect(await scene.step(complete("add-learner", false))).toEqual(done);
    expect(await scene.rows()).toHaveLength(1);
    expect(await scene.step({ kind: "add-learner", agent: "h2" })).toEqual(done);
    const member = (await scene.rows())[1]?.id ?? "";
    await scene.record({ op: "remove", agent: "h2", member });
    expect(await scene.step(complete("remove", false, member))).toEqual(done);
    expect(await scene.rows()).toHaveLength(2);
    await scene.nothingOpen();
  });

  test("takes no later one along with it, however late its own end comes", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    await scene.record({ op: "remove", agent: "h2", member: "abc" });
    const late = Object.create(client, {
      txn: {
        value: async (...[txn, options]: Parameters<EtcdClient["txn"]>) => {
          if (txn.then.some((op) => "del" in op && op.del === keys.step))
            await scene.record({ op: "remove", agent: "h2", member: "def" });
          return client.txn(txn, options);
        },
      },
    }) as EtcdClient;
    const held = "the recorded step has changed meanwhile";
    expect(await scene.step(complete("remove", false, "abc"), { deps: { client: late } })).toEqual({ held });
    expect(readRecord("step", (await scene.value(keys.step)) ?? "")).toMatchObject({ member: "def" });
    expect(await scene.step(complete("remove", false, "def"))).toEqual(done);
  });

  test("comes late and finds a later one there: that one stays, and the call of the late one is not sent", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    const member = await scene.withLearner();
    const before = await scene.rows();
    let later = 0;
    const late = withCall(client, "txn", async (txn, options) => {
      const op = txn.then[0];
      if (op && "put" in op && op.put === keys.step && later++ === 0) await scene.record({ op: "promote", agent: "h2", member });
      return client.txn(txn, options);
    });
    await expect(scene.step(remove(member), { deps: { client: late } })).rejects.toMatchObject({ code: "LEADERSHIP_LOST" });
    expect(later).toBeGreaterThan(0);
    expect(readRecord("step", (await scene.value(keys.step)) ?? "")).toMatchObject({ op: "promote", member });
    expect(await scene.rows()).toEqual(before);
  });

  test("whose write was acknowledged only at the second try counts as written", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    const member = await scene.withLearner();
    let tries = 0;
    // The answer to the first try is lost: what comes back is the answer to the same txn sent again.
    const twice = withCall(client, "txn", async (txn, options) => {
      const op = txn.then[0];
      if (op && "put" in op && op.put === keys.step && tries++ === 0) await client.txn(txn, options);
      return client.txn(txn, options);
    });
    expect(await scene.step(remove(member), { deps: { client: twice } })).toEqual(done);
    expect(tries).toBeGreaterThan(0);
    expect(await scene.rows()).toHaveLength(1);
    await scene.nothingOpen();
  });

  test("that somebody wrote by hand brings no URL into the cluster that was not proved", async () => {
    const scene = await Scene.open();
    await scene.step({ kind: "nominate", agent: "h2", standby: false });
    await scene.record({ op: "add-learner", agent: "h2", peerUrls: ["http://192.0.2.66:6666"] });
    expect(await scene.step(complete("add-learner", true))).toEqual(done);
    expect(await scene.rows()).toHaveLength(1);
    await scene.nothingOpen();
  });

  test("of a removal that has happened takes the nomination with it, but not that of a newer seat", async () => {
    const scene = await Scene.open();
    const { keys, client } = scene.leader;
    const member = await scene.withLearner();
    await scene.record({ op: "remove", agent: "h2", member: "abc" });
    expect(await scene.step(complete("remove", false, "abc"))).toEqual(done);
    expect(await scene.seat("h2")).toMatchObject({ member });
    await client.removeMember(member);
    await scene.record({ op: "remove", agent: "h2", member });
    expect(await scene.step(complete("remove", false, member))).toEqual(done);
    expect(await scene.seat("h2")).toBeUndefined();
    expect(await scene.value(keys.nominated.key("h2"))).toBeUndefined();
    await scene.nothingOpen();
  });

  test("of a promotion that has happened makes the seat a voter's", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    const [voter] = await scene.rows();
    const member = voter?.id ?? "";
    await client.put(
      keys.seats.key("h2"),
      writeRecord("seat", { schema: 1, instance: uuid(102), member, role: "learner", standby: false }),
    );
    await scene.record({ op: "promote", agent: "h2", member });
    expect(await scene.step(complete("promote", false, member))).toEqual(done);
    expect(await scene.seat("h2")).toMatchObject({ role: "voter" });
    await scene.nothingOpen();
  });

  test("that is gone by now needs nothing; one that was written anew is looked at again", async () => {
    const scene = await Scene.open();
    expect(await scene.step(complete("remove", false, "abc"))).toEqual(done);
    await scene.record({ op: "remove", agent: "h2", member: "abc" });
    const seen = await see(scene.leader);
    await scene.record({ op: "promote", agent: "h2", member: "abc" });
    expect(await scene.step(complete("remove", false, "abc"), { seen })).toEqual({
      held: "the recorded step has changed meanwhile",
    });
    expect(await scene.value(scene.leader.keys.step)).toContain("promote");
  });
});
