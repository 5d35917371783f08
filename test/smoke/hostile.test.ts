import { describe, expect, onTestFinished, test } from "vitest";
import { setTimeout as delay } from "node:timers/promises";
import { base64, Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";

async function formed(): Promise<{ fleet: Fleet; etcds: () => (number | undefined)[] }> {
  const fleet = await Fleet.open();
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  const agents = await fleet.form(["h1", "h2", "h3"]);
  return { fleet, etcds: () => agents.map((agent) => agent.etcdPid()) };
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
});

/** Quorate's keys but for the log of events, and with the election's leases left out: a new election is a new lease. */
async function ownKeys(fleet: Fleet): Promise<string[]> {
  const { kvs = [] } = await fleet.ask<{ kvs?: { key: string }[] }>("h1", "kv/range", {
    key: "AA==",
    range_end: "AA==",
    keys_only: true,
  });
  return kvs
    .map(({ key }) => Buffer.from(key, "base64").toString())
    .filter((key) => !key.includes("/quorate/events/"))
    .map((key) => key.replace(/(\/quorate\/leader\/).*/, "$1"))
    .sort();
}
