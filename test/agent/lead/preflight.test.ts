import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import { ControlView } from "../../../src/agent/control/control-view.ts";
import { lead } from "../../../src/agent/lead/lead.ts";
import { judge, Preflights } from "../../../src/agent/lead/preflight.ts";
import { readRecord, isRefused, type PlanRecord } from "../../../src/agent/control/records.ts";
import { thisMachine } from "../../../src/agent/machine.ts";
import { resolveOptions } from "../../../src/agent/resolve.ts";
import { answerPreflights, proofOf, type PreflightAnswer } from "../../../src/agent/server/preflight-stub.ts";
import { Volunteer } from "../../../src/agent/server/volunteer.ts";
import type { EtcdClient } from "../../../src/etcd/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";
import { eventually } from "../../support/eventually.ts";
import { freePorts } from "../../support/ports.ts";
import { agentRecord, leading, silent } from "./leader.ts";
import { entry, keys, lookOf, rows } from "./rows.ts";

describe("judge()", () => {
  const nonce = "0".repeat(32);
  const GiB = 1024 ** 3;
  const asked = { host: "h4", url: "http://h4:2380", nonce, secret: "s4", dbSize: 100 * 1024 ** 2, silent: new Set<string>() };
  const good: PreflightAnswer = { hostname: "h4", proof: proofOf("s4", nonce), etcd: "3.5.30", freeBytes: GiB, unreachable: [] };
  const is = (
    change: Partial<Record<keyof PreflightAnswer, unknown>>,
    question: Partial<typeof asked> = {},
  ): string | undefined => judge(JSON.stringify({ ...good, ...change }), { ...asked, ...question }).reason;

  test("the agent itself, with room for its data, passes", () => {
    expect(is({})).toBeUndefined();
    expect(is({ later: 1 } as never)).toBeUndefined();
  });

  test.each([
    "",
    "hello",
    "null",
    "[]",
    "{}",
    JSON.stringify({ ...good, unreachable: "none" }),
    JSON.stringify({ ...good, freeBytes: null }),
  ])("%j is nobody of ours", (text) => {
    expect(judge(text, asked).reason).toBe("what answers at http://h4:2380 is not its agent");
  });

  test.each<[string, Partial<PreflightAnswer>]>([
    ["another host", { hostname: "h5" }],
    ["the right name with another secret", { proof: proofOf("s5", nonce) }],
    ["the proof of an earlier nonce", { proof: proofOf("s4", "1".repeat(32)) }],
    ["no proof", { proof: "" }],
  ])("%s is another agent", (_what, change) => {
    expect(is(change)).toMatch(/^what answers at http:\/\/h4:2380 is another agent/);
  });

  test("who dies does not take with it those that could replace it: a silent voter need not be reached, all others must", () => {
    const unreachable = ["http://h1:2380 cannot be reached: connection refused"];
    const silent = new Set(["http://h1:2380", "http://h2:2380"]);
    const text = (more: readonly string[]): string => JSON.stringify({ ...good, unreachable: [...unreachable, ...more] });
    expect(judge(text([]), { ...asked, silent })).toEqual({ reason: undefined, spared: ["http://h1:2380"] });
    expect(judge(text(["http://h3:2380 cannot be reached: no route"]), { ...asked, silent }).reason).toBe(
      "from h4, http://h3:2380 cannot be reached: no route",
    );
    // One that answers here and is another's does not become good by being silent, nor does one with a longer name.
    expect(is({ unreachable: ["http://h1:2380 is not an etcd"] }, { silent })).toBe("from h4, http://h1:2380 is not an etcd");
    expect(is({ unreachable: ["http://h1:23801 cannot be reached: x"] }, { silent })).toMatch("http://h1:23801");
  });

  test("a voter that it does not reach is named", () => {
    expect(is({ unreachable: ["http://h1:2380 cannot be reached: no route", "x"] })).toBe(
      "from h4, http://h1:2380 cannot be reached: no route",
    );
  });

  test("its disk must hold two write-ahead logs and twice the database", () => {
    const MiB = 1024 ** 2;
    expect(is({ freeBytes: 200 * MiB })).toBeUndefined();
    expect(is({ freeBytes: 199 * MiB })).toMatch(/199 MiB free, 200 MiB are needed/);
    expect(is({ freeBytes: 160 * MiB }, { dbSize: 0 })).toBeUndefined();
    expect(is({ freeBytes: 159 * MiB }, { dbSize: 0 })).toMatch(/159 MiB free, 160 MiB are needed/);
  });
});

describe("a leader and its volunteers", () => {
  interface Led {
    readonly client: EtcdClient;
    readonly view: ControlView;
    readonly keys: ReturnType<typeof resolveOptions>["keys"];
    /** Every list of URLs that was handed to MemberAdd. */
    readonly added: string[][];
    readonly signal: AbortSignal;
    plan(): PlanRecord | undefined;
    volunteers(host: string, n: number, url: string): Promise<void>;
  }

  async function leads(): Promise<Led> {
    const etcd = await startEtcd(1);
    onTestFinished(() => etcd.stop());
    const { client, keys, leadership } = await leading(etcd.urls);
    const added: string[][] = [];
    const counting = Object.create(client, {
      addLearner: {
        value: (urls: readonly string[], options: object) => {
          added.push([...urls]);
          return client.addLearner(urls, options);
        },
      },
    }) as EtcdClient;
    const options = resolveOptions({
      hostname: "h1",
      namespace: keys.namespace,
      idealClusterSize: 3,
      sessionTtlMs: 2_000,
      tmpPrefix: true,
    });
    const view = new ControlView(keys);
    const over = new AbortController();
    const parts = [
      view.follow(client, { clock, log: silent }, over.signal),
      lead({ machine: thisMachine, client: counting, keys, clock, log: silent, view, options }, leadership, over.signal),
    ];
    for (const part of parts) part.catch(() => undefined);
    onTestFinished(async () => {
      over.abort(new Error("the test is over"));
      await Promise.allSettled(parts);
    });
    return {
      client,
      view,
      keys,
      added,
      signal: over.signal,
      plan: () => {
        const value = view.get(keys.plan)?.value;
        const record = value === undefined ? undefined : readRecord("planRecord", value);
        return record && !isRefused(record) ? record : undefined;
      },
      volunteers: async (host, n, url) => {
        await client.put(keys.agents.key(host), agentRecord(n));
        await client.put(keys.volunteer.key(host), url);
      },
    };
  }

  async function web(body: string): Promise<string> {
    const server = createServer((_request, response) => response.end(body));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  test("a URL that is not the volunteer's own never reaches the cluster, and a good volunteer gets its seat all the same", async () => {
    const led = await leads();
    const [closed, stolen, own] = (await freePorts(3)).map((port) => `http://127.0.0.1:${port}`) as [string, string, string];
    const thief = await answerPreflights([stolen], async (nonce) => ({
      hostname: "h4",
      proof: proofOf("secret 9", nonce),
      etcd: "3.5.30",
      freeBytes: 1e12,
      unreachable: [],
    }));
    onTestFinished(() => thief.close());
    await led.volunteers("h2", 2, closed);
    await led.volunteers("h3", 3, await web("hello"));
    await led.volunteers("h4", 4, stolen);
    await led.volunteers("h5", 5, `http://user:password@127.0.0.1:${new URL(own).port}`);
    const refused = await eventually(
      "every one of them has failed",
      () => {
        const blocked = led.plan()?.blockedBy ?? "";
        return ["h2", "h3", "h4"].every((host) => blocked.includes(`${host} failed the pre-flight`)) && led.plan();
      },
      20_000,
    );
    expect(refused.blockedBy).toContain(`${closed} does not answer`);
    expect(refused.blockedBy).toContain("is not its agent");
    expect(refused.blockedBy).toContain(`${stolen} is another agent (h4)`);
    expect(refused.notices.join()).toMatch(/volunteer\/h5.*not of the form/);
    expect(led.added).toEqual([]);

    const options = resolveOptions({ hostname: "h6", namespace: led.keys.namespace, serverUrls: [own], tmpPrefix: true });
    const volunteer = new Volunteer(
      {
        machine: thisMachine,
        options,
        view: led.view,
        clock,
        log: silent,
        folder: await temporaryFolder(),
        etcdVersion: "3.5.30",
        portsInUse: () => false,
        onProblem: () => undefined,
      },
      "secret 6",
    );
    const running = volunteer.run(led.signal).catch(() => undefined);
    await led.volunteers("h6", 6, own);
    await eventually("the good one is added", () => led.added.length > 0, 20_000);
    expect(led.added).toEqual([[own]]);
    expect((await led.client.readMembership()).members.map((row) => row.peerUrls.join())).toContain(own);
    await volunteer.freePorts();
    void running;
  });

  test("an agent whose former server still runs is not proved before that is gone: its seat would be for data that goes", async () => {
    const led = await leads();
    const [own] = (await freePorts(1)).map((port) => `http://127.0.0.1:${port}`) as [string];
    const asked: string[] = [];
    const stub = await answerPreflights([own], async (nonce) => {
      asked.push(nonce);
      return { hostname: "h2", proof: proofOf("secret 2", nonce), etcd: "3.5.30", freeBytes: 1e12, unreachable: [] };
    });
    onTestFinished(() => stub.close());
    await led.client.put(led.keys.agents.key("h2"), agentRecord(2, { server: "serving", member: "abc" }));
    await led.client.put(led.keys.volunteer.key("h2"), own);
    await eventually("the leader waits for it", () => led.plan()?.because.includes("h2"));
    expect(asked).toEqual([]);
    const problem = "the data folder holds data of another server";
    await led.client.put(led.keys.agents.key("h2"), agentRecord(2, { server: "lost-data", problem }));
    await eventually("that is said, and waited for no more", () =>
      led.plan()?.blockedBy?.includes(`h2 failed the pre-flight: ${problem}`),
    );
    expect(asked).toEqual([]);
    await led.client.put(led.keys.agents.key("h2"), agentRecord(2));
    await eventually("it is asked, and added", () => led.added.length === 1);
    expect(asked).toHaveLength(1);
  });

  test("a nonce that takes the place of another is answered too, as one leader follows the other", async () => {
    const etcd = await startEtcd(1);
    onTestFinished(() => etcd.stop());
    const { client, keys } = await leading(etcd.urls);
    const view = new ControlView(keys);
    const over = new AbortController();
    const [own] = (await freePorts(1)).map((port) => `http://127.0.0.1:${port}`) as [string];
    let serverRuns = false;
    const volunteer = new Volunteer(
      {
        machine: thisMachine,
        options: resolveOptions({ hostname: "h6", namespace: keys.namespace, serverUrls: [own], tmpPrefix: true }),
        view,
        clock,
        log: silent,
        folder: await temporaryFolder(),
        etcdVersion: "3.5.30",
        portsInUse: () => serverRuns,
        onProblem: () => undefined,
      },
      "secret 6",
    );
    const parts = [view.follow(client, { clock, log: silent }, over.signal), volunteer.run(over.signal)];
    onTestFinished(async () => {
      over.abort(new Error("the test is over"));
      await Promise.allSettled(parts);
    });
    const answers = async (nonce: string): Promise<boolean> => {
      const response = await fetch(`${own}/quorate/preflight?nonce=${nonce}`).catch(() => undefined);
      if (response?.status !== 200) return false;
      return ((await response.json()) as PreflightAnswer).proof === proofOf("secret 6", nonce);
    };
    const [first, second, third] = ["a", "b", "c"].map((letter) => letter.repeat(32)) as [string, string, string];
    const write = (nonce: string): Promise<unknown> => client.put(keys.preflight.key("h6"), JSON.stringify({ nonce }));
    await write(first);
    await eventually("the first is answered", () => answers(first));
    await write(second);
    await eventually("the second is answered", () => answers(second));
    expect(await answers(first)).toBe(false);
    await client.del(keys.preflight.key("h6"));
    await eventually(
      "nothing listens once it is taken back",
      async () =>
        !(await fetch(own).then(
          () => true,
          () => false,
        )),
    );

    serverRuns = true;
    await write(third);
    await eventually("the view has it", () => view.get(keys.preflight.key("h6"))?.value.includes(third));
    await clock.sleep(100, over.signal);
    expect(
      await fetch(own).then(
        () => true,
        () => false,
      ),
    ).toBe(false);
  });
});

describe("an agent that reports lost data", () => {
  const at = { nowMs: 0 };
  const preflights = new Preflights({ clock: { ...clock, nowMs: () => at.nowMs } } as ConstructorParameters<
    typeof Preflights
  >[0]);
  const verdict = (members: string, member: string | undefined, nowMs: number): string => {
    at.nowMs = nowMs;
    const record = agentRecord(2, { server: "lost-data", ...(member === undefined ? {} : { member }) });
    return preflights.of("h2", lookOf(rows(members), entry(keys.agents.key("h2"), record))).state;
  };

  test("of the seat it has, or of data it knows nothing of, has a verdict: nobody waits for it", () => {
    expect(verdict("aa bb", "bb", 0)).toBe("failed");
    expect(verdict("aa bb", undefined, 0)).toBe("failed");
  });

  test("of a seat that was removed a moment ago has none before it has heard of that: nobody else loses a seat meanwhile", () => {
    expect(verdict("aa", "bb", 1_000)).toBe("pending");
    expect(verdict("aa", "bb", 15_999)).toBe("pending");
    expect(verdict("aa", "bb", 16_000)).toBe("failed");
    expect(verdict("aa", "cc", 20_000)).toBe("pending");
    expect(verdict("aa cc", "cc", 30_000)).toBe("failed");
    expect(verdict("aa", "cc", 40_000)).toBe("pending");
  });
});
