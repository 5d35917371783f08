import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

test("--converged-exit ends all three agents with 0 once all are converged, and each status file says when", async () => {
  await using fleet = await Fleet.open([
    "--session-ttl=2s",
    "--ideal-cluster-size=3",
    "--converged-timeout=300ms",
    "--converged-exit",
  ]);
  const file = (hostname: string): string => join(fleet.folder, `${hostname}.converged`);
  const flags = (hostname: string): { flags: string[] } => ({ flags: [`--converged-status-file=${file(hostname)}`] });
  const first = await fleet.start("h1", flags("h1"));
  // Somebody who is not, before the founder is ready: so that it does not end before the others are there, however slowly they start.
  const put = (): Promise<boolean> =>
    fleet.put("h1", "/_mgmt/converged/gate", "false").then(
      () => true,
      () => false,
    );
  await eventually("somebody is not converged", put);
  const others = await Promise.all(["h2", "h3"].map((name) => fleet.start(name, { seeds: ["h1"], ...flags(name) })));
  await Promise.all([first, ...others].map((agent) => agent.ready()));
  const says = async (name: string): Promise<string | undefined> => fleet.get("h1", `/_mgmt/converged/${name}`);
  await eventually(
    "all three are",
    async () => (await Promise.all(["h1", "h2", "h3"].map(says))).join() === "true,true,true",
    30_000,
  );
  for (const name of ["h1", "h2", "h3"]) expect(await readFile(file(name), "utf8")).toBe("false\n");
  await fleet.put("h1", "/_mgmt/converged/gate", "true");
  const ends = await Promise.all([first, ...others].map((agent) => agent.end(30_000)));
  for (const [i, { code, stderr }] of ends.entries()) {
    expect(code, stderr).toBe(0);
    expect(stderr).toContain("note: all hosts are converged");
    expect(await readFile(file(`h${i + 1}`), "utf8")).toBe("false\ntrue\n");
  }
});

test("--max-runtime ends an agent with 0, and leaves where SIGTERM would; --converged-exit needs a timeout", async () => {
  await using fleet = await Fleet.open(["--max-runtime=2s"], undefined, "plain");
  const { clientUrl, serverUrl } = await fleet.place("h2");
  const urls = [`--client-urls=${clientUrl}`, `--server-urls=${serverUrl}`];
  const stays = await fleet.start("h1");
  const leaves = fleet.agent(await fleet.place("h2"), ["--tmp-prefix", "--hostname=h2", "--max-runtime=2", ...urls]);
  for (const agent of [stays, leaves]) {
    const { code, stderr } = await agent.end(30_000);
    expect(code, stderr).toBe(0);
  }
  const { code, stderr } = await fleet.quorate("run", "--tmp-prefix", "--converged-exit");
  expect([code, stderr]).toEqual([2, expect.stringContaining("hint: add --converged-timeout=TIME")]);
  expect(stderr).toContain("--converged-exit");
});
