import { expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

test(
  "an agent that is killed three times runs its server in safe mode, status says so, and a stop and start ends it",
  { timeout: 120_000 },
  async () => {
    // A session that outlives each kill: its seat is not what this is about.
    const fleet = await Fleet.open(["--session-ttl=20s"]);
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const [, , third] = await fleet.form(["h1", "h2", "h3"]);
    const members = await fleet.members("h1");
    await third?.kill();
    for (let kills = 1; kills < 3; kills++) {
      const again = await fleet.start("h3", { seeds: ["h1"] });
      await again.line("continuing with own data");
      expect(again.lines.some(({ msg }) => msg === "starting in safe mode")).toBe(false);
      await again.kill();
    }

    const safe = await fleet.start("h3", { seeds: ["h1"] });
    await safe.line("starting in safe mode");
    await fleet.put("h1", "/written", "in safe mode");
    await eventually(
      "its server has it",
      async () => (await fleet.get("h3", "/written").catch(() => undefined)) === "in safe mode",
      30_000,
    );
    const { clientUrl } = await fleet.place("h1");
    await eventually(
      "status says so, and what to do",
      async () => {
        const { stdout } = await fleet.quorate("status", `--endpoints=${clientUrl}`);
        return /h3 .*safe mode after three crashes within 5 minutes.*stop it by SIGTERM and start it again/.test(stdout);
      },
      30_000,
    );
    expect(await fleet.members("h1")).toEqual(members);

    safe.signal("SIGTERM");
    expect((await safe.end(30_000)).code).toBe(0);
    await (await fleet.start("h3", { seeds: ["h1"] })).ready();
    await fleet.settled(3, ["h1"]);
    expect(await fleet.members("h1")).toEqual(members);
  },
);
