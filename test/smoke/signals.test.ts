import { describe, expect, onTestFinished, test } from "vitest";
import { setTimeout as delay } from "node:timers/promises";
import { readdirSync } from "node:fs";
import { Fleet, type Mode } from "../support/agents.ts";
import { untilGone } from "../support/process.ts";

async function open(how?: Mode): Promise<Fleet> {
  const fleet = await Fleet.open(undefined, undefined, how);
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

describe("an agent that cannot be let go", { timeout: 60_000 }, () => {
  test("hurries at the second ^C, and keeps its seat and its data", async () => {
    const fleet = await open();
    const [h1, h2] = await fleet.form(["h1", "h2"]);
    await h2?.kill();
    // With the only other agent gone, but not yet missed, nobody lets h1 go.
    h1?.signal("SIGINT");
    await h1?.says("leaving in good order; once more to hurry\n");
    await delay(100); // npm passes a ^C on within 50 ms: two that fast are one
    h1?.signal("SIGINT");
    await h1?.says("hurrying; once more to kill\n");
    const ended = await h1?.end(15_000);
    expect(ended).toMatchObject({ code: 0, signal: null });
    await (await fleet.start("h1")).line("continuing with own data");
  });

  test("is gone with 130 at the third ^C, and its etcd with it", async () => {
    const fleet = await open();
    const [h1] = await fleet.form(["h1", "h2", "h3"]);
    const etcd = h1?.etcdPid() ?? 0;
    // An etcd that is stopped cannot end in good order, so neither can its agent.
    process.kill(etcd, "SIGSTOP");
    for (const said of ["leaving in good order", "hurrying; once more to kill\n"]) {
      h1?.signal("SIGINT");
      await h1?.says(said);
      await delay(100);
    }
    h1?.signal("SIGINT");
    expect(await h1?.end(5_000)).toMatchObject({ code: 130, signal: null });
    await untilGone(etcd);
  });
});

describe("an agent with a temporary prefix", { timeout: 60_000 }, () => {
  test("leaves at SIGTERM, as there is nothing to come back to, and removes its files", async () => {
    const fleet = await open("plain");
    const h1 = await (await fleet.start("h1", { flags: ["--tmp-prefix", "--ideal-cluster-size=2"] })).ready();
    const h2 = await (await fleet.start("h2", { seeds: ["h1"], flags: ["--tmp-prefix"] })).ready();
    await fleet.settled(2, ["h1"]);
    expect(temporaryFolders(fleet)).toHaveLength(2);
    h2.signal("SIGTERM");
    expect((await h2.end(30_000)).code).toBe(0);
    expect(temporaryFolders(fleet)).toHaveLength(1);
    expect((await fleet.settled(1, ["h1"])).map(({ name }) => name)).toEqual(["h1"]);
    const ended = await h1.interrupt();
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stderr).toContain("note: nobody else is left");
    expect(temporaryFolders(fleet)).toEqual([]);
  });
});

function temporaryFolders(fleet: Fleet): string[] {
  return readdirSync(fleet.folder).filter((name) => name.startsWith("quorate-"));
}
