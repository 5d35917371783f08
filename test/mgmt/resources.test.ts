import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdOfWorlds, putRaw, revisionsOf } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";
import { mgmtOf, taken } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const web = { kind: "host", name: "web/1", data: "d2Vi" };
const db = { kind: "host", name: "db", host: "h2", data: "ZGI=" };

describe("resExport", () => {
  test("is true where nothing had to be changed and false where something was, as mgmt documents it", async () => {
    const mgmt = await mgmtOf(etcd);
    expect(await mgmt.resExport([])).toBe(true);
    expect(await mgmt.resExport([web, db])).toBe(false);
    expect(await mgmt.resExport([web, db])).toBe(true);
    expect(await revisionsOf(etcd, () => mgmt.resExport([web, db]))).toBe(0);
    expect(await mgmt.resExport([web, { ...db, data: "other" }])).toBe(false);
    expect(
      await mgmt.resExport([
        { ...web, host: "" },
        { ...web, host: "h2" },
      ]),
    ).toBe(false);
    expect(await mgmt.resExport([{ ...web, host: "*" }])).toBe(true);
  });

  test("writes mgmt's keys, and leaves what was exported before, unless it is to replace it", async () => {
    const mgmt = await mgmtOf(etcd);
    await mgmt.resExport([web, { kind: "host", name: "plain", data: "x" }]);
    await mgmt.resExport([db]);
    expect((await etcd.client.get(`${mgmt.namespace}/exported/*/h1/host/plain`)).entry).toBeDefined();
    expect((await etcd.client.get(`${mgmt.namespace}/exported/h2/h1/host/db`)).entry).toBeDefined();
    expect((await mgmt.resCollect([{}])).map(({ name }) => name)).toEqual(["plain", "web/1"]);
    expect(await mgmt.resExport([web], { mode: "replace" })).toBe(false);
    expect((await mgmt.resCollect([{}])).map(({ name }) => name)).toEqual(["web/1"]);
  });

  test("refuses the same resource twice in one list, where mgmt writes one over the other each time", async () => {
    const mgmt = await mgmtOf(etcd);
    const failure = { code: "INVALID_OPTION", outcome: "none" };
    await expect(mgmt.resExport([web, { ...web, host: "*", data: "other" }])).rejects.toMatchObject(failure);
  });
});

describe("resDelete", () => {
  test("is true where there was nothing to delete and false where something was, as mgmt documents it and does not do it", async () => {
    const mgmt = await mgmtOf(etcd);
    expect(await mgmt.resDelete([])).toBe(true);
    expect(await mgmt.resDelete([web, db])).toBe(true);
    await mgmt.resExport([web]);
    expect(await mgmt.resDelete([web, db])).toBe(false);
    expect(await mgmt.resDelete([web, db])).toBe(true);
    expect(await mgmt.resCollect([{}])).toEqual([]);
  });

  test("touches nothing of another host", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    await other.resExport([web]);
    expect(await mgmt.resDelete([web])).toBe(true);
    expect(await mgmt.resCollect([{}])).toHaveLength(1);
  });
});

describe("resCollect", () => {
  test("gives what is for this host or for everyone and fits a filter: empty ones fit all, none fits nothing", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    await mgmt.resExport([web, db, { kind: "cron", name: "backup", host: "h3", data: "for h3" }]);
    await other.resExport([{ kind: "cron", name: "backup", data: "Y3Jvbg==" }]);
    const [cron, dbOfH1, webOfH1] = [
      { kind: "cron", name: "backup", host: "h2", data: "Y3Jvbg==" },
      { kind: "host", name: "db", host: "h1", data: "ZGI=" },
      { kind: "host", name: "web/1", host: "h1", data: "d2Vi" },
    ];
    expect(await other.resCollect([{}])).toEqual([cron, dbOfH1, webOfH1]);
    expect(await other.resCollect([{ kind: "", name: "", host: "" }])).toEqual([cron, dbOfH1, webOfH1]);
    expect(await mgmt.resCollect([{}])).toEqual([cron, webOfH1]);
    expect(await other.resCollect([])).toEqual([]);
    expect(await other.resCollect([{ kind: "host", name: "db" }, { host: "h2" }])).toEqual([cron, dbOfH1]);
    expect(await other.resCollect([{ kind: "host", host: "h2" }])).toEqual([]);
  });
});

describe("what a Go program has exported", () => {
  test("is collected; a name with a slash, which is a level of its key, is passed over and counted", async () => {
    const mgmt = await mgmtOf(etcd);
    await putRaw(etcd, `${mgmt.namespace}/exported/*/go1/host/web`, "d2Vi");
    await putRaw(etcd, `${mgmt.namespace}/exported/h1/go1/host/db`, "ZGI=");
    await putRaw(etcd, `${mgmt.namespace}/exported/*/go1/file//etc/motd`, "x");
    expect(await mgmt.resCollect([{ host: "go1" }])).toEqual([
      { kind: "host", name: "db", host: "go1", data: "ZGI=" },
      { kind: "host", name: "web", host: "go1", data: "d2Vi" },
    ]);
    expect(mgmt.world.status.malformed.count).toBe(1);
  });
});

describe("resWatch", () => {
  test("wakes once at the start and for what this host can collect, of the kind that is asked for", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    const [hosts, all] = [taken(mgmt.resWatch("host")), taken(mgmt.resWatch(""))];
    await Promise.all([hosts.count(1), all.count(1)]);
    await other.resExport([{ kind: "host", name: "for h3", host: "h3", data: "x" }]);
    await other.resExport([{ kind: "cron", name: "backup", data: "x" }]);
    await all.count(2);
    await other.resExport([web]);
    await Promise.all([hosts.count(2), all.count(3)]);
    await other.resDelete([web]);
    await Promise.all([hosts.count(3), all.count(4)]);
    expect([hosts.all.length, all.all.length]).toEqual([3, 4]);
  });
});
