import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WorldError } from "../../src/mgmt/index.ts";
import { etcdOfWorlds, eventually, putRaw, revisionsOf, worldOf } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";
import { mgmtOf, taken } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

describe("strGet, strSet, strDel", () => {
  test("read, set and delete one string at mgmt's key; what is unchanged is not written", async () => {
    const mgmt = await mgmtOf(etcd);
    await mgmt.strSet("motd", "hello");
    const { entry } = await etcd.client.get(`${mgmt.namespace}/strings/motd`);
    expect(Buffer.from(entry!.value).toString()).toBe("hello");
    expect(await mgmt.strGet("motd")).toBe("hello");
    expect(await revisionsOf(etcd, () => mgmt.strSet("motd", "hello"))).toBe(0);
    expect(await revisionsOf(etcd, () => mgmt.strSet("motd", ""))).toBe(1);
    expect(await mgmt.strGet("motd")).toBe("");
    await mgmt.strDel("motd");
    expect(await revisionsOf(etcd, () => mgmt.strDel("motd"))).toBe(0);
    await expect(mgmt.strGet("motd")).rejects.toMatchObject({ code: "NOT_EXIST", retryable: false });
  });

  test("take a lease, a signal and a time, which mgmt's do not", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await worldOf(etcd, { replica: false, namespace: mgmt.namespace });
    await mgmt.strSet("motd", "hello", { lease: "session" });
    const failure = { code: "ABORTED", outcome: "none" };
    await expect(mgmt.strSet("motd", "x", { signal: AbortSignal.abort() })).rejects.toMatchObject(failure);
    await mgmt.cleanup();
    expect((await other.str.get("motd", { read: "direct" })).value).toBeUndefined();
  });

  test("cannot touch what another host has set in a map, as mgmt's StrSet can", async () => {
    const mgmt = await mgmtOf(etcd);
    await mgmt.strMapSet("address", "192.0.2.1");
    await mgmt.strSet("address/h1", "forged");
    expect(await mgmt.strGet("address/h1")).toBe("forged");
    expect(await mgmt.strMapGet("address")).toEqual(new Map([["h1", "192.0.2.1"]]));
  });
});

describe("strIsNotExist", () => {
  test("tells that there is none from every other failure, also where somebody has wrapped it", async () => {
    const mgmt = await mgmtOf(etcd);
    const missing: unknown = await mgmt.strGet("none").catch((error: unknown) => error);
    expect(missing).toBeInstanceOf(WorldError);
    expect(String(missing)).toContain('Cannot read the string "none": there is none');
    expect(mgmt.strIsNotExist(missing)).toBe(true);
    expect(mgmt.strIsNotExist(new Error("no configuration", { cause: missing }))).toBe(true);
    const invalid: unknown = await mgmt.strGet("").catch((error: unknown) => error);
    expect(invalid).toMatchObject({ code: "INVALID_NAME" });
    const loop = new Error("a loop");
    loop.cause = loop;
    for (const error of [invalid, loop, new Error("ErrNotExist"), undefined, null, "NOT_EXIST", { code: "NOT_EXIST" }])
      expect(mgmt.strIsNotExist(error)).toBe(false);
  });
});

describe("strWatch", () => {
  test("wakes once at the start, also where there is none, and for each change; the read after it has the change", async () => {
    const mgmt = await mgmtOf(etcd);
    const read: string[] = [];
    const stop = new AbortController();
    const loop = (async () => {
      for await (const { revision } of mgmt.strWatch("n", { signal: stop.signal })) {
        expect(revision).toBeGreaterThan(0);
        read.push(await mgmt.strGet("n").catch(() => "none"));
      }
    })();
    await eventually("the start", () => read.length === 1);
    for (const n of ["1", "2", "3"]) {
      await mgmt.strSet("n", n);
      await eventually(`${n} is read`, () => read.at(-1) === n);
    }
    await mgmt.strSet("n", "3");
    await mgmt.strSet("other", "4");
    await mgmt.strMapSet("n", "5");
    await mgmt.strDel("n");
    await eventually("the deletion", () => read.at(-1) === "none");
    stop.abort();
    await loop;
    expect(read).toEqual(["none", "1", "2", "3", "none"]);
  });

  test("has one event for all that was not taken: nobody who is slow holds anything up, or falls behind", async () => {
    const mgmt = await mgmtOf(etcd);
    const iterator = mgmt.strWatch("n")[Symbol.asyncIterator]();
    await iterator.next();
    const fast = taken(mgmt.strWatch("n"));
    let last = 0;
    for (let n = 0; n < 20; n++) last = await putRaw(etcd, `${mgmt.namespace}/strings/n`, String(n));
    await eventually("all have arrived", () => fast.all.at(-1)?.revision === last);
    expect(await iterator.next()).toEqual({ done: false, value: { revision: last } });
    await iterator.return?.();
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  test("goes on through the loss of etcd, where mgmt's ends, and tells what changed meanwhile", async () => {
    const mgmt = await mgmtOf(etcd);
    const watched = taken(mgmt.strWatch("n"));
    await watched.count(1);
    etcd.gone();
    await putRaw(etcd, `${mgmt.namespace}/strings/n`, "meanwhile");
    etcd.back();
    await watched.count(2);
    expect(await mgmt.strGet("n", { timeoutMs: 20_000 })).toBe("meanwhile");
    expect(watched.isOver).toBe(false);
  });

  test("throws what is wrong with its arguments when it is iterated, and its signal completes it", async () => {
    const mgmt = await mgmtOf(etcd);
    const wrong = taken(mgmt.strWatch(""));
    await eventually("it is over", () => wrong.isOver);
    expect(wrong.failure).toMatchObject({ code: "INVALID_NAME" });
    const ended = taken(mgmt.strWatch("n", { signal: AbortSignal.abort() }));
    await eventually("it is over", () => ended.isOver);
    expect([ended.failure, ended.all]).toEqual([undefined, []]);
  });

  test("ends when it is left by return(), also while it waits", async () => {
    const mgmt = await mgmtOf(etcd);
    const iterator = mgmt.strWatch("n")[Symbol.asyncIterator]();
    await iterator.next();
    const waiting = iterator.next();
    await iterator.return?.();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });
});

describe("strMapGet, strMapSet, strMapDel", () => {
  test("each host sets its own at mgmt's key, all read all, and a malformed key harms nobody", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    expect(await mgmt.strMapGet("address")).toEqual(new Map());
    await mgmt.strMapSet("address", "192.0.2.1");
    await other.strMapSet("address", "192.0.2.2");
    expect(await revisionsOf(etcd, () => other.strMapSet("address", "192.0.2.2"))).toBe(0);
    await putRaw(etcd, `${mgmt.namespace}/strings/address/a/b`, "malformed");
    const both = [
      ["h1", "192.0.2.1"],
      ["h2", "192.0.2.2"],
    ];
    expect([...(await mgmt.strMapGet("address"))]).toEqual(both);
    expect((await etcd.client.get(`${mgmt.namespace}/strings/address/h2`)).entry).toBeDefined();
    await mgmt.strMapDel("address");
    expect(await revisionsOf(etcd, () => mgmt.strMapDel("address"))).toBe(0);
    expect([...(await other.strMapGet("address"))]).toEqual([both[1]]);
  });

  test("with the session's lease an entry goes with its host, where mgmt's stays for ever", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    await other.strMapSet("address", "192.0.2.2", { lease: "session" });
    await other.cleanup();
    expect(await mgmt.strMapGet("address")).toEqual(new Map());
  });
});

describe("strMapWatch", () => {
  test("wakes once at the start and for each host's change, and not for a name that begins alike", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    const watched = taken(mgmt.strMapWatch("address"));
    await watched.count(1);
    await mgmt.strMapSet("address6", "2001:db8::1");
    await mgmt.strSet("address", "of all");
    await other.strMapSet("address", "192.0.2.2");
    await watched.count(2);
    await other.strMapDel("address");
    await watched.count(3);
    expect(watched.all).toHaveLength(3);
  });
});
