import { createServer } from "node:net";
import { readdir } from "node:fs/promises";
import { firstValueFrom, filter, lastValueFrom, timeout, toArray } from "rxjs";
import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import * as library from "../../src/index.ts";
import { QuorateError, startAgent, type Agent, type AgentStatus } from "../../src/index.ts";
import { isAlive } from "../support/etcd-server.ts";
import { host, start } from "./agents.ts";

const voting = (agent: Agent): Promise<AgentStatus> =>
  firstValueFrom(
    agent.status$.pipe(
      filter((status) => status.role === "voter"),
      timeout({ first: 20_000 }),
    ),
  );

test("the library exports what it documents, and nothing else by accident", () => {
  expect(Object.keys(library).sort()).toEqual([
    "Agent",
    "QuorateError",
    "dynamicSize",
    "exitCodes",
    "isRetryable",
    "startAgent",
    "systemClock",
  ]);
});

describe("one agent", () => {
  test("is ready, tells its server's start and end, and leaves nothing behind", async () => {
    const agent = start(await host("h1"));
    const phases: string[] = [];
    agent.status$.subscribe(({ phase }) => {
      if (phases.at(-1) !== phase) phases.push(phase);
    });
    const errors = lastValueFrom(agent.err$.pipe(toArray()));
    const [server] = await Promise.all([firstValueFrom(agent.serverReady$), agent.ready]);
    expect(server).toMatchObject({
      memberId: expect.stringMatching(/^[0-9a-f]+$/) as string,
      clusterId: expect.stringMatching(/^[0-9a-f]+$/) as string,
    });
    expect(agent.status()).toMatchObject({
      role: "voter",
      phase: "running",
      memberId: server.memberId,
      clusterId: server.clusterId,
    });
    expect(agent.status().serverPid).toBe(server.pid);
    const exited = firstValueFrom(agent.serverExited$);
    const wasAlive = isAlive(server.pid);
    const [exit] = await Promise.all([agent.stop(), agent.stop()]);
    expect(wasAlive).toBe(true);
    expect(exit).toEqual({ exitCode: 0, error: undefined, how: "stopped", notice: undefined });
    expect(await agent.exited).toBe(exit);
    expect(await exited).toMatchObject({ asked: true });
    expect(await errors).toEqual([]);
    expect(isAlive(server.pid)).toBe(false);
    expect(phases).toEqual(["starting", "running", "stopping", "stopped"]);
    expect(agent.status()).toMatchObject({ phase: "stopped", serverPid: undefined, leading: false });
  });

  test("the streams complete only after its processes are gone", async () => {
    const agent = start(await host("h1"));
    await agent.ready;
    const { serverPid } = await voting(agent);
    const alive: Record<string, boolean> = {};
    const completed = Promise.all(
      (["err$", "status$", "serverReady$", "serverExited$"] as const).map(
        (name) =>
          new Promise<void>((resolve) => {
            agent[name].subscribe({
              complete: () => {
                alive[name] = isAlive(serverPid ?? 0);
                resolve();
              },
            });
          }),
      ),
    );
    await agent.stop();
    await completed;
    expect(alive).toEqual({ err$: false, status$: false, serverReady$: false, serverExited$: false });
    // Whoever comes too late is told the end as well.
    expect((await lastValueFrom(agent.status$.pipe(toArray()))).length).toBeLessThanOrEqual(1);
    expect(await lastValueFrom(agent.err$.pipe(toArray()))).toEqual([]);
  });

  test("continues from its own data when it is started again, and its server has the same seat", async () => {
    const options = await host("h1");
    const first = start(options);
    const before = await voting(first);
    await first.stop();
    const second = start(options);
    await second.ready;
    expect(await voting(second)).toMatchObject({ memberId: before.memberId, clusterId: before.clusterId });
    expect(second.status().serverPid).not.toBe(before.serverPid);
  });

  test("a server that is killed is started again: both are told, and the error is survived", async () => {
    const agent = start(await host("h1"));
    await agent.ready;
    const { serverPid } = await voting(agent);
    const exited = firstValueFrom(agent.serverExited$);
    const again = firstValueFrom(agent.serverReady$.pipe(timeout({ first: 20_000 })));
    process.kill(serverPid ?? 0, "SIGKILL");
    expect(await exited).toMatchObject({ asked: false, signal: "SIGKILL" });
    expect((await again).pid).not.toBe(serverPid);
    expect(await firstValueFrom(agent.err$)).toMatchObject({ code: "SERVER_EXITED" });
    await agent.stop();
  });

  test("leaving alone it keeps its seat and data, and says which host to start first", async () => {
    const agent = start(await host("h1"));
    await agent.ready;
    const exit = await agent.leave();
    expect(exit).toMatchObject({ exitCode: 0, how: "stopped", notice: expect.stringContaining("start h1 first") as string });
    expect(await agent.leave()).toBe(exit);
  });

  test("await using stops it at the end of the scope", async () => {
    const options = await host("h1");
    let agent: Agent;
    let pid: number | undefined;
    {
      await using own = startAgent(options);
      agent = own;
      await own.ready;
      pid = (await voting(own)).serverPid;
      expect(isAlive(pid ?? 0)).toBe(true);
    }
    expect(isAlive(pid ?? 0)).toBe(false);
    expect(agent.status().phase).toBe("stopped");
  });

  test("the signal stops it, whenever it fires", async () => {
    for (const afterMs of [0, 1, 100, 400]) {
      const own = new AbortController();
      const agent = start(await host("h1"), { signal: own.signal });
      if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
      own.abort();
      expect(await agent.exited).toMatchObject({ exitCode: 0, how: "stopped", error: undefined });
      await expect(agent.ready).rejects.toMatchObject({ code: "CLOSED" });
    }
    const late = AbortSignal.abort();
    expect(await start(await host("h1"), { signal: late }).exited).toMatchObject({ how: "stopped" });
  });

  test("a temporary prefix is gone at the end", async () => {
    const { prefix: _, ...options } = await host("h1");
    const agent = start({ ...options, tmpPrefix: true });
    await agent.ready;
    const { prefix } = agent.status();
    expect(await readdir(prefix ?? "")).toContain("state.json");
    await agent.stop();
    await expect(readdir(prefix ?? "")).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("an agent without a server is a client: it connects, has no seat, and leaves at once", async () => {
    const one = await host("h1");
    const founder = start(one);
    await founder.ready;
    const { clientUrls: _, serverUrls: __, ...options } = await host("h2", { seeds: one.clientUrls, server: false });
    const client = start(options);
    await client.ready;
    expect(client.status()).toMatchObject({ role: "client", clusterId: founder.status().clusterId, serverPid: undefined });
    expect(await client.leave()).toMatchObject({ how: "left", exitCode: 0 });
  });
});

describe("what cannot work", () => {
  test("an option that is invalid throws at once, with its name", () => {
    expect(() => startAgent({ priority: 0.5 })).toThrow(QuorateError);
    try {
      startAgent({ seeds: ["h1"] });
    } catch (error) {
      expect(error).toMatchObject({ code: "INVALID_OPTION", exitCode: 2, data: { option: "seeds" } });
    }
    expect.assertions(2);
  });

  test("a port that is taken rejects ready, is the error of exited and the last word of err$, and nothing is left", async () => {
    const options = await host("h1");
    const holder = createServer();
    const port = Number(new URL(options.clientUrls[0]).port);
    await new Promise<void>((resolve) => holder.listen(port, "127.0.0.1", resolve));
    onTestFinished(() => {
      holder.close();
    });
    const agent = start(options);
    const error = await agent.ready.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "PORT_IN_USE", data: { pid: process.pid, port } });
    expect(await agent.exited).toEqual({ exitCode: 1, error, how: "failed", notice: undefined });
    expect(await lastValueFrom(agent.err$.pipe(toArray()))).toEqual([error]);
    expect(await readdir(options.prefix ?? "")).toEqual([]);
  });

  test("a prefix that another agent of this process uses", async () => {
    const first = start(await host("h1"));
    await first.ready;
    const second = start({ ...(await host("h1")), prefix: first.status().prefix ?? "" });
    await expect(second.ready).rejects.toMatchObject({ code: "PREFIX_IN_USE" });
    expect(await second.exited).toMatchObject({ how: "failed" });
    expect(first.status().phase).toBe("running");
  });

  test("no etcd: said with its own code", async () => {
    const agent = start(await host("h1", { etcdBin: "/nowhere/etcd" }));
    await expect(agent.ready).rejects.toMatchObject({ code: expect.stringMatching(/_ETCD$/) as string, exitCode: 7 });
    expect((await agent.exited).exitCode).toBe(7);
  });
});

test("it logs where it is told to, with the hostname in every line, and debug where debug is asked for", async () => {
  const lines: { host?: string; level: number }[] = [];
  const logger = pino({ level: "info" }, { write: (line: string) => lines.push(JSON.parse(line) as { level: number }) });
  const quiet = start(await host("h1", { logger }));
  await quiet.ready;
  await quiet.stop();
  expect(lines.length).toBeGreaterThan(3);
  expect(lines.every((line) => line.host === "h1" && line.level >= 30)).toBe(true);
  const before = lines.length;
  const chatty = start(await host("h2", { logger, debug: true }));
  await chatty.ready;
  await chatty.stop();
  expect(lines.slice(before).some((line) => line.level === 20)).toBe(true);
  expect(logger.level).toBe("info");
});
