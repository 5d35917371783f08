import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { writeRecord, type EventRecord } from "../../src/agent/control/records.ts";
import { eventLine, read } from "../../src/cli/events.ts";
import { painter } from "../../src/cli/output.ts";
import { systemClock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import { quorate } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";

const keys = keysUnder("/_mgmt");
const launcher = fileURLToPath(new URL("../../bin/quorate.js", import.meta.url));
let cluster: TestCluster;
let client: EtcdClient;
let endpoints = "";
beforeAll(async () => {
  cluster = await startEtcd(1);
  endpoints = `--endpoints=${cluster.urls.join(",")}`;
  client = EtcdClient.create({ endpoints: cluster.urls, clock: systemClock });
});
afterAll(async () => {
  await client.close();
  await cluster.stop();
});
beforeEach(async () => {
  await client.txn({ then: [{ del: "/_mgmt/", end: "/_mgmt0" }] });
});

const event = (n: number, more: Partial<EventRecord> = {}): EventRecord => ({
  schema: 1,
  step: "promote",
  agent: `h${n}`,
  what: `promoted h${n} to voter`,
  because: `learner h${n} is in sync`,
  leader: "h1",
  leaderRevision: 7,
  at: "2026-01-01T09:30:00.123Z",
  facts: { ideal: 3, members: [], spares: [], toleranceBefore: 0, toleranceAfter: 1 },
  ...more,
});

/** Written in the given order, which is that of their ids. */
async function write(...ns: number[]): Promise<void> {
  for (const n of ns) await client.put(keys.events.key(`${String(n).padStart(16, "0")}-000`), writeRecord("event", event(n)));
}

const whats = (out: string): string[] => out.match(/promoted h[0-9]+ to voter/g) ?? [];

describe("a line", () => {
  const paint = painter(false);
  const seen = { ...event(3), id: "1-000", revision: 112 };

  test("says when, by whom, what and why, and what it did to the tolerance", () => {
    expect(eventLine(seen, 6, paint)).toBe(
      "112       2026-01-01 09:30:00  h1      promoted h3 to voter: learner h3 is in sync (can lose 0 -> 1)",
    );
    const same = { ...seen, facts: { ...seen.facts!, toleranceAfter: 0 } };
    expect(eventLine(same, 6, paint)).toMatch(/: learner h3 is in sync$/);
    const lost = { ...seen, facts: { ...seen.facts!, toleranceBefore: -1 } };
    expect(eventLine(lost, 6, paint)).toMatch(/\(can lose no quorum -> 1\)$/);
  });

  test("that does not fit the terminal has the reason below", () => {
    expect(eventLine(seen, 6, paint, 80).split("\n")).toEqual([
      "112       2026-01-01 09:30:00  h1      promoted h3 to voter:",
      "          learner h3 is in sync (can lose 0 -> 1)",
    ]);
  });

  test("of what nobody can read says so", () => {
    const junk = { key: keys.events.key("x"), value: "\u001b[2J{", createRevision: 5, modRevision: 5, version: 1, lease: "0" };
    const line = eventLine(read(junk, keys), 6, paint);
    expect(line).toContain("unreadable event x: ");
    expect(line).not.toContain("\u001b");
  });
});

describe("events", () => {
  test("come in order, the newest last, with a title", async () => {
    await write(1, 2, 10, 11);
    const { code, out } = await quorate(`events ${endpoints}`);
    expect(code).toBe(0);
    expect(out.split("\n")[0]).toMatch(/^REVISION +TIME \(UTC\) +LEADER +WHAT HAPPENED, AND WHY$/);
    expect(whats(out)).toEqual([1, 2, 10, 11].map((n) => `promoted h${n} to voter`));
  });

  test("-n has the newest only, also 0 and more than there are", async () => {
    await write(1, 2, 3);
    expect(whats((await quorate(`events -n 2 ${endpoints}`)).out)).toEqual(["promoted h2 to voter", "promoted h3 to voter"]);
    expect(whats((await quorate(`events -n 9 ${endpoints}`)).out)).toHaveLength(3);
    expect(await quorate(`events -n 0 -o json ${endpoints}`)).toMatchObject({ code: 0, out: "[]\n" });
  });

  test("for programs have every field, in JSON and YAML", async () => {
    await write(1, 2);
    const seen = JSON.parse((await quorate(`events -o json ${endpoints}`)).out) as object[];
    expect(seen).toHaveLength(2);
    expect(seen[0]).toMatchObject({
      id: "0000000000000001-000",
      revision: expect.any(Number) as number,
      step: "promote",
      agent: "h1",
      what: "promoted h1 to voter",
      because: "learner h1 is in sync",
      leader: "h1",
      facts: { ideal: 3, toleranceBefore: 0, toleranceAfter: 1 },
    });
    expect((await quorate(`events -o yaml ${endpoints}`)).out).toContain("step: promote\n");
  });

  test("that are none are said to be none", async () => {
    expect(await quorate(`events ${endpoints}`)).toEqual({ code: 0, out: "", err: "note: there are no events yet\n" });
  });

  test("more than one page of them come all, once each", async () => {
    const all = Array.from({ length: 450 }, (_, i) => i + 1);
    for (let at = 0; at < all.length; at += 90) {
      const then = all.slice(at, at + 90).map((n) => ({
        put: keys.events.key(`${String(n).padStart(16, "0")}-000`),
        value: writeRecord("event", event(n)),
      }));
      await client.txn({ then });
    }
    expect(whats((await quorate(`events ${endpoints}`)).out)).toEqual(all.map((n) => `promoted h${n} to voter`));
  });

  test("that others wrote neither end the command nor reach the terminal", async () => {
    await write(1);
    await client.put(keys.events.key("zz"), "\u001b[31mjunk");
    await client.put(`${keys.events.prefix}a/b`, writeRecord("event", event(2, { what: "\u001b[2Jx\ny" })));
    const { code, out } = await quorate(`events ${endpoints}`);
    expect(code).toBe(0);
    expect(out).toContain("unreadable event zz");
    expect(out).not.toContain("\u001b");
    expect(out.trimEnd().split("\n")).toHaveLength(4);
  });

  test.each([
    ["-n many", 'error: Cannot use --newest: "many" is not a whole number'],
    ["-n -1", 'error: Cannot use --newest: "-1" is not a whole number'],
    ["extra", "error: too many arguments for 'events'"],
  ])("`events %s` exits 2", async (flags, error) => {
    const { code, err } = await quorate(`events ${flags} ${endpoints}`);
    expect(err).toContain(error);
    expect(code).toBe(2);
  });

  test("of a cluster that does not answer are exit 3, with --follow too", async () => {
    const [port] = await freePorts(1);
    for (const argv of ["events", "events --follow"]) {
      expect((await quorate(`${argv} --endpoints=127.0.0.1:${port}`)).code).toBe(3);
    }
  });
});

describe("events --follow", () => {
  /** A process of its own: it is ended by a signal. */
  function follow(...more: string[]) {
    const child = spawn(process.execPath, [launcher, "events", "--follow", endpoints, ...more], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const said = { out: "", err: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (said.out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said.err += text));
    const exit = once(child, "exit");
    return {
      said,
      shows: (what: string) => eventually(`${what} in ${said.out}${said.err}`, () => said.out.includes(what), 20_000),
      async interrupt(): Promise<number | null> {
        child.kill("SIGINT");
        return ((await exit) as [number | null])[0];
      },
    };
  }

  test("shows what there is, then each new event once, and ends on ^C with 0", async () => {
    await write(1, 2);
    const following = follow("-n", "1");
    await following.shows("promoted h2 to voter");
    await write(3, 4);
    await following.shows("promoted h4 to voter");
    expect(whats(following.said.out)).toEqual([2, 3, 4].map((n) => `promoted h${n} to voter`));
    expect(await following.interrupt()).toBe(0);
    expect(following.said.err).toBe("");
  });

  test("goes on after the server was away, and misses nothing", async () => {
    await write(1);
    const following = follow();
    await following.shows("promoted h1 to voter");
    // What comes by the watch shows that it is there, so that its loss is one.
    await write(2);
    await following.shows("promoted h2 to voter");
    await cluster.nodes[0]!.stop();
    try {
      await eventually("the note", () => following.said.err.includes("the connection is lost"), 20_000);
    } finally {
      await cluster.nodes[0]!.restart();
    }
    await eventually(
      "it serves",
      () =>
        write(3)
          .then(() => true)
          .catch(() => false),
      20_000,
    );
    await following.shows("promoted h3 to voter");
    expect(whats(following.said.out)).toEqual([1, 2, 3].map((n) => `promoted h${n} to voter`));
    expect(await following.interrupt()).toBe(0);
  });

  test("in JSON is one document a line, and what is pruned meanwhile is no event", async () => {
    await write(1, 2);
    const following = follow("-o", "json");
    await following.shows('"agent":"h2"');
    await client.del(keys.events.key("0000000000000001-000"));
    // A leader that was not told that it had written it.
    await write(2);
    await write(3);
    await following.shows('"agent":"h3"');
    const lines = following.said.out.trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { agent: string }).agent)).toEqual(["h1", "h2", "h3"]);
    expect(await following.interrupt()).toBe(0);
  });
});
