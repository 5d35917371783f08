import { readFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { openWorld } from "../../src/world/index.ts";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

/** Ports that anybody listens at in the network of that process. */
function ports(pid: number): number[] {
  const listening = "0A";
  return ["tcp", "tcp6"].flatMap((name) =>
    readFileSync(`/proc/${pid}/net/${name}`, "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state]) => state === listening)
      .map(([, local]) => Number.parseInt(local?.split(":")[1] ?? "", 16)),
  );
}

test(
  "an agent without a network serves programs of its host through its folder, at no port, and goes on after a kill",
  { timeout: 90_000 },
  async () => {
    const fleet = await Fleet.open(undefined, undefined, "plain");
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const place = await fleet.place("h1");
    const start = (): AgentProcess =>
      fleet.agent(place, ["--hostname=h1", `--prefix=${place.prefix}`, "--no-network", "--replica"]);
    const agent = await start().ready();
    if (fleet.network.shared === undefined) expect(ports(agent.pid)).toEqual([]);
    const prefix = `--prefix=${place.prefix}`;
    expect(await fleet.quorate("world", "str", "set", "motd", "hello", prefix)).toMatchObject({ code: 0 });
    const status = await fleet.quorate("status", "-o", "json", prefix);
    expect(status).toMatchObject({ code: 0 });
    expect(JSON.parse(status.stdout)).toMatchObject({ leader: "h1" });

    const world = await openWorld({ prefix: place.prefix });
    onTestFinished(() => world.close());
    expect((await world.str.get("motd")).value).toBe("hello");
    await world.str.set("motd", "2");
    await eventually("the copy is kept", () => world.status.state === "live");
    await agent.kill();
    await start().ready();
    await eventually(
      "it goes on with its data",
      async () => (await world.str.get("motd", { read: "linearizable" })).value === "2",
      20_000,
    );

    const refused = await fleet.agent(place, ["--tmp-prefix", "--no-network", "--seeds=http://127.0.0.1:2379"]).end(15_000);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain("Cannot use --no-network: seeds is given as well, and there is no network");
  },
);
