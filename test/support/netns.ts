import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TlsFiles } from "../../src/etcd/index.ts";
import { freePorts } from "./ports.ts";

/** What came back over HTTP. */
export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Whom an etcd is to know who asks it as. */
export interface Login {
  readonly user: string;
  readonly password: string;
}

/**
 * Where the processes of one test file live. A network namespace of its own where the machine allows that: every port is free
 * there, and no foreign connection takes one from an agent that is being restarted. Else the host's network, with free ports.
 */
export interface Network extends AsyncDisposable {
  /** Why this is the host's network; undefined when it is an own one. */
  readonly shared: string | undefined;
  /** A process that is in it. */
  readonly pid: number;
  /** The command that runs `argv` in this network; the process keeps its pid. */
  inside(argv: readonly string[]): [string, ...string[]];
  /** `n` ports of 127.0.0.1: 2379 and up in an own network. */
  ports(n: number): Promise<readonly number[]>;
  /** Asks from inside. Rejects where nobody answers. */
  fetch(url: string, body?: object, timeoutMs?: number): Promise<Answer>;
  /** What `fetch` shows and trusts from now on. */
  secure(tls: TlsFiles): void;
  /** Whom `fetch` logs in as from now on. */
  logIn(as: Login): void;
}

const program = fileURLToPath(new URL("netns-program.mjs", import.meta.url));

/** An own network if there can be one. */
export async function openNetwork(): Promise<Network> {
  const isRoot = process.getuid?.() === 0;
  const user = isRoot ? [] : ["--user", "--map-root-user"];
  try {
    const holder = await Holder.start(["unshare", ...user, "--net", "--", process.execPath, program, "--lo-up"]);
    const enter = ["nsenter", `--target=${holder.pid}`, ...(isRoot ? [] : ["--user", "--preserve-credentials"]), "--net", "--"];
    let next = 2379;
    return network(holder, undefined, enter, async (n) => Array.from({ length: n }, () => next++));
  } catch (error) {
    return network(await Holder.start([process.execPath, program]), (error as Error).message, [], freePorts);
  }
}

function network(holder: Holder, shared: string | undefined, enter: readonly string[], ports: Network["ports"]): Network {
  return {
    shared,
    pid: holder.pid,
    inside: (argv) => [...enter, ...argv] as [string, ...string[]],
    ports,
    fetch: (url, body, timeoutMs = 2_000) => holder.ask(url, body, timeoutMs),
    secure: (tls) => {
      holder.tls = tls;
    },
    logIn: (as) => {
      holder.login = as;
    },
    [Symbol.asyncDispose]: () => holder.end(),
  };
}

interface Reply extends Partial<Answer> {
  readonly id: number;
  readonly error?: string;
}

class Holder {
  tls: TlsFiles | undefined;
  login: Login | undefined;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #gone: Promise<void>;
  readonly #asked = new Map<number, (reply: Reply) => void>();
  #ids = 0;

  private constructor(child: ChildProcess, gone: Promise<void>) {
    this.pid = Number(child.pid);
    this.#child = child;
    this.#gone = gone;
  }

  static async start([command, ...args]: readonly string[]): Promise<Holder> {
    const child = spawn(String(command), args, { stdio: ["pipe", "pipe", "pipe"] });
    const gone = new Promise<void>((resolve) => child.once("close", () => resolve()).once("error", () => resolve()));
    const holder = new Holder(child, gone);
    let errors = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
    child.stdin.on("error", () => undefined);
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => {
        reject(new Error(`no network namespace can be made here: ${errors.trim() || `exit code ${code}`}`));
        holder.#drop();
      });
      createInterface({ input: child.stdout }).on("line", (line) => {
        const reply = JSON.parse(line) as Reply | { readonly ready: true };
        if ("ready" in reply) resolve();
        else holder.#take(reply);
      });
    });
    return holder;
  }

  ask(url: string, body: object | undefined, timeoutMs: number): Promise<Answer> {
    const id = ++this.#ids;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, ({ status, text, error }) => {
        if (status !== undefined && text !== undefined) resolve({ status, text });
        else reject(new Error(`${url}: ${error ?? "no answer"}`));
      });
      const request = { id, url, timeoutMs, tls: this.tls, login: this.login, ...(body && { body: JSON.stringify(body) }) };
      this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    });
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    this.#child.kill("SIGKILL");
    await this.#gone;
  }

  #take(reply: Reply): void {
    this.#asked.get(reply.id)?.(reply);
    this.#asked.delete(reply.id);
  }

  #drop(): void {
    for (const id of this.#asked.keys()) this.#take({ id, error: "the helper in the namespace has ended" });
  }
}
