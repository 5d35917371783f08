/**
 * A voter whose files fail it, each with real agents: its disk is full; its write-ahead log is missing; another etcd holds its data dir.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess, type Member, type Mode } from "../support/agents.ts";
import { etcdBinary } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";
import { eventsOf } from "../support/told.ts";

const three = ["h1", "h2", "h3"] as const;

async function open(how?: Mode): Promise<Fleet> {
  const fleet = await Fleet.open(["--session-ttl=4s"], undefined, how);
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

async function formed(fleet: Fleet): Promise<AgentProcess[]> {
  const agents = await fleet.form(three);
  for (let i = 0; i < 10; i++) await fleet.put("h1", `/kept/${i}`, "acknowledged");
  return agents;
}

async function nothingLost(fleet: Fleet, at: string): Promise<void> {
  for (let i = 0; i < 10; i++) expect(await fleet.get(at, `/kept/${i}`)).toBe("acknowledged");
}

const problemOf = async (fleet: Fleet, host: string): Promise<string> => {
  const record = await fleet.get("h1", `/_mgmt/quorate/agents/${host}`);
  return (JSON.parse(record ?? "{}") as { problem?: string }).problem ?? "";
};

describe("a voter", { timeout: 150_000 }, () => {
  test("whose disk is full goes down alone, says why, and is back with everything once there is space", async (ctx) => {
    const fleet = await open();
    const { prefix } = await fleet.place("h3");
    mkdirSync(prefix, { recursive: true });
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=256m", "tmpfs", prefix], { stdio: "pipe" });
    } catch {
      ctx.skip("a small disk needs the right to mount one");
    }
    onTestFinished(() => {
      execFileSync("umount", ["--lazy", prefix]);
    });
    const agents = await formed(fleet);
    const before = await fleet.members("h1");
    const ballast = join(prefix, "ballast");
    writeFileSync(ballast, "");
    // All of it: what is left is less than one page.
    try {
      for (let size = 128; size >= 1;) {
        try {
          writeFileSync(ballast, Buffer.alloc(size * 1024 * 1024, 1), { flag: "a" });
        } catch {
          size = Math.floor(size / 2);
        }
      }
      const large = "x".repeat(700_000);
      // What it says is gone for as long as it tries again.
      const failing = async (): Promise<string | undefined> => {
        await fleet.put("h1", "/large", large).catch(() => undefined);
        return (await problemOf(fleet, "h3")) || undefined;
      };
      const problem = await eventually("it says that its server failed", failing, 60_000).catch(async (error: unknown) => {
        throw new Error(`${(error as Error).message}\n${fleet.tails()}\n${JSON.stringify(await eventsOf(fleet, "h2"))}`);
      });
      expect(problem).toMatch(/no space left|cannot|exit|ended/i);
      await fleet.put("h1", "/kept/while-full", "acknowledged");
    } finally {
      rmSync(ballast);
    }
    await eventually(
      "it serves again",
      async () => (await fleet.get("h3", "/kept/while-full").catch(() => undefined)) === "acknowledged",
      60_000,
    );
    await nothingLost(fleet, "h3");
    await fleet.settled(3, ["h1"], 60_000);
    expect(await fleet.members("h1")).toEqual(before);
    expect(agents.every((agent) => agent.lines.some(({ msg }) => msg === "ready"))).toBe(true);
  });

  test("whose write-ahead log is missing never serves on what is left: it is replaced, and nothing is forgotten", async () => {
    const fleet = await open();
    const agents = await formed(fleet);
    const before = await fleet.members("h1");
    const [, , third] = agents as [AgentProcess, AgentProcess, AgentProcess];
    const idOf = (rows: readonly Member[]): string | undefined => rows.find(({ name }) => name === "h3")?.id;
    await third.kill();
    rmSync(join(third.place.prefix, "server", "member", "wal"), { recursive: true });

    const again = await fleet.start("h3", { seeds: ["h1"] });
    await eventually(
      "it has a new seat",
      async () => {
        const id = idOf(await fleet.members("h1"));
        return id !== undefined && id !== idOf(before);
      },
      60_000,
    ).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${fleet.tails()}`);
    });
    const kept = await again.line("data of the removed member kept");
    expect(kept["archive"]).toContain(join(third.place.prefix, "server.removed-"));
    const after = await fleet.settled(3, ["h1"], 60_000);
    const others = (rows: readonly Member[]): readonly Member[] => rows.filter(({ name }) => name !== "h3");
    expect(others(after)).toEqual(others(before));
    await nothingLost(fleet, "h3");
    await fleet.put("h2", "/still", "serving");
  });

  test("whose data dir an etcd on other ports holds names it, and goes on once that is gone", async () => {
    const fleet = await open();
    const agents = await formed(fleet);
    const before = await fleet.members("h1");
    const third = agents[2] as AgentProcess;
    third.signal("SIGTERM");
    expect((await third.end(30_000)).code).toBe(0);
    const byHand = fleet.run("etcd by hand", [
      ...[etcdBinary(), "--name", "h3", "--data-dir", join(third.place.prefix, "server"), "--logger=zap"],
      ...(await fleet.network.ports(2)).flatMap((port, i) => {
        const [what, advertise] = i === 0 ? ["client", "advertise"] : ["peer", "initial-advertise"];
        return [`--listen-${what}-urls=http://127.0.0.1:${port}`, `--${advertise}-${what}-urls=http://127.0.0.1:${port}`];
      }),
    ]);
    const opened = (): boolean => byHand.stderr.includes("opened backend db");
    await eventually("it has opened the database", opened, 30_000);

    const again = await fleet.start("h3", { seeds: ["h1"] });
    const said = new RegExp(`Cannot start a server on .*: etcd \\(pid ${byHand.pid}\\) runs one there`);
    await again.line((line) => said.test(JSON.stringify(line["err"] ?? "")), 30_000);
    expect(again.etcdPid()).toBeUndefined();
    await byHand.kill();
    await eventually(
      "it serves",
      async () => (await fleet.get("h3", "/kept/1").catch(() => undefined)) === "acknowledged",
      60_000,
    );
    await fleet.settled(3, ["h1"], 60_000);
    expect((await fleet.members("h1")).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  });

  test("whose data dir another etcd holds starts no second one on it, and says so", async () => {
    const fleet = await open("plain");
    const agents = await formed(fleet);
    const before = await fleet.members("h1");
    const [, , third] = agents as [AgentProcess, AgentProcess, AgentProcess];
    third.signal("SIGTERM");
    expect((await third.end(30_000)).code).toBe(0);
    // As somebody starts it by hand, to see what is in it.
    const { prefix, clientUrl, serverUrl } = third.place;
    const byHand = fleet.run("etcd by hand", [
      ...[etcdBinary(), "--name", "h3", "--data-dir", join(prefix, "server")],
      ...["--listen-client-urls", clientUrl, "--advertise-client-urls", clientUrl],
      ...["--listen-peer-urls", serverUrl, "--initial-advertise-peer-urls", serverUrl],
    ]);
    await eventually(
      "it serves by hand",
      async () => (await fleet.get("h3", "/kept/1").catch(() => undefined)) === "acknowledged",
      30_000,
    );

    const refused = await (await fleet.start("h3", { seeds: ["h1"] })).end(60_000);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`error: Cannot listen on ${clientUrl}: etcd (pid ${byHand.pid}`);
    expect(await fleet.members("h1")).toEqual(before);
    await byHand.kill();
    await (await fleet.start("h3", { seeds: ["h1"] })).ready(60_000);
    await fleet.settled(3, ["h1"], 60_000);
    expect(await fleet.members("h1")).toEqual(before);
  });
});
