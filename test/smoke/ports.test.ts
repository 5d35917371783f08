import { expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";

test(
  "a second agent on the same ports exits 1, says who holds them and what to do, and harms nobody",
  { timeout: 60_000 },
  async () => {
    const fleet = await Fleet.open(undefined, undefined, "plain");
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const [first] = await fleet.form(["h1"]);
    const etcd = first?.etcdPid();
    const said = first?.lines.length;
    const { clientUrl, serverUrl } = await fleet.place("h1");

    const ended = await fleet
      .agent(await fleet.place("h2"), [
        "--hostname=h2",
        "--tmp-prefix",
        `--client-urls=${clientUrl}`,
        `--server-urls=${serverUrl}`,
      ])
      .end(15_000);
    console.log(`refused after ${Math.round(ended.tookMs)} ms:\n${ended.stderr}`);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain(`error: Cannot listen on ${clientUrl}: etcd (pid ${etcd}, user `);
    expect(ended.stderr).toContain(`to use it, add --seeds=${clientUrl} --no-server`);

    expect(first?.etcdPid()).toBe(etcd);
    await fleet.put("h1", "/unharmed", "yes");
    expect(first?.lines.slice(said).filter(({ level }) => level >= 40)).toEqual([]);
  },
);

test("a second agent on the prefix of another is told which flags to add", { timeout: 60_000 }, async () => {
  const fleet = await Fleet.open(undefined, undefined, "plain");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  await fleet.form(["h1"]);
  const { prefix } = await fleet.place("h1");
  const { clientUrl, serverUrl } = await fleet.place("h2");

  const flags = ["--hostname=h1", `--prefix=${prefix}`, `--client-urls=${clientUrl}`, `--server-urls=${serverUrl}`];
  const ended = await fleet.agent(await fleet.place("h2"), flags).end(15_000);
  expect(ended.code).toBe(1);
  expect(ended.stderr).toContain(`Cannot use the prefix ${prefix}: another agent of this machine uses it`);
  expect(ended.stderr).toContain("add --tmp-prefix (or another --prefix), --hostname, --client-urls and --server-urls");
  await fleet.put("h1", "/unharmed", "yes");
});
