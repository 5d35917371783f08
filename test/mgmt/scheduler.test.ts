import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../src/mgmt/index.ts";
import type { SchedulerResult } from "../../src/mgmt/index.ts";
import { etcdOfWorlds, eventually, worldOf } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";
import { mgmtOf, taken } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

/** Whoever comes first may be told that nobody is scheduled before it is itself. */
async function untilHosts({ next }: SchedulerResult, ...hosts: readonly string[]): Promise<void> {
  let told: readonly string[] | undefined;
  while (told?.join() !== hosts.join()) told = await next({ timeoutMs: 20_000 });
}

describe("scheduler", () => {
  test("gives who is scheduled, and then each list that differs; whoever shuts down makes room at once", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    const first = await mgmt.scheduler("backup", { strategy: "alpha" });
    await untilHosts(first, "h1");
    const second = await other.scheduler("backup", { strategy: "alpha" });
    await untilHosts(second, "h1");
    await first.scheduling.whenScheduled({ timeoutMs: 20_000 });
    const next = untilHosts(second, "h2");
    await first.shutdown();
    await next;
    await expect(first.next()).rejects.toMatchObject({ code: "CLOSED" });
    await first.shutdown();
    await expect(second.next({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });

  test("takes mgmt's options, heeds the filter, and refuses those that contradict the others'", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    const options = { strategy: "rr", maxCount: 2, hostsFilter: ["h2", "h3"], sessionTtl: 5, reuseLease: false } as const;
    const first = await mgmt.scheduler("backup", options);
    await untilHosts(first);
    await other.scheduler("backup", options);
    await untilHosts(first, "h2");
    const contradicting = mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h3" });
    const refused = (await contradicting).scheduler("backup", { ...options, maxCount: 1 });
    await expect(refused).rejects.toMatchObject({ code: "CONFLICT", data: { reason: "options" } });
  });

  test("ends with cleanup(), also over a World that stays open", async () => {
    const world = await worldOf(etcd, { replica: false });
    const mgmt = await connect({ world });
    const other = await mgmtOf(etcd, { namespace: world.namespace, hostname: "h2" });
    const first = await mgmt.scheduler("backup");
    await untilHosts(first, "h1");
    const second = await other.scheduler("backup");
    await untilHosts(second, "h1");
    await mgmt.cleanup();
    expect(first.scheduling.signal.aborted).toBe(true);
    await untilHosts(second, "h2");
    expect(world.status.state).not.toBe("closed");
  });
});

describe("scheduled", () => {
  test("tells who is scheduled, at once and when it changes, without taking part", async () => {
    const mgmt = await mgmtOf(etcd);
    const onlooker = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h9" });
    const watched = taken(onlooker.scheduled("backup"));
    await watched.count(1);
    expect(watched.all[0]).toMatchObject({ state: "unknown", hosts: [] });
    const part = await mgmt.scheduler("backup");
    await eventually("h1 is told", () => watched.all.at(-1)?.hosts.join() === "h1");
    expect(watched.all.at(-1)!.state).toBe("scheduled");
    await part.shutdown();
    await eventually("nobody is told", () => watched.all.at(-1)?.hosts.length === 0);
    const wrong = taken(onlooker.scheduled(""));
    await eventually("it is over", () => wrong.isOver);
    expect(wrong.failure).toMatchObject({ code: "INVALID_NAME" });
  });
});
