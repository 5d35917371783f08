import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EtcdServer, type EtcdServerOptions, type InitialMember } from "../../src/embed/index.ts";
import { etcdBinary } from "./etcd.ts";
import { freePorts } from "./ports.ts";

export const never = new AbortController().signal;

/** A new folder, removed when the test is over. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "quorate-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** What one server needs; with `boot` it founds a cluster of its own. Elections are short, so that tests are. */
export async function serverOptions(name: string, changes: Partial<EtcdServerOptions> = {}): Promise<EtcdServerOptions> {
  const [client, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${port}`) as [string, string];
  return {
    binary: etcdBinary(),
    name,
    dataDir: join(await temporaryFolder(), "server"),
    listenClientUrls: [client],
    advertiseClientUrls: [client],
    listenPeerUrls: [peer],
    advertisePeerUrls: [peer],
    heartbeatMs: 20,
    electionMs: 200,
    boot: { state: "new", token: `test-${peer}`, initialCluster: async () => [{ name, peerUrls: [peer] }] },
    ...changes,
  };
}

/** Starts a server that is stopped, at the latest, when the test is over. */
export async function startServer(options: EtcdServerOptions, clock = systemClock): Promise<EtcdServer> {
  const server = await EtcdServer.start(options, { clock }, never);
  onTestFinished(async () => {
    await server.stop();
  });
  return server;
}

/** The options with which a further server joins a cluster that lists it already. */
export function joining(options: EtcdServerOptions, members: () => Promise<readonly InitialMember[]>): EtcdServerOptions {
  return { ...options, boot: { state: "existing", token: "joins", initialCluster: members } };
}

/** Asks an etcd through its JSON gateway. Rejects with what it answered where that is an error. */
export async function ask<T>(clientUrl: string, path: string, request: object): Promise<T> {
  const response = await fetch(`${clientUrl}/v3/${path}`, { method: "POST", body: JSON.stringify(request) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${text}`);
  return JSON.parse(text) as T;
}

interface ListedMember {
  readonly ID: string;
  readonly peerURLs: string[];
  readonly isLearner?: boolean;
}

/** The members, as a joining server needs to list them: itself by its name, the others by their ids. */
export async function membersSeenBy(clientUrl: string, self: EtcdServerOptions): Promise<InitialMember[]> {
  const { members } = await ask<{ members: ListedMember[] }>(clientUrl, "cluster/member/list", {});
  return members.map(({ ID, peerURLs }) => ({
    name: peerURLs[0] === self.advertisePeerUrls[0] ? self.name : BigInt(ID).toString(16),
    peerUrls: peerURLs,
  }));
}

/** Adds a learner and returns its id in hex. */
export async function addLearner(clientUrl: string, options: EtcdServerOptions): Promise<string> {
  const request = { peerURLs: options.advertisePeerUrls, isLearner: true };
  const { member } = await ask<{ member: ListedMember }>(clientUrl, "cluster/member/add", request);
  return BigInt(member.ID).toString(16);
}

export async function promote(clientUrl: string, memberId: string): Promise<void> {
  await ask(clientUrl, "cluster/member/promote", { ID: BigInt(`0x${memberId}`).toString() });
}

export async function removeMember(clientUrl: string, memberId: string): Promise<void> {
  await ask(clientUrl, "cluster/member/remove", { ID: BigInt(`0x${memberId}`).toString() });
}

/** A process of its own that runs one of our TypeScript files. */
export interface Program {
  readonly child: ChildProcess;
  /** The next whole line it prints. Rejects when it ends first, with what it wrote to stderr. */
  line(): Promise<string>;
}

/** Runs a TypeScript file in a new Node, killed when the test is over. */
export function runProgram(file: URL, args: readonly string[]): Program {
  const hooks = new URL("typescript-hooks.mjs", import.meta.url).href;
  const child = spawn(process.execPath, ["--import", hooks, fileURLToPath(file), ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await gone;
  });
  const lines: string[] = [];
  let errors = "";
  let rest = "";
  let wake = (): void => undefined;
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
    wake();
  });
  return {
    child,
    line: async () => {
      for (;;) {
        const line = lines.shift();
        if (line !== undefined) return line;
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`The program has ended: ${errors}`);
        await Promise.race([gone, new Promise<void>((resolve) => (wake = resolve))]);
      }
    },
  };
}

/** Waits for the end of a process that is not our child: there is no event for that. */
export async function untilGone(pid: number): Promise<void> {
  while (isAlive(pid)) await systemClock.sleep(10, never);
}

/** Whether a process still runs. One that has ended and that nobody has waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
