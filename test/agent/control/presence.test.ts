import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { aborted, systemClock as clock } from "../../../src/clock.ts";
import { QuorateError } from "../../../src/errors.ts";
import { ControlView } from "../../../src/agent/control/control-view.ts";
import { Presence, type Appearance } from "../../../src/agent/control/presence.ts";
import { readRecord, type AgentRecord } from "../../../src/agent/control/records.ts";
import { EtcdClient, Session } from "../../../src/etcd/index.ts";
import { keysUnder, type Keys } from "../../../src/keys.ts";
import { ask } from "../../support/etcd-server.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import { FaultyProxy } from "../../support/proxy.ts";
import { agentRecord, silent } from "../lead/leader.ts";
import { uuid } from "../lead/rows.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

let namespaces = 0;

function appearance(n: number, more: Partial<Appearance> = {}): Appearance {
  const record = readRecord("agentRecord", agentRecord(n)) as AgentRecord;
  return { record, volunteer: "http://h1:2380", endpoints: undefined, leaving: undefined, converged: undefined, ...more };
}

interface Reach {
  readonly ttlMs: number;
  readonly endpoints: readonly string[];
}

/** An agent's presence, running, with what can be seen of it in etcd. */
class Shown {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly presence: Presence;
  /** Settles when it ends, with what ended it. */
  readonly ended: Promise<unknown>;
  /** One for each session it had. */
  readonly sessions: Session[] = [];
  /** What it warned of. */
  readonly warnings: string[] = [];
  /** How often it tries again to write what it shows, on the same session. */
  triesAgain = 0;
  readonly #over = new AbortController();

  constructor(keys: Keys, first: Appearance, { ttlMs = 2_000, endpoints = etcd.urls }: Partial<Reach> = {}) {
    this.keys = keys;
    this.client = EtcdClient.create({ endpoints, clock });
    const view = new ControlView(keys);
    const { client } = this;
    const said = (line: string): void => {
      const { level, msg } = JSON.parse(line) as { level: number; msg: string };
      if (level >= 40) this.warnings.push(msg);
      if (msg.includes("could not be written; trying again")) this.triesAgain++;
    };
    const log = pino({ level: "debug" }, { write: said });
    this.presence = new Presence({ client, keys, hostname: "h1", clock, log, view, ttlMs }, first);
    const following = view.follow(client, { clock, log: silent }, this.#over.signal).catch(() => undefined);
    const during = (session: Session, signal: AbortSignal): Promise<never> => {
      this.sessions.push(session);
      return aborted(signal);
    };
    this.ended = this.presence.run(during, this.#over.signal).catch((error: unknown) => error);
    onTestFinished(async () => {
      await this.stop();
      await following;
      await client.close();
    });
  }

  async stop(): Promise<unknown> {
    this.#over.abort(new Error("stopped"));
    return this.ended;
  }

  async value(key: string): Promise<string | undefined> {
    return (await this.client.get(key)).entry?.value;
  }

  async all(): Promise<Record<string, string>> {
    const { entries } = await this.client.range({ start: `${this.keys.namespace}/`, end: `${this.keys.namespace}0` });
    return Object.fromEntries(entries.map(({ key, value }) => [key.slice(this.keys.namespace.length), value]));
  }

  /** Until these are the keys, and no others; `undefined` in place of a value means any. */
  async shows(wanted: Readonly<Record<string, string | undefined>>, withinMs = 5_000): Promise<void> {
    await eventually(
      `the keys are ${Object.keys(wanted).join()}`,
      async () => {
        const all = await this.all();
        const names = Object.keys(wanted);
        return (
          names.length === Object.keys(all).length &&
          names.every((name) => name in all && (wanted[name] ?? all[name]) === all[name])
        );
      },
      withinMs,
    );
  }
}

function shown(first = appearance(1), keys = keysUnder(`/presence${++namespaces}`), reach?: Partial<Reach>): Shown {
  return new Shown(keys, first, reach);
}

const own = { "/quorate/agents/h1": undefined, "/volunteer/h1": "http://h1:2380" };

test("what is shown is in etcd, on the session's lease, and gone with it at once", async () => {
  const agent = shown();
  await agent.shows(own);
  await eventually("it knows that all is written", () => agent.presence.written);
  const lease = agent.sessions[0]?.lease;
  for (const name of Object.keys(own)) expect((await agent.client.get(agent.keys.namespace + name)).entry?.lease).toBe(lease);
  await agent.stop();
  await agent.shows({}, 1_000);
});

test("it follows show(): keys come, change and go, and the record with them", async () => {
  const agent = shown();
  await agent.shows(own);
  agent.presence.show({ endpoints: "http://h1:2379", record: { server: "serving", member: "abc" } });
  await agent.shows({ ...own, "/endpoints/h1": "http://h1:2379" });
  const record = readRecord("agentRecord", (await agent.value(agent.keys.agents.key("h1"))) ?? "");
  expect(record).toMatchObject({ server: "serving", member: "abc", identity: uuid(1) });
  agent.presence.show({ volunteer: undefined, endpoints: undefined, leaving: "asked to leave", record: { member: undefined } });
  await agent.shows({ "/quorate/agents/h1": undefined, "/quorate/leaving/h1": '{"reason":"asked to leave"}' });
  expect(readRecord("agentRecord", (await agent.value(agent.keys.agents.key("h1"))) ?? "")).not.toHaveProperty("member");
});

test("what is shown before the first key is written, and while it is, is written as well", async () => {
  const agent = shown();
  for (let i = 0; i < 50; i++) {
    agent.presence.show({ record: { server: "starting", problem: `${i}` } });
    await clock.sleep(1, new AbortController().signal);
  }
  await eventually("the last word is there", async () =>
    (await agent.value(agent.keys.agents.key("h1")))?.includes('"problem":"49"'),
  );
});

test("the whole namespace deleted, its keys are back while its lease lives", async () => {
  const agent = shown(appearance(1, { endpoints: "http://h1:2379", leaving: "x" }));
  const wanted = { ...own, "/endpoints/h1": undefined, "/quorate/leaving/h1": undefined };
  await agent.shows(wanted);
  const { namespace } = agent.keys;
  await agent.client.txn({ then: [{ del: `${namespace}/`, end: `${namespace}0` }] });
  // The volunteer key is in no watch: it is looked after once per session time, 10 s at least.
  await agent.shows(wanted, 14_000);
  expect(agent.sessions).toHaveLength(1);
});

test("a write that fails costs no session: it is tried again while that lives", async () => {
  await using proxy = await FaultyProxy.start(etcd.urls[0] ?? "");
  const agent = shown(appearance(1), undefined, { ttlMs: 30_000, endpoints: [proxy.url] });
  await eventually("it knows that all is written", () => agent.presence.written);
  proxy.stall();
  agent.presence.show({ endpoints: "http://h1:2379" });
  await eventually("a write was given up", () => agent.triesAgain > 0);
  proxy.heal();
  await eventually("it is written", () => agent.presence.written, 15_000);
  expect(await agent.value(agent.keys.endpoints.key("h1"))).toBe("http://h1:2379");
  expect(agent.sessions).toHaveLength(1);
  expect(agent.warnings).toEqual([]);
});

test("a session whose lease is revoked is followed by another one, and every key is back on its lease", async () => {
  const agent = shown(appearance(1, { endpoints: "http://h1:2379" }));
  const wanted = { ...own, "/endpoints/h1": undefined };
  await agent.shows(wanted);
  const [first] = agent.sessions;
  await ask(etcd.urls[0] ?? "", "lease/revoke", { ID: first?.lease });
  await eventually("a second session", () => agent.sessions[1]);
  await agent.shows(wanted);
  expect(agent.sessions[1]?.lease).not.toBe(first?.lease);
  expect(first?.signal.aborted).toBe(true);
  for (const name of Object.keys(wanted)) {
    expect((await agent.client.get(agent.keys.namespace + name)).entry?.lease).toBe(agent.sessions[1]?.lease);
  }
});

describe("a hostname that is taken", () => {
  test("by another agent that lives: refused after that one's lease had its time, and the other is unharmed", async () => {
    const keys = keysUnder(`/presence${++namespaces}`);
    const one = shown(appearance(1), keys);
    await one.shows(own);
    const startMs = performance.now();
    // The newcomer's own session is of no interest.
    const error = await new Shown(keys, appearance(2), { ttlMs: 60_000 }).ended;
    expect(error).toBeInstanceOf(QuorateError);
    expect(error).toMatchObject({
      code: "DUPLICATE_HOSTNAME",
      exitCode: 6,
      hint: expect.stringContaining("--hostname") as string,
    });
    expect((error as QuorateError).message).toContain(uuid(1));
    expect(performance.now() - startMs).toBeGreaterThan(3_900);
    expect(performance.now() - startMs).toBeLessThan(8_000);
    expect(one.sessions).toHaveLength(1);
    expect(await one.value(keys.agents.key("h1"))).toContain(uuid(1));
  });

  test("by the same agent before a crash: taken over at once", async () => {
    const keys = keysUnder(`/presence${++namespaces}`);
    const client = EtcdClient.create({ endpoints: etcd.urls, clock });
    onTestFinished(() => client.close());
    const before = await Session.open(client, { ttlMs: 60_000, clock }, new AbortController().signal);
    onTestFinished(() => before.close());
    await client.txn({
      then: [
        { put: keys.agents.key("h1"), value: agentRecord(1), lease: before.lease },
        { put: keys.volunteer.key("h1"), value: "http://old:1", lease: before.lease },
      ],
    });
    const startMs = performance.now();
    const agent = shown(appearance(1), keys);
    await agent.shows(own);
    expect(performance.now() - startMs).toBeLessThan(3_000);
    await before.close();
    await agent.shows(own);
  });

  test("by one that is back on a new lease meanwhile: refused at once", async () => {
    const keys = keysUnder(`/presence${++namespaces}`);
    const client = EtcdClient.create({ endpoints: etcd.urls, clock });
    onTestFinished(() => client.close());
    const leases = [1, 2].map(() => Session.open(client, { ttlMs: 60_000, clock }, new AbortController().signal));
    const [first, second] = (await Promise.all(leases)) as [Session, Session];
    onTestFinished(async () => {
      await Promise.all([first.close(), second.close()]);
    });
    await client.put(keys.agents.key("h1"), agentRecord(2), { lease: first.lease });
    const newcomer = shown(appearance(1), keys);
    await eventually("the newcomer waits", () =>
      newcomer.warnings.some((msg) => msg.includes("waiting for its lease to expire")),
    );
    await client.put(keys.agents.key("h1"), agentRecord(2), { lease: second.lease });
    expect(await newcomer.ended).toMatchObject({ code: "DUPLICATE_HOSTNAME" });
  });

  test("by one whose lease runs out, however short the newcomer's own is: taken over then", async () => {
    const keys = keysUnder(`/presence${++namespaces}`);
    const client = EtcdClient.create({ endpoints: etcd.urls, clock });
    const gone = await Session.open(client, { ttlMs: 5_000, clock }, new AbortController().signal);
    await client.put(keys.agents.key("h1"), agentRecord(2), { lease: gone.lease });
    await client.close();
    await shown(appearance(1), keys).shows(own, 12_000);
  });

  test.each([
    ["a key that nobody's lease holds", agentRecord(2)],
    ["junk", "junk"],
  ])("by %s: nobody is behind it, so it is taken over at once", async (_what, value) => {
    const keys = keysUnder(`/presence${++namespaces}`);
    const client = EtcdClient.create({ endpoints: etcd.urls, clock });
    onTestFinished(() => client.close());
    await client.put(keys.agents.key("h1"), value);
    await shown(appearance(1), keys).shows(own, 3_000);
  });
});
