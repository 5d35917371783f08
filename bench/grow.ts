/**
 * 1 -> 5 voters and 5 -> 1: Quorate, from the write of the size to all voters serving, against the same steps by a script with
 * etcdctl that polls every 50 ms and never pauses, with etcd's strict-reconfig-check on and off. One run, one machine.
 *
 *   npm run bench -- grow [--rounds 3]
 *
 * Exits 1 unless 1 -> 5 is at least 5 times faster than by hand with the check on and within 3 times of by hand with it off.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { systemClock as clock } from "../src/clock.ts";
import { EtcdClient } from "../src/etcd/index.ts";
import { etcdBinary, etcdctlBinary } from "../test/support/etcd.ts";
import { freePorts } from "../test/support/ports.ts";

const never = new AbortController().signal;
const run = promisify(execFile);
const pollMs = 50;
const launcher = fileURLToPath(new URL("../bin/quorate.js", import.meta.url));

/** Every process this run started; ended at its end, however it ends. */
const started = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of started) child.kill("SIGKILL");
});

interface Timed {
  readonly name: string;
  readonly ms: number;
}

/** What one way of doing it took. */
interface Result {
  readonly up: number;
  readonly down: number;
  readonly steps: readonly Timed[];
}

async function until<T>(what: string, ms: number, everyMs: number, probe: () => Promise<T | undefined>): Promise<T> {
  const endMs = clock.nowMs() + ms;
  for (;;) {
    const found = await probe().catch(() => undefined);
    if (found !== undefined) return found;
    if (clock.nowMs() >= endMs) throw new Error(`Cannot go on: ${what} did not happen within ${ms} ms`);
    await clock.sleep(everyMs, never);
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill(signal);
  await gone;
  started.delete(child);
}

interface Host {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
}

async function hosts(n: number): Promise<readonly Host[]> {
  const ports = await freePorts(2 * n);
  return Array.from({ length: n }, (_, i) => ({
    name: `h${i + 1}`,
    client: `http://127.0.0.1:${ports[2 * i]}`,
    peer: `http://127.0.0.1:${ports[2 * i + 1]}`,
  }));
}

/** One etcd server, as a person would start it. */
function startServer(host: Host, cluster: string, state: string, folder: string, strict: boolean): ChildProcess {
  const child = spawn(
    etcdBinary(),
    [
      `--name=${host.name}`,
      `--data-dir=${join(folder, host.name)}`,
      `--listen-client-urls=${host.client}`,
      `--advertise-client-urls=${host.client}`,
      `--listen-peer-urls=${host.peer}`,
      `--initial-advertise-peer-urls=${host.peer}`,
      `--initial-cluster=${cluster}`,
      `--initial-cluster-state=${state}`,
      `--strict-reconfig-check=${String(strict)}`,
      "--log-level=error",
    ],
    { stdio: "ignore" },
  );
  started.add(child);
  return child;
}

async function ctl(endpoint: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(etcdctlBinary(), [`--endpoints=${endpoint}`, "--command-timeout=3s", ...args], {
    env: { ETCDCTL_API: "3", PATH: process.env["PATH"] ?? "" },
  });
  return stdout;
}

/** `ID, status, name, peers, clients, learner` a line. */
async function list(endpoint: string): Promise<readonly { id: string; name: string; learner: boolean }[]> {
  const text = await ctl(endpoint, "member", "list");
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(", "))
    .map(([id = "", , name = "", , , learner]) => ({ id, name, learner: learner === "true" }));
}

async function byHand(strict: boolean): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "quorate-bench-"));
  const all = await hosts(5);
  const [first] = all;
  if (!first) throw new Error("no hosts");
  const children = new Map<string, ChildProcess>();
  const steps: Timed[] = [];
  try {
    children.set(first.name, startServer(first, `${first.name}=${first.peer}`, "new", folder, strict));
    await until("the first server", 20_000, pollMs, () => ctl(first.client, "endpoint", "health"));
    // The cluster has been there for a while, as in every real case.
    await clock.sleep(6_000, never);
    const startMs = clock.nowMs();
    for (const [i, host] of all.entries()) {
      if (i === 0) continue;
      const stepMs = clock.nowMs();
      await until(`adding ${host.name}`, 60_000, pollMs, () =>
        ctl(first.client, "member", "add", host.name, "--learner", `--peer-urls=${host.peer}`),
      );
      const cluster = all
        .slice(0, i + 1)
        .map((h) => `${h.name}=${h.peer}`)
        .join(",");
      children.set(host.name, startServer(host, cluster, "existing", folder, strict));
      const id = await until(
        `${host.name} in the list`,
        20_000,
        pollMs,
        async () => (await list(first.client)).find((m) => m.name === host.name)?.id,
      );
      await until(`promoting ${host.name}`, 60_000, pollMs, () => ctl(first.client, "member", "promote", id));
      steps.push({ name: `voter ${i + 1}`, ms: clock.nowMs() - stepMs });
    }
    await Promise.all(all.map((h) => until(`${h.name} serving`, 20_000, pollMs, () => ctl(h.client, "get", "x"))));
    const up = clock.nowMs() - startMs;

    const downMs = clock.nowMs();
    for (const host of [...all].slice(1).reverse()) {
      const stepMs = clock.nowMs();
      const id = await until(
        "the list",
        20_000,
        pollMs,
        async () => (await list(first.client)).find((m) => m.name === host.name)?.id,
      );
      await until(`removing ${host.name}`, 60_000, pollMs, () => ctl(first.client, "member", "remove", id));
      const child = children.get(host.name);
      if (child) await end(child, "SIGTERM");
      steps.push({ name: `without ${host.name}`, ms: clock.nowMs() - stepMs });
    }
    await until("one voter serving", 20_000, pollMs, () => ctl(first.client, "get", "x"));
    return { up, down: clock.nowMs() - downMs, steps };
  } finally {
    await Promise.all([...children.values()].map((child) => end(child, "SIGKILL")));
    await rm(folder, { recursive: true, force: true });
  }
}

async function quorate(): Promise<Result> {
  const all = await hosts(5);
  const [first] = all;
  if (!first) throw new Error("no hosts");
  const children: ChildProcess[] = [];
  await using client = EtcdClient.create({ endpoints: [first.client], clock });
  const steps: Timed[] = [];
  try {
    for (const [i, host] of all.entries()) {
      const child = spawn(
        process.execPath,
        [
          launcher,
          "run",
          "--tmp-prefix",
          `--hostname=${host.name}`,
          ...(i === 0 ? ["--ideal-cluster-size=1"] : [`--seeds=${first.client}`]),
          `--client-urls=${host.client}`,
          `--server-urls=${host.peer}`,
          "--log-level=warn",
          "--log-format=json",
        ],
        { stdio: ["ignore", "ignore", "inherit"] },
      );
      started.add(child);
      children.push(child);
    }
    const agents = { start: "/_mgmt/volunteer/", end: "/_mgmt/volunteer0" };
    await until("five volunteers", 60_000, pollMs, async () => ((await client.range(agents)).count === 5 ? true : undefined));
    await until("a settled chooser", 60_000, pollMs, async () =>
      (await client.get("/_mgmt/quorate/plan")).entry?.value.includes('"settled"') ? true : undefined,
    );
    await clock.sleep(6_000, never);

    const up = await resize(client, all, 5, steps);
    const down = await resize(client, all, 1, steps);
    return { up, down, steps };
  } finally {
    await Promise.all(children.map((child) => end(child, "SIGTERM")));
  }
}

/** From the write of the size until so many voters serve; and, going down, until the list has no other. */
async function resize(client: EtcdClient, all: readonly Host[], size: number, steps: Timed[]): Promise<number> {
  const startMs = clock.nowMs();
  let stepMs = startMs;
  let before = -1;
  await client.put("/_mgmt/chooser/dynamicsize/idealclustersize", String(size));
  await until(`${size} voters serving`, 120_000, 10, async () => {
    const { members } = await client.readMembership({ timeoutMs: 1_000 });
    client.endpoints.set(members.filter((m) => !m.learner).flatMap((m) => m.clientUrls));
    const voters = members.filter((m) => !m.learner);
    if (before !== voters.length) {
      if (before !== -1) steps.push({ name: `${voters.length} voters`, ms: clock.nowMs() - stepMs });
      stepMs = clock.nowMs();
      before = voters.length;
    }
    if (voters.length !== size || members.length !== size) return undefined;
    const urls = all.map((h) => h.client).filter((url) => voters.some((m) => m.clientUrls.includes(url)));
    await Promise.all(urls.map((url) => client.get("x", { endpoint: url, timeoutMs: 1_000 })));
    return true;
  });
  return clock.nowMs() - startMs;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function show(name: string, result: Result): void {
  const steps = result.steps.map((step) => `${step.name} ${(step.ms / 1_000).toFixed(2)}`).join(", ");
  console.log(
    `${name.padEnd(24)} 1 -> 5 ${(result.up / 1_000).toFixed(2)} s   5 -> 1 ${(result.down / 1_000).toFixed(2)} s   (${steps})`,
  );
}

const rounds = Number(process.argv[process.argv.indexOf("--rounds") + 1] || 3) || 3;
const results = { quorate: [] as Result[], off: [] as Result[], on: [] as Result[] };
for (let i = 0; i < rounds; i++) {
  results.quorate.push(await quorate());
  show("Quorate", results.quorate.at(-1) as Result);
  results.off.push(await byHand(false));
  show("by hand, check off", results.off.at(-1) as Result);
  results.on.push(await byHand(true));
  show("by hand, check on", results.on.at(-1) as Result);
}
const up = {
  quorate: median(results.quorate.map((r) => r.up)),
  off: median(results.off.map((r) => r.up)),
  on: median(results.on.map((r) => r.up)),
};
const down = {
  quorate: median(results.quorate.map((r) => r.down)),
  off: median(results.off.map((r) => r.down)),
  on: median(results.on.map((r) => r.down)),
};
console.log(
  `median of ${rounds}: 1 -> 5 ${Math.round(up.quorate)} ms, by hand ${Math.round(up.off)} ms (check off), ${Math.round(up.on)} ms (check on)`,
);
console.log(
  `median of ${rounds}: 5 -> 1 ${Math.round(down.quorate)} ms, by hand ${Math.round(down.off)} ms (check off), ${Math.round(down.on)} ms (check on)`,
);
const faster = up.on / up.quorate;
const slower = up.quorate / up.off;
console.log(`1 -> 5 is ${faster.toFixed(1)} times faster than by hand with the check on (goal: 5 or more)`);
console.log(`1 -> 5 takes ${slower.toFixed(2)} times as long as by hand with the check off (goal: 3 or less)`);
if (faster < 5 || slower > 3) {
  console.log("beyond the limit");
  process.exitCode = 1;
}
