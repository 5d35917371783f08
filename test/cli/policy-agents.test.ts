import { expect, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

const count = (text: string, part: string): number => text.split(part).length - 1;

test("a founder's flags are the cluster's policy; those of others change nothing, and log and status name them once", async () => {
  await using fleet = await Fleet.open();
  const founder = await fleet.start("h1", {
    flags: ["--ideal-cluster-size=3", "--max-seats=3", "--standbys=1", "--nominee-timeout=30s", "--restart-grace=20s"],
  });
  await founder.ready();
  const joiner = await fleet.start("h2", {
    seeds: ["h1"],
    flags: ["--ideal-cluster-size=7", "--max-seats=9", "--stall-timeout=5s", "--nominee-timeout=30s"],
  });
  const same = await fleet.start("h3", { seeds: ["h1"], flags: ["--max-seats=3", "--ideal-cluster-size=3"] });
  await Promise.all([joiner.ready(), same.ready()]);
  await fleet.settled(3, ["h1"]);

  const { clientUrl } = await fleet.place("h1");
  const policy = JSON.parse((await fleet.get("h1", "/_mgmt/quorate/policy")) ?? "null") as unknown;
  expect(policy).toMatchObject({ maxSeats: 3, standbys: 1, nomineeTimeoutMs: 30_000, stallTimeoutMs: 60_000 });

  const notice = "the cluster's policy rules, not the flags that differ: --max-seats of h2, --stall-timeout of h2";
  const status = await eventually("the notice in status", async () => {
    const { stdout } = await fleet.quorate("status", `--endpoints=${clientUrl}`);
    return stdout.includes(notice) ? stdout : undefined;
  });
  expect(count(status, "flags that differ")).toBe(1);

  await joiner.line("the cluster's policy rules, not the flags that differ");
  await joiner.line("the cluster has a size already; this flag is the founder's and is ignored");
  expect(joiner.stdout).toContain("--max-seats=9 (cluster: 3)");
  expect(joiner.stdout).toContain("--ideal-cluster-size=7");
  for (const agent of [founder, joiner, same]) {
    const told = agent === joiner ? 1 : 0;
    expect(count(agent.stdout, "not the flags that differ")).toBe(told);
    expect(count(agent.stdout, "has a size already")).toBe(told);
  }

  // A policy that says what the flag says ends the notice; the others are told of theirs.
  const { code, stdout } = await fleet.quorate(
    "policy",
    "set",
    "--max-seats=9",
    "--stall-timeout=5s",
    `--endpoints=${clientUrl}`,
  );
  expect({ code, stdout }).toEqual({ code: 0, stdout: "max-seats 3 -> 9\nstall-timeout 1m -> 5s\n" });
  await eventually("the other notice in status", async () => {
    const shown = (await fleet.quorate("status", `--endpoints=${clientUrl}`)).stdout;
    return shown.includes("flags that differ: --max-seats of h1 and h3") && count(shown, "flags that differ") === 1;
  });
});

test("a policy key that somebody spoils changes nothing, and status says so; one that is deleted is written again", async () => {
  await using fleet = await Fleet.open();
  const founder = await fleet.start("h1", { flags: ["--ideal-cluster-size=1", "--max-seats=3"] });
  await founder.ready();
  const { clientUrl } = await fleet.place("h1");
  await fleet.settled(1, ["h1"]);
  await fleet.put("h1", "/_mgmt/quorate/policy", "banana");
  await fleet.put("h1", "/_mgmt/chooser/dynamicsize/idealclustersize", "5");
  const status = await eventually("status names the key", async () => {
    const { stdout } = await fleet.quorate("status", `--endpoints=${clientUrl}`);
    return stdout.includes("what was good last stays in force") && stdout.includes("at most 3 seats") ? stdout : undefined;
  });
  expect(status).toContain('unreadable key "/_mgmt/quorate/policy": "banana" is not JSON; what was good last stays in force');
  await fleet.etcdctl(clientUrl, "del", "/_mgmt/quorate/policy");
  await eventually("it is written again", async () => (await fleet.get("h1", "/_mgmt/quorate/policy"))?.includes('"maxSeats":3'));
});

test("an agent that is told to restart keeps its seat for as long as the policy says", async () => {
  await using fleet = await Fleet.open();
  const [, , third] = await fleet.form(["h1", "h2", "h3"]);
  const { clientUrl } = await fleet.place("h1");
  expect((await fleet.quorate("policy", "set", "--restart-grace=100s", `--endpoints=${clientUrl}`)).code).toBe(0);
  await eventually("h3 has heard of it", async () => {
    const status = await fleet.get("h3", "/_mgmt/quorate/last-policy");
    return status?.includes('"restartGraceMs":100000') === true;
  });
  third?.signal("SIGTERM");
  expect((await third?.end(20_000))?.code).toBe(0);
  const { kvs } = await fleet.ask<{ kvs?: { lease?: string }[] }>("h1", "kv/range", {
    key: Buffer.from("/_mgmt/quorate/restarting/h3").toString("base64"),
  });
  const ID = kvs?.[0]?.lease;
  expect(ID).toBeDefined();
  const { grantedTTL } = await fleet.ask<{ grantedTTL?: string }>("h1", "lease/timetolive", { ID });
  expect(grantedTTL).toBe("100");
});

test("with --leave-on-terminate SIGTERM leaves, as ^C does", async () => {
  await using fleet = await Fleet.open();
  const founder = await fleet.start("h1", { flags: ["--ideal-cluster-size=1"] });
  await founder.ready();
  const other = await fleet.start("h2", { seeds: ["h1"], flags: ["--leave-on-terminate"] });
  await other.ready();
  const { clientUrl } = await fleet.place("h1");
  expect((await fleet.quorate("size", "2", "--wait", `--endpoints=${clientUrl}`)).code).toBe(0);
  other.signal("SIGTERM");
  const { code, stderr } = await other.end(30_000);
  expect(code).toBe(0);
  expect(stderr).toContain("leaving in good order");
  expect((await fleet.members("h1")).map((member) => member.name)).toEqual(["h1"]);
  expect(await fleet.get("h1", "/_mgmt/quorate/restarting/h2")).toBeUndefined();
});
