import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";

async function open(): Promise<Fleet> {
  const fleet = await Fleet.open(undefined, undefined, "plain");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

describe("what quorate exits with", { timeout: 90_000 }, () => {
  test("2 where the prefix cannot be written, and where an unspecified address has no advertise flag", async () => {
    const fleet = await open();
    const place = await fleet.place("h1");
    const unwritable = await fleet.agent(place, ["--prefix=/proc/quorate"]).end(15_000);
    expect(unwritable.code).toBe(2);
    expect(unwritable.stderr).toContain("Cannot use the prefix /proc/quorate: it cannot be written");
    const unspecified = await fleet.agent(place, ["--tmp-prefix", "--client-urls=http://0.0.0.0:2379"]).end(15_000);
    expect(unspecified.code).toBe(2);
    expect(unspecified.stderr).toContain("--advertise-client-urls");
    const alone = await fleet.agent(place, ["--tmp-prefix", "--no-server"]).end(15_000);
    expect(alone.code).toBe(2);
    expect(alone.stderr).toContain("--seeds");
  });

  test("3 where nobody answers", async () => {
    const fleet = await open();
    const { clientUrl } = await fleet.place("h1");
    for (const command of ["status", "members", "size"]) {
      const ended = await fleet.quorate(command, `--endpoints=${clientUrl}`);
      expect({ command, code: ended.code }).toEqual({ command, code: 3 });
      expect(ended.stderr).toContain("error: Cannot reach the cluster");
    }
  });

  test("4 where too few voters are left, and 5 where a size is not reached in time", async () => {
    const fleet = await open();
    const agents = await fleet.form(["h1", "h2", "h3"]);
    const { clientUrl } = await fleet.place("h1");
    const late = await fleet.quorate("size", "5", "--wait", "--timeout=1s", `--endpoints=${clientUrl}`);
    expect(late.code).toBe(5);
    expect(late.stderr).toContain("error: Cannot see 5 members after 1 s: it has 3 members");

    await Promise.all(agents.slice(1).map((agent) => agent.kill()));
    for (const command of ["status", "members"]) {
      const ended = await fleet.quorate(command, `--endpoints=${clientUrl}`);
      expect({ command, code: ended.code, stderr: ended.stderr }).toMatchObject({ command, code: 4 });
    }
  });

  test("7 where there is no etcd that can be used", async () => {
    const fleet = await open();
    const place = await fleet.place("h1");
    const ended = await fleet.agent(place, ["--tmp-prefix", "--etcd-bin=/nowhere/etcd"]).end(15_000);
    expect(ended.code).toBe(7);
    expect(ended.stderr).toContain("/nowhere/etcd");
  });
});
