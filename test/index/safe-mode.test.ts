import { filter, firstValueFrom, timeout } from "rxjs";
import { describe, expect, test } from "vitest";
import { systemClock as clock, type Clock } from "../../src/clock.ts";
import { QuorateError } from "../../src/errors.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { keysUnder } from "../../src/keys.ts";
import type { AgentOptions, AgentStatus } from "../../src/index.ts";
import { thisMachine, type Machine } from "../../src/agent/machine.ts";
import { host, start } from "./agents.ts";

const keys = keysUnder("/_mgmt");

/** A host whose agent founded a cluster and was stopped in order. */
async function founded(): Promise<AgentOptions & { readonly clientUrls: readonly [string] }> {
  const options = await host("h1", { idealClusterSize: 1 });
  const agent = start(options);
  await agent.ready;
  await agent.stop();
  return options;
}

/** Starts and ends by `error`, so many times. */
async function end(options: AgentOptions, times: number, error: Error, more: Partial<Machine> = {}): Promise<void> {
  const machine: Machine = { ...thisMachine, ...more, chooseBinary: () => Promise.reject(error) };
  for (let i = 0; i < times; i++) expect(await start(options, { machine }).exited).toMatchObject({ how: "failed", error });
}

const bug = new TypeError("Cannot read properties of undefined");

/** The first phase it has once it has begun. */
async function firstPhase(agent: ReturnType<typeof start>): Promise<AgentStatus> {
  return firstValueFrom(
    agent.status$.pipe(
      filter(({ phase }) => phase === "safe-mode" || phase === "running"),
      timeout({ first: 30_000 }),
    ),
  );
}

describe("an agent that crashed three times within 5 minutes", { timeout: 60_000 }, () => {
  test("runs its server and shows itself, says why and what to do, and neither volunteers nor leads, whatever the keys say", async () => {
    const options = await founded();
    await end(options, 3, bug);
    const agent = start(options);
    const { problem } = await firstPhase(agent);
    expect(agent.status().phase).toBe("safe-mode");
    expect(problem).toMatch(/^safe mode after three crashes .* stop it by SIGTERM and start it again to end this/);

    await using client = EtcdClient.create({ endpoints: options.clientUrls, clock });
    const record = async (): Promise<Record<string, unknown>> =>
      JSON.parse((await client.get(keys.agents.key("h1"), { timeoutMs: 20_000 })).entry?.value ?? "{}") as Record<
        string,
        unknown
      >;
    for (const untilMs = clock.nowMs() + 20_000; (await record())["server"] !== "serving";)
      if (clock.nowMs() > untilMs) throw new Error(`It shows ${JSON.stringify(await record())}`);
    expect(await record()).toMatchObject({ volunteering: false, problem });
    expect((await client.range(keys.leader)).entries).toEqual([]);
    expect((await client.get(keys.volunteer.key("h1"))).entry).toBeUndefined();

    // Asked to leave it keeps its seat, and this is an orderly end: the next start is a normal one.
    expect(await agent.leave()).toMatchObject({
      exitCode: 0,
      how: "stopped",
      notice: expect.stringContaining("safe mode") as string,
    });
    expect((await firstPhase(start(options))).phase).toBe("running");
  });

  test("is well again once it has run for 5 minutes", async () => {
    const options = await founded();
    await end(options, 3, bug);
    const quick: Clock = { ...clock, sleep: (ms, signal) => clock.sleep(ms === 300_000 ? 200 : ms, signal) };
    const agent = start(options, { clock: quick });
    expect((await firstPhase(agent)).phase).toBe("safe-mode");
    await agent.ready;
    const voter = await firstValueFrom(
      agent.status$.pipe(
        filter(({ role }) => role === "voter"),
        timeout({ first: 30_000 }),
      ),
    );
    expect(voter).toMatchObject({ phase: "running", problem: undefined });
  });
});

describe("an agent starts as ever", { timeout: 60_000 }, () => {
  test("after two crashes", async () => {
    const options = await founded();
    await end(options, 2, bug);
    expect((await firstPhase(start(options))).phase).toBe("running");
  });

  test("after any number of refusals, which are orderly ends", async () => {
    const options = await founded();
    await end(options, 4, new QuorateError("NO_ETCD", "Cannot find an etcd"));
    expect((await firstPhase(start(options))).phase).toBe("running");
  });

  test("after crashes before the machine was started again, or longer ago than 5 minutes", async () => {
    const options = await founded();
    await end(options, 3, bug, { boot: () => ({ id: "an earlier run", upMs: 1_000 }) });
    expect((await firstPhase(start(options))).phase).toBe("running");
  });
});
