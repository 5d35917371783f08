import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { etcdBinary, etcdctlBinary } from "./etcd.ts";
import { freePorts } from "./ports.ts";

export interface EtcdNode {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly pid: number;
  /** SIGKILL and wait. Idempotent. */
  kill(): Promise<void>;
  /** SIGTERM and wait. Idempotent. */
  stop(): Promise<void>;
  /** SIGSTOP: alive and silent. */
  pause(): void;
  resume(): void;
  /** Starts it again on its own data after `kill` or `stop`. */
  restart(): Promise<void>;
  readonly lines: readonly string[];
}

export interface TestCluster extends AsyncDisposable {
  readonly nodes: readonly EtcdNode[];
  readonly urls: readonly string[];
  /** Starts one more server that joins; the caller has added it as a member. Settles once it serves. */
  join(
    name: string,
    urls: { readonly client: string; readonly peer: string },
    members: readonly { name: string; peerUrl: string }[],
  ): Promise<EtcdNode>;
  /** Stops all servers and starts them again with empty folders: the same cluster and member ids with nothing in them. */
  wipe(): Promise<void>;
  stop(): Promise<void>;
}

const leftovers = new Set<number>();
// A test that fails, or a runner that gives up, must leave no server behind.
process.on("exit", () => {
  for (const pid of leftovers) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone already.
    }
  }
});

/** `n` real etcd servers of one static cluster on free ports of 127.0.0.1, ready and with a raft leader. Not ours: no src/embed. */
export async function startEtcd(
  n = 1,
  options: {
    readonly binary?: string;
    readonly flags?: readonly string[];
    readonly token?: string;
    /** Path of a snapshot that is restored first: the data of one cluster under the id of another. */
    readonly restore?: string;
  } = {},
): Promise<TestCluster> {
  const folder = await mkdtemp(join(tmpdir(), "quorate-etcd-"));
  const ports = await freePorts(2 * n);
  const token = options.token ?? folder;
  const plans = Array.from({ length: n }, (_, i) => ({
    name: `n${i + 1}`,
    client: `http://127.0.0.1:${ports[2 * i]}`,
    peer: `http://127.0.0.1:${ports[2 * i + 1]}`,
  }));
  const nodes: Node[] = [];
  const binary = options.binary ?? etcdBinary();
  const make = (
    plan: { name: string; client: string; peer: string },
    state: string,
    initial: readonly { name: string; peerUrl: string }[],
  ): Node => {
    const args = [
      ...["--name", plan.name, "--data-dir", join(folder, plan.name), "--logger", "zap"],
      ...["--listen-client-urls", plan.client, "--advertise-client-urls", plan.client],
      ...["--listen-peer-urls", plan.peer, "--initial-advertise-peer-urls", plan.peer],
      ...["--initial-cluster-state", state, "--initial-cluster-token", token],
      ...["--initial-cluster", initial.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",")],
      ...(options.flags ?? []),
    ];
    const node = new Node(plan.name, plan.client, plan.peer, binary, args);
    nodes.push(node);
    return node;
  };
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.kill()));
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const initial = plans.map(({ name, peer }) => ({ name, peerUrl: peer }));
    for (const plan of plans) {
      if (options.restore !== undefined) restore(options.restore, plan, join(folder, plan.name), initial, token);
      make(plan, "new", initial);
    }
    await Promise.all(nodes.map((node) => node.serves()));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    nodes,
    urls: plans.map(({ client }) => client),
    join: async (name, urls, members) => {
      const node = make({ name, client: urls.client, peer: urls.peer }, "existing", members);
      await node.answers();
      return node;
    },
    wipe: async () => {
      await Promise.all(nodes.map((node) => node.kill()));
      await Promise.all(nodes.map((node) => rm(join(folder, node.name), { recursive: true, force: true })));
      await Promise.all(nodes.map((node) => node.restart()));
      await Promise.all(nodes.map((node) => node.serves()));
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function restore(
  snapshot: string,
  plan: { readonly name: string; readonly peer: string },
  dataDir: string,
  initial: readonly { readonly name: string; readonly peerUrl: string }[],
  token: string,
): void {
  const members = initial.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  const args = ["snapshot", "restore", snapshot, "--name", plan.name, "--data-dir", dataDir, "--initial-cluster", members];
  const all = [...args, "--initial-cluster-token", token, "--initial-advertise-peer-urls", plan.peer];
  execFileSync(etcdctlBinary(), all, { env: { ETCDCTL_API: "3" }, stdio: "pipe" });
}

class Node implements EtcdNode {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly lines: string[] = [];
  readonly #binary: string;
  readonly #args: readonly string[];
  #child!: ChildProcess;

  constructor(name: string, clientUrl: string, peerUrl: string, binary: string, args: readonly string[]) {
    this.name = name;
    this.clientUrl = clientUrl;
    this.peerUrl = peerUrl;
    this.#binary = binary;
    this.#args = args;
    this.#spawn();
  }

  get pid(): number {
    return this.#child.pid!;
  }

  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  pause(): void {
    this.#child.kill("SIGSTOP");
  }

  resume(): void {
    this.#child.kill("SIGCONT");
  }

  async restart(): Promise<void> {
    this.#spawn();
    await this.answers();
  }

  /** Ready and part of a cluster with a raft leader. */
  serves(): Promise<void> {
    return this.#until("/health", (status, body) => status === 200 && body.includes('"true"'));
  }

  /** Answers at all: enough for a learner or a lone restarted member. */
  answers(): Promise<void> {
    return this.#until("/version", (status) => status === 200);
  }

  #spawn(): void {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD_")));
    const child = spawn(this.#binary, this.#args, { stdio: ["ignore", "ignore", "pipe"], env });
    this.#child = child;
    if (child.pid !== undefined) leftovers.add(child.pid);
    // What arrives may end in the middle of a line.
    let rest = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines);
      this.lines.splice(0, this.lines.length - 5_000);
    });
    child.once("exit", () => leftovers.delete(child.pid!));
    child.once("error", (error) => this.lines.push(String(error)));
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGCONT");
    child.kill(signal);
    await exited;
  }

  async #until(path: string, good: (status: number, body: string) => boolean): Promise<void> {
    for (let tries = 0; tries < 1_500; tries++) {
      if (this.#child.exitCode !== null) break;
      const answer = await probe(this.clientUrl + path);
      if (answer && good(answer.status, answer.body)) return;
      await delay(20);
    }
    throw new Error(`etcd ${this.name} does not serve:\n${this.lines.slice(-10).join("\n")}`);
  }
}

function probe(url: string): Promise<{ status: number; body: string } | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: 1_000 }, (response) => {
      let body = "";
      response.on("data", (text: Buffer) => (body += text.toString()));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      response.on("error", () => resolve(undefined));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
}
