import { describe, expect, onTestFinished, test } from "vitest";
import { setTimeout as delay } from "node:timers/promises";
import { base64, Fleet, type AgentProcess } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";
import { slow } from "../support/full.ts";

const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";

async function formed(
  ...flags: string[]
): Promise<{ fleet: Fleet; agents: readonly AgentProcess[]; etcds: () => (number | undefined)[] }> {
  const fleet = await Fleet.open(["--session-ttl=2s", ...flags]);
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  const agents = await fleet.form(["h1", "h2", "h3"]);
  return { fleet, agents, etcds: () => agents.map((agent) => agent.etcdPid()) };
}

describe("keys that anyone may write", { timeout: 90_000 }, () => {
  test("a bad value at the size key changes nothing and status says why; deleted, the last good one is written again", async () => {
    const { fleet, etcds } = await formed();
    const before = etcds();
    const members = await fleet.members("h1");
    const bad: readonly (readonly [string, string])[] = [
      ["-1", '"-1" is not a whole number'],
      ["3 ", '"3 " is not a whole number'],
      ["abc", '"abc" is not a whole number'],
      ["banana", '"banana" is not a whole number'],
      ["99999999999", '"99999999999" is more than 1000'],
      ["9".repeat(1024 * 1024), "is more than 1000"],
    ];
    const { clientUrl } = await fleet.place("h1");
    for (const [value, why] of bad) {
      await fleet.put("h1", sizeKey, value);
      const plan = await eventually(
        `the leader refuses ${value.slice(0, 10)}`,
        async () => {
          const seen = await fleet.plan("h1");
          return seen?.sizeRefused?.includes(why) === true && seen;
        },
        20_000,
      );
      expect(plan.ideal).toBe(3);
      const { code, stdout } = await fleet.quorate("status", `--endpoints=${clientUrl}`);
      expect(code).toBe(0);
      expect(stdout).toContain("size in force: 3; the size key is refused: ");
      expect(stdout).toContain(why);
      expect(stdout.length).toBeLessThan(10_000);
    }
    expect(await fleet.members("h1")).toEqual(members);

    await fleet.ask("h1", "kv/deleterange", { key: base64(sizeKey) });
    await eventually("the size key is written again", async () => (await fleet.get("h1", sizeKey)) === "3");
    expect(await fleet.members("h1")).toEqual(members);
    expect(etcds()).toEqual(before);
  });

  test("garbage in each of them changes no seat, and a leader that is killed then is followed by another one", async () => {
    const { fleet, agents, etcds } = await formed();
    const before = etcds();
    const members = await fleet.members("h1");
    const own = "/_mgmt/quorate";
    const voter = (await fleet.place("h1")).serverUrl;
    const bogus = '{"schema":1,"instance":"00000000-0000-4000-8000-000000000009","role":"voter","standby":false}';
    const garbage: readonly (readonly [string, string])[] = [
      // URLs that are none, that nobody listens on, that carry a secret, and that belong to a member.
      ["/_mgmt/volunteer/x1", "banana"],
      ["/_mgmt/volunteer/x2", "http://user:secret@127.0.0.1:9"],
      ["/_mgmt/volunteer/x3", "http://127.0.0.1:9"],
      ["/_mgmt/volunteer/x4", voter],
      ["/_mgmt/volunteer/h2", voter],
      ["/_mgmt/volunteer/%zz", "http://127.0.0.1:9"],
      ["/_mgmt/endpoints/x1", "http://127.0.0.1:9,banana"],
      ["/_mgmt/endpoints/h2", "http://127.0.0.1:9"],
      // Nominations that nobody made.
      ["/_mgmt/nominated/x1", "http://127.0.0.1:9"],
      ["/_mgmt/nominated/h3", "banana"],
      [`${own}/nominated/x1`, bogus],
      [`${own}/nominated/h3`, "banana"],
      [`${own}/agents/h2`, "banana"],
      [`${own}/agents/x1`, "{}"],
      [`${own}/agents/x2`, "9".repeat(1024 * 1024)],
      [`${own}/leader/banana`, "x1"],
      [`${own}/leader/0`, "banana"],
      [`${own}/preflight/h2`, "banana"],
      [`${own}/passed-over/h2`, "banana"],
      [`${own}/restarting/x1`, "banana"],
      [`${own}/leaving/x1`, "banana"],
      [`${own}/policy`, '{"schema":1,"maxSeats":0,"standbys":"many"}'],
      [`${own}/last-policy`, "banana"],
      [`${own}/last-size`, "-1"],
      [`${own}/plan`, "banana"],
      [`${own}/step`, '{"schema":1,"op":"remove","member":"banana"}'],
      [`${own}/closing`, "banana"],
      [`${own}/closed`, '{"schema":1,"host":"h2","formerSize":3}'],
      [`${own}/cluster`, "banana"],
      [`${own}/events/zz`, "banana"],
      [`${own}/no-such-key`, "banana"],
      [sizeKey, "99999999999"],
    ];
    // Where a leader writes its name, somebody else's.
    const [elected = ""] = await keysUnder(fleet, `${own}/leader/`);
    for (const [key, value] of [...garbage, [elected, "x1"] as const]) await fleet.put("h1", key, value);

    const leader = (await eventually("a plan that can be read", () => fleet.plan("h1").catch(() => undefined), 30_000)).leader;
    await fleet.settled(3, ["h1"], 60_000);
    await eventually("h2 shows itself again", async () => (await fleet.get("h1", `${own}/agents/h2`))?.includes("proof"), 30_000);
    expect(await fleet.members("h1")).toEqual(members);
    expect(etcds()).toEqual(before);
    const { clientUrl } = await fleet.place("h1");
    for (const command of ["status", "members", "events", "plan"]) {
      const { code, stdout, stderr } = await fleet.quorate(command, `--endpoints=${clientUrl}`);
      // A spoilt marker is left to people, so that `plan` takes the cluster for a stranger's.
      expect([command, code, stderr]).toEqual([command, command === "plan" ? 6 : 0, expect.any(String)]);
      expect(stdout).not.toContain("secret");
    }

    const killed = agents.find(({ place }) => place.hostname === leader);
    await killed?.kill();
    const rest = ["h1", "h2", "h3"].filter((host) => host !== leader);
    await eventually(
      "another agent leads",
      async () => {
        const plan = await fleet.plan(rest[0] ?? "").catch(() => undefined);
        return plan !== undefined && rest.includes(plan.leader);
      },
      30_000,
    );
    await (await fleet.start(leader, { seeds: rest })).ready();
    await fleet.settled(3, rest, 60_000);
    expect((await fleet.members(rest[0] ?? "")).map(({ id }) => id).sort()).toEqual(members.map(({ id }) => id).sort());
  });

  test("all of them deleted at once stops no server, and Quorate's own come back", async () => {
    const { fleet, etcds } = await formed();
    const before = etcds();
    const members = await fleet.members("h1");
    const own = await ownKeys(fleet);

    await fleet.etcdctl((await fleet.place("h1")).clientUrl, "del", "--prefix", "");
    let missing: string[] = [];
    await eventually(
      "all keys are back",
      async () => {
        await delay(100);
        const there = await ownKeys(fleet);
        missing = own.filter((key) => !there.includes(key));
        return missing.length === 0;
      },
      30_000,
    ).catch(() => undefined);
    expect(missing).toEqual([]);
    await fleet.settled(3, ["h1"]);
    expect(await fleet.members("h1")).toEqual(members);
    expect(etcds()).toEqual(before);
    await (await fleet.start("h4", { seeds: ["h1"] })).ready();
  });

  slow(
    "all of them deleted at once, while a voter is dead: its seat is known for Quorate's own again, and is let go",
    async () => {
      const { fleet, agents } = await formed("--restart-grace=3s");
      const leader = (await fleet.plan("h1"))?.leader ?? "h1";
      const dead = agents.find(({ place }) => place.hostname !== "h1" && place.hostname !== leader);
      await dead?.kill();
      const host = dead?.place.hostname ?? "";
      await eventually("it is missed", async () => (await fleet.plan("h1"))?.because.includes(`${host} is gone with its agent`));
      await fleet.etcdctl((await fleet.place("h1")).clientUrl, "del", "--prefix", "");
      const seatKey = `/_mgmt/quorate/nominated/${host}`;
      await eventually("its seat is written again", async () => (await fleet.get("h1", seatKey)) !== undefined, 40_000);
      await fleet.put("h1", sizeKey, "1");
      const [last] = await fleet.settled(1, ["h1", leader], 60_000);
      expect(last?.name).not.toBe(host);
    },
  );
});

async function keysUnder(fleet: Fleet, prefix: string): Promise<string[]> {
  const end = `${prefix.slice(0, -1)}0`;
  const { kvs = [] } = await fleet.ask<{ kvs?: { key: string }[] }>("h1", "kv/range", {
    key: base64(prefix),
    range_end: base64(end),
    sort_target: "CREATE",
    sort_order: "ASCEND",
  });
  return kvs.map(({ key }) => Buffer.from(key, "base64").toString());
}

/** Quorate's keys but for the log of events, and with the election's leases left out: a new election is a new lease. */
async function ownKeys(fleet: Fleet): Promise<string[]> {
  const { kvs = [] } = await fleet.ask<{ kvs?: { key: string }[] }>("h1", "kv/range", {
    key: "AA==",
    range_end: "AA==",
    keys_only: true,
  });
  return kvs
    .map(({ key }) => Buffer.from(key, "base64").toString())
    .filter((key) => !key.includes("/quorate/events/") && !key.includes("/quorate/tokens/"))
    .map((key) => key.replace(/(\/quorate\/leader\/).*/, "$1"))
    .sort();
}
