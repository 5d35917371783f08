import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type FieldPath, fields, startEtcd } from "../../../src/embed/index.ts";
import { minorOf } from "../../../src/embed/config/flags.ts";
import { setValue, type Value } from "../../../src/embed/config/values.ts";
import { etcdBinary, testEtcd } from "../../support/etcd.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";
import { aloneConfig, started } from "../../support/start-etcd.ts";
import { elsewhere, groups, listener, refusals, type Group, type Reading, type Running } from "./readings.ts";

async function runWith(group: Group): Promise<Running> {
  const config = await aloneConfig();
  const file = join(await temporaryFolder(), "etcd.log");
  config.logOutputs = [file];
  Object.assign(config, group.with);
  for (const [path, { value }] of Object.entries(group.fields) as [FieldPath, Reading][]) setValue(config, path, value as Value);
  if (group.fields.name !== undefined) config.initialCluster = config.initialClusterFromName(config.name);
  const etcd = await started(config);
  await etcd.server.ready;
  const [logFile] = config.logOutputs;
  const text = (): Promise<string> => readFile(logFile ?? file, "utf8");
  return {
    etcd,
    url: etcd.clients[0]!,
    text,
    log: async () =>
      (await text())
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    args: (await readFile(`/proc/${etcd.server.pid}/cmdline`, "utf8")).split("\0"),
  };
}

describe("each field, set to another value, shows in an etcd that runs", () => {
  test.each(Object.entries(groups))("%s", { timeout: 60_000 }, async (_name, make) => {
    const group = await make();
    const running = await runWith(group);
    for (const [path, { value, as = value, seen }] of Object.entries(group.fields) as [FieldPath, Reading][]) {
      const found = await seen(running);
      if (as instanceof RegExp) expect(found, path).toMatch(as);
      else expect(found, path).toEqual(as);
    }
  });

  test.each(refusals)("$field, in what etcd says as it gives up", async ({ field, value, with: changes, says }) => {
    const config = await aloneConfig(changes);
    setValue(config, field, value as Value);
    await expect(started(config)).rejects.toMatchObject({
      code: "SERVER_EXITED",
      message: expect.stringMatching(says) as string,
    });
  });

  test("durl: it asks there, through dproxy where that is set", async () => {
    for (const through of [false, true]) {
      const [service, proxy] = [await listener(), await listener()];
      const stop = new AbortController();
      const durl = `http://${service.address}/v2/keys/token`;
      const config = await aloneConfig({ durl, initialCluster: "", ...(through ? { dproxy: `http://${proxy.address}` } : {}) });
      const start = startEtcd(config, { etcdBin: etcdBinary(), signal: stop.signal });
      start.catch(() => undefined);
      expect(await (through ? proxy : service).heard).toContain(through ? durl : "/v2/keys/token");
      stop.abort(new Error("seen"));
      await expect(start).rejects.toThrow("seen");
    }
  });

  test("logOutput is a file that it writes", async () => {
    const file = join(await temporaryFolder(), "one.log");
    const config = await aloneConfig({ logOutput: file });
    config.logOutputs = undefined;
    await (
      await started(config)
    ).server.ready;
    expect(await readFile(file, "utf8")).toContain("starting an etcd server");
  });

  test("there is one for every field that this etcd has", async () => {
    const shown = new Set<string>([...Object.keys(elsewhere), ...refusals.map(({ field }) => field)]);
    for (const make of Object.values(groups)) for (const path of Object.keys((await make()).fields)) shown.add(path);
    const minor = minorOf(testEtcd().version);
    const missing = Object.entries(fields).flatMap(([path, { flags }]) =>
      flags[minor] === undefined || shown.has(path) ? [] : [path],
    );
    expect(missing).toEqual([]);
  });
});
