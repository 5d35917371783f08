import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

async function open(): Promise<Fleet> {
  const fleet = await Fleet.open(undefined, undefined, "plain");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

describe("an etcd that Quorate did not start", { timeout: 60_000 }, () => {
  test("serves an agent without a server, which changes nothing in it but its own keys", async () => {
    const fleet = await open();
    const url = await fleet.plainEtcd("stranger");
    await fleet.put(url, "/their/key", "theirs");
    await fleet.put(url, "/_mgmt/strings/motd", "written by mgmt");
    const before = await dump(fleet, url);

    const agent = await (await fleet.start("h1", { seeds: [url], flags: ["--no-server"] })).ready();
    const during = await dump(fleet, url);
    const added = [...during.keys].filter(([key]) => !before.keys.has(key));
    expect(added.map(([key]) => key)).toEqual(["/_mgmt/converged/h1", "/_mgmt/quorate/agents/h1"]);
    expect(during.members).toEqual(before.members);
    for (const [key, value] of before.keys) expect(during.keys.get(key)).toEqual(value);
    expect(agent.etcdPid()).toBeUndefined();

    expect((await agent.interrupt()).code).toBe(0);
    expect(await dump(fleet, url)).toEqual(before);
  });

  test("is refused as a seed of an agent with a server, and is left as it was", async () => {
    const fleet = await open();
    const url = await fleet.plainEtcd("stranger");
    await fleet.put(url, "/their/key", "theirs");
    const before = await dump(fleet, url);

    const ended = await (await fleet.start("h1", { seeds: [url] })).end(30_000);
    expect(ended.code).toBe(6);
    expect(ended.stderr).toContain(`error: Cannot join through ${url}: that etcd was not started by Quorate`);
    expect(ended.stderr).toContain("hint: add --no-server to use it as it is, or --adopt to take it over");
    expect(await dump(fleet, url)).toEqual(before);
  });

  test("is taken over with --adopt, and its member is never removed", async () => {
    const fleet = await open();
    const url = await fleet.plainEtcd("stranger");
    await fleet.put(url, "/their/key", "theirs");
    const h1 = await fleet.start("h1", { seeds: [url], flags: ["--adopt", "--ideal-cluster-size=3"] });
    await h1.ready();
    const h2 = await fleet.start("h2", { seeds: [url] });
    await h2.ready();
    const grown = await fleet.settled(3, ["h1"]);
    expect(grown.map(({ name }) => name)).toEqual(["h1", "h2", "stranger"]);
    expect(await fleet.get("h1", "/their/key")).toBe("theirs");

    // The smallest size there is: only Quorate's own members may go.
    expect((await fleet.quorate("size", "1", `--endpoints=${url}`)).code).toBe(0);
    const notice = /member ([0-9a-f]+) was not added by Quorate and is never removed by it/;
    await eventually(
      "only the stranger's member is left",
      async () => (await fleet.members(url)).map(({ name }) => name).join() === "stranger",
      30_000,
    );
    const plan = await fleet.plan(url);
    expect(plan?.notices.join("\n")).toMatch(notice);
    expect(await fleet.get(url, "/their/key")).toBe("theirs");
    expect((await fleet.quorate("status", `--endpoints=${url}`)).stdout).toMatch(notice);
  });
});

describe("a cluster of Quorate's", { timeout: 60_000 }, () => {
  test("that is not the one a prefix belongs to is never joined: refused where its own does not answer", async () => {
    const fleet = await open();
    const [h1, h2] = await fleet.form(["h1", "h2"], 1);
    expect((await h2?.interrupt())?.code).toBe(0);
    await fleet.form(["x1"]);

    const again = await (await fleet.start("h2", { seeds: ["x1"] })).ready();
    await again.line("an endpoint belongs to another cluster");
    expect((await again.interrupt()).code).toBe(0);

    await h1?.kill();
    const ended = await (await fleet.start("h2", { seeds: ["x1"] })).end(30_000);
    expect(ended.code).toBe(6);
    expect(ended.stderr).toMatch(
      /error: Cannot join through \S+: it serves cluster [0-9a-f]+, and this host belongs to [0-9a-f]+/,
    );
    expect(ended.stderr).toContain("check --seeds; to change clusters use another --prefix");
  });

  test("does not let a second host of one name in, and says which name", async () => {
    const fleet = await open();
    const [h1] = await fleet.form(["h1"]);
    const { clientUrl, serverUrl } = await fleet.place("other");
    const ended = await fleet
      .agent(await fleet.place("other"), [
        "--hostname=h1",
        "--tmp-prefix",
        "--session-ttl=2s",
        `--seeds=${h1?.place.clientUrl}`,
        `--client-urls=${clientUrl}`,
        `--server-urls=${serverUrl}`,
      ])
      .end(40_000);
    expect(ended.code).toBe(6);
    expect(ended.stderr).toContain("error: Cannot join as h1: another agent of that name is alive");
    expect(ended.stderr).toContain("give this host a name of its own with --hostname");
    await fleet.put("h1", "/unharmed", "yes");
  });
});

interface Dump {
  readonly members: unknown;
  readonly keys: ReadonlyMap<string, unknown>;
}

/** Every key with its value, revisions and lease, and the member list. */
async function dump(fleet: Fleet, url: string): Promise<Dump> {
  const { kvs = [] } = await fleet.ask<{ kvs?: { key: string }[] }>(url, "kv/range", { key: "AA==", range_end: "AA==" });
  return {
    members: await fleet.members(url),
    keys: new Map(kvs.map((kv) => [Buffer.from(kv.key, "base64").toString(), kv])),
  };
}
