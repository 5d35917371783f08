/**
 * What an agent without a server costs while nothing happens: resident memory, CPU, and RPCs counted by etcd's
 * `grpc_server_started_total`.
 *
 *   npm run bench -- idle [--seconds 60]
 *
 * Exits 1 beyond 90 MB, 1 % of a core, or 0.5 RPC/s per agent.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { systemClock as clock } from "../src/clock.ts";
import { EtcdClient } from "../src/etcd/index.ts";
import { freePorts } from "../test/support/ports.ts";

const never = new AbortController().signal;
const launcher = fileURLToPath(new URL("../bin/quorate.js", import.meta.url));
const at = process.argv.indexOf("--seconds");
const seconds = at >= 0 ? Number(process.argv[at + 1]) : 60;
const idlers = 3;
const children: ChildProcess[] = [];
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

function start(name: string, client: number, server: number, ...more: string[]): ChildProcess {
  const args = ["run", "--tmp-prefix", `--hostname=${name}`, "--log-level=warn", "--log-format=json", ...more];
  const urls = [`--client-urls=http://127.0.0.1:${client}`, `--server-urls=http://127.0.0.1:${server}`];
  const child = spawn(process.execPath, [launcher, ...args, ...urls], { stdio: ["ignore", "ignore", "ignore"] });
  children.push(child);
  return child;
}

/** All calls and streams etcd has ever started. */
function started(metrics: string): number {
  let sum = 0;
  for (const [, value] of metrics.matchAll(/^grpc_server_started_total\{[^}]*\} (\S+)$/gm)) sum += Number(value);
  return sum;
}

/** User and system time in seconds, from /proc/PID/stat (in ticks of 10 ms). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function residentMb(pid: number): number {
  const kb = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kb) / 1024;
}

async function volunteers(client: EtcdClient, n: number): Promise<void> {
  for (const endMs = clock.nowMs() + 60_000; ;) {
    const seen = await client.range({ start: "/_mgmt/volunteer/", end: "/_mgmt/volunteer0" }).catch(() => undefined);
    const plan = await client.get("/_mgmt/quorate/plan").catch(() => undefined);
    if (seen?.count === n && plan?.entry?.value.includes('"settled"') === true) break;
    if (clock.nowMs() > endMs) throw new Error(`Cannot measure: ${n} agents are not there within 60 s`);
    await clock.sleep(100, never);
  }
  await clock.sleep(8_000, never);
}

const ports = await freePorts(2 * (idlers + 1));
const port = (i: number): number => ports[i] ?? 0;
const endpoint = `http://127.0.0.1:${port(0)}`;
const client = EtcdClient.create({ endpoints: [endpoint], clock });
let beyond = false;
try {
  start("h1", port(0), port(1), "--ideal-cluster-size=1");
  await volunteers(client, 1);
  const alone = started(await client.metrics(endpoint));
  await clock.sleep(seconds * 1_000, never);
  const leaderRate = (started(await client.metrics(endpoint)) - alone) / seconds;

  const idle = Array.from({ length: idlers }, (_, i) =>
    start(`h${i + 2}`, port(2 * i + 2), port(2 * i + 3), `--seeds=${endpoint}`),
  );
  await volunteers(client, idlers + 1);
  const pids = idle.map((child) => child.pid ?? 0);
  const before = { rpc: started(await client.metrics(endpoint)), cpu: pids.map(cpuSeconds) };
  await clock.sleep(seconds * 1_000, never);
  const rate = ((started(await client.metrics(endpoint)) - before.rpc) / seconds - leaderRate) / idlers;
  const cpu = pids.map((pid, i) => ((cpuSeconds(pid) - (before.cpu[i] ?? 0)) / seconds) * 100);
  const memory = pids.map(residentMb);
  console.log(`over ${seconds} s, ${idlers} agents without a server:`);
  console.log(`  resident memory  ${memory.map((mb) => mb.toFixed(1)).join(", ")} MB (limit 90)`);
  console.log(`  CPU              ${cpu.map((percent) => percent.toFixed(2)).join(", ")} % of a core (limit 1)`);
  console.log(
    `  calls            ${rate.toFixed(3)} RPC/s per agent (limit 0.5); the leader alone ${leaderRate.toFixed(2)} RPC/s`,
  );
  beyond = memory.some((mb) => mb >= 90) || cpu.some((percent) => percent >= 1) || rate > 0.5;
} finally {
  await client.close();
  for (const child of children.reverse()) {
    if (child.exitCode !== null) continue;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    await gone;
  }
}
if (beyond) {
  console.log("beyond the limit");
  process.exitCode = 1;
}
