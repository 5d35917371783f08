import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";
import { full } from "../support/full.ts";
import { childrenOf } from "../support/process.ts";

async function openFleet(): Promise<Fleet> {
  const fleet = await Fleet.open(undefined, undefined, "plain");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

// Three agents, twice.
if (full) {
  test(
    "up runs agents by a Procfile that it wrote, ends them with ^C, and they continue at the next start",
    { timeout: 180_000 },
    async ({ skip }) => {
      const fleet = await openFleet();
      skip(fleet.network.shared !== undefined, `the ports from 2379 on may be taken here, and ${fleet.network.shared}`);
      const procfile = join(fleet.folder, "Procfile");
      const first = fleet.command("up", "--size=3", `--procfile=${procfile}`, `--prefix=${join(fleet.folder, "up")}`);
      await fleet.settled(3, ["http://127.0.0.1:2379"], 60_000);
      await fleet.put("http://127.0.0.1:2379", "/kept", "yes");
      expect(await readFile(procfile, "utf8")).toMatch(/^h3: quorate run --hostname=h3 .*--initial-cluster=h1=/m);
      first.signal("SIGINT");
      expect(await first.end(60_000)).toMatchObject({ code: 0 });

      const second = fleet.command("up", `--procfile=${procfile}`);
      await eventually(
        "it serves again",
        async () => (await fleet.get("http://127.0.0.1:2379", "/kept").catch(() => undefined)) === "yes",
        60_000,
      );
      second.signal("SIGTERM");
      expect(await second.end(60_000)).toMatchObject({ code: 143 });
    },
  );
}

test("`etcd` lines run as such; what ends by itself is told, and makes the end a failure", { timeout: 60_000 }, async () => {
  const fleet = await openFleet();
  const [client, peer] = (await fleet.network.ports(2)).map((port) => `http://127.0.0.1:${port}`) as [string, string];
  const procfile = join(fleet.folder, "Procfile");
  const etcd = [
    `etcd --name=e1 --data-dir=${join(fleet.folder, "e1")} --logger=zap`,
    `--listen-client-urls=${client} --advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer} --initial-advertise-peer-urls=${peer} --initial-cluster=e1=${peer}`,
  ].join(" ");
  await writeFile(procfile, `e1: ${etcd}\nshort: sh -c 'echo "so long"; exit 3'\n`);
  const up = fleet.command("up", `--procfile=${procfile}`);
  await eventually(
    "etcd serves",
    async () => (await fleet.network.fetch(`${client}/health`).catch(() => undefined))?.status === 200,
    20_000,
  );
  const [etcdPid] = childrenOf(up.pid);
  assert.ok(etcdPid !== undefined);
  up.signal("SIGINT");
  const ended = await up.end(30_000);
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.stdout).toMatch(/^short │ so long$/m);
  expect(ended.stdout).toMatch(/^short │ ended with status 3$/m);
  expect(ended.stdout).toMatch(/^e1 {4}│ .*serving/m);
});
