import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { TlsFiles } from "../../src/etcd/index.ts";
import { newAuthority, type Authority } from "./certificates.ts";
import { etcdBinary, etcdctlBinary } from "./etcd.ts";
import { eventually } from "./eventually.ts";
import type { Lan } from "./lan.ts";
import { openNetwork, type Login, type Network } from "./netns.ts";
import { childrenOf, nameOf, Process, untilGone, type Ended } from "./process.ts";
import { startWriter, type Writer } from "./writer.ts";

const quorate = fileURLToPath(new URL("../../bin/quorate.js", import.meta.url));

/** A row of etcd's member list. */
export interface Member {
  readonly id: string;
  /** Empty before it has started. */
  readonly name: string;
  readonly learner: boolean;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
}

/** The chooser's last word, as its leader published it. */
export interface PublishedPlan {
  readonly leader: string;
  readonly kind: "step" | "waiting" | "settled";
  readonly ideal: number;
  readonly because: string;
  readonly voters: number;
  readonly learners: number;
  readonly sizeRefused?: string;
  readonly notices: readonly string[];
}

/** One host: the same name, ports and prefix for every agent process that runs there, one after the other. */
export interface Place {
  readonly hostname: string;
  readonly clientUrl: string;
  readonly serverUrl: string;
  readonly prefix: string;
  /** Where its agent gives certificates, where it does. */
  readonly joinUrl?: string;
  /** The command that runs `argv` on that host, where it is not the fleet's network. */
  readonly inside?: (argv: readonly string[]) => [string, ...string[]];
}

export class AgentProcess extends Process {
  readonly place: Place;

  constructor(place: Place, command: readonly [string, ...string[]], env: NodeJS.ProcessEnv) {
    super(place.hostname, command, env);
    this.place = place;
  }

  /** Connected and volunteering. */
  async ready(withinMs = 30_000): Promise<this> {
    await this.line("ready", withinMs);
    return this;
  }

  /** `^C`, and the end. */
  async interrupt(withinMs = 45_000): Promise<Ended> {
    this.signal("SIGINT");
    return this.end(withinMs);
  }

  /** The pid of its etcd; undefined while none runs. */
  etcdPid(): number | undefined {
    return childrenOf(this.pid).find((pid) => nameOf(pid) === "etcd");
  }
}

export interface StartOptions {
  /** Hosts or URLs to join through. Default: none. */
  readonly seeds?: readonly string[];
  readonly flags?: readonly string[];
}

/**
 * How agents, servers and clients of a fleet speak with each other: in the clear, or each with a certificate, given or made; or with one that
 * is made, and a login once the fleet has formed.
 */
export type Mode = "plain" | "tls" | "auto-tls" | "auth";

/** That of fleets that say nothing else: `npm run test:full` plays the smoke tests in another one as well. */
export const mode: Mode =
  (["tls", "auto-tls", "auth"] as const).find((named) => named === process.env["QUORATE_TEST_MODE"]) ?? "plain";

interface Authorities {
  readonly clients: Authority;
  readonly peers: Authority;
}

async function authorityIn(folder: string): Promise<Authority> {
  await mkdir(folder, { recursive: true });
  return newAuthority("CA", folder);
}

/** The hosts of one test, with everything that runs on them: gone, with its files, when this is disposed of. */
export class Fleet implements AsyncDisposable {
  readonly network: Network;
  /** Everything its processes write is below this; it is also their folder for temporary files. */
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  /** What a client of this fleet shows and trusts. */
  tls: TlsFiles = {};
  readonly #places = new Map<string, Promise<Place>>();
  readonly #processes: Process[] = [];
  readonly #flags: readonly string[];
  readonly #open: AsyncDisposable[] = [];
  readonly #lan: Lan | undefined;
  /** Who signs certificates, where the fleet has some. */
  #authorities: Authorities | undefined;
  /** Its agents have their certificates made. */
  #isMade = false;
  /** Who everybody but its agents and its programs is, where it will ask for a login. */
  #root: Login | undefined;
  #asksForLogin = false;

  private constructor(network: Network, folder: string, flags: readonly string[], etcd: string, lan?: Lan) {
    this.network = network;
    this.#lan = lan;
    this.folder = folder;
    this.#flags = flags;
    const env = Object.entries(process.env).filter(
      ([name]) => !/^(ETCD|ETCDCTL|QUORATE)_/.test(name) || name === "QUORATE_TEST_RUN",
    );
    this.env = {
      ...Object.fromEntries(env),
      QUORATE_ETCD_BIN: etcd,
      TMPDIR: folder,
      NO_COLOR: "1",
    };
  }

  /** `flags` go to every agent; a short session by default, so that a killed one is missed soon. */
  static async open(
    flags: readonly string[] = ["--session-ttl=2s"],
    etcd: string = etcdBinary(),
    how: Mode = mode,
  ): Promise<Fleet> {
    const network = await openNetwork();
    const fleet = new Fleet(network, mkdtempSync(join(tmpdir(), "quorate-fleet-")), flags, etcd);
    fleet.#isMade = how === "auto-tls" || how === "auth";
    if (how === "auth") fleet.#root = { user: "root", password: randomUUID() };
    if (how === "tls") await fleet.#secure();
    return fleet;
  }

  /** Every host in a network of its own; the fleet takes `lan` over. */
  static on(lan: Lan, flags: readonly string[], etcd: string = etcdBinary()): Fleet {
    return new Fleet(lan.hub, mkdtempSync(join(tmpdir(), "quorate-fleet-")), flags, etcd, lan);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#open.map((one) => one[Symbol.asyncDispose]()));
    const etcds = this.#processes.flatMap((one) => (one instanceof AgentProcess ? (one.etcdPid() ?? []) : []));
    await Promise.all(this.#processes.map((one) => one.kill()));
    await Promise.all(etcds.map((pid) => untilGone(pid)));
    await (this.#lan ?? this.network)[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Closes it with the fleet. */
  keep<T extends AsyncDisposable>(one: T): T {
    this.#open.push(one);
    return one;
  }

  /** Runs anything in the fleet's network. */
  run(what: string, argv: readonly string[], env: NodeJS.ProcessEnv = this.env): Process {
    const started = new Process(what, this.network.inside(argv), env);
    this.#processes.push(started);
    return started;
  }

  /** Of one name always the same, also where many ask at once. */
  place(hostname: string): Promise<Place> {
    const known = this.#places.get(hostname);
    if (known !== undefined) return known;
    const place = this.#newPlace(hostname);
    this.#places.set(hostname, place);
    return place;
  }

  /** What clients and peers show each other is signed by an authority each; who shows nothing is refused. */
  async #secure(): Promise<void> {
    const folder = join(this.folder, "certificates");
    await mkdir(folder, { recursive: true });
    const [clients, peers] = await Promise.all(["clients", "peers"].map((name) => authorityIn(join(folder, name))));
    this.#authorities = { clients: clients!, peers: peers! };
    const { certFile, keyFile } = await clients!.issue("client");
    this.#show({ caFile: clients!.certFile, certFile, keyFile });
  }

  /** What commands, `ask` and the writer show and trust from now on. */
  #show(tls: Required<TlsFiles>): void {
    this.tls = tls;
    this.network.secure(tls);
    Object.assign(this.env, { QUORATE_CACERT: tls.caFile, QUORATE_CERT: tls.certFile, QUORATE_KEY: tls.keyFile });
  }

  /** Commands, `ask` and the writer show what this host shows from now on, where its certificates are made: at first it is the founder. */
  showAs({ prefix }: Place): void {
    if (!this.#isMade) return;
    const file = (name: string): string => join(prefix, "tls", `clients${name}.pem`);
    this.#show({ caFile: file("-ca"), certFile: file(""), keyFile: file("-key") });
  }

  /** Commands are told nothing any more. */
  showNothing(): void {
    Object.assign(this.env, { QUORATE_CACERT: undefined, QUORATE_CERT: undefined, QUORATE_KEY: undefined });
  }

  /** The flags of an agent that has its certificates made; with seeds it is given a token of them, unless it has some already. */
  async #made(place: Place, seeds: readonly string[]): Promise<readonly string[]> {
    const own = ["--auto-tls", `--join-urls=${place.joinUrl}`];
    const tls = join(place.prefix, "tls");
    if (existsSync(join(tls, "secret"))) return own;
    if (seeds.length === 0) {
      if (this.tls.certFile === undefined) this.showAs(place);
      return own;
    }
    const token = join(this.folder, `token of ${place.hostname}`);
    await eventually(
      "a token",
      async () => {
        const made = await this.quorate("token", "create", `--endpoints=${seeds.join(",")}`);
        if (made.code === 0) await writeFile(token, made.stdout, { mode: 0o600 });
        return made.code === 0;
      },
      30_000,
    );
    return [...own, `--join-token-file=${token}`];
  }

  /** The flags of an agent that shows certificates, which are made here; none in a fleet that has none. */
  async certificates(hostname: string): Promise<readonly string[]> {
    if (this.#authorities === undefined) return [];
    const { clients, peers } = this.#authorities;
    const [client, peer] = await Promise.all([clients.issue(hostname), peers.issue(hostname)]);
    return [
      ...[`--cert-file=${client.certFile}`, `--key-file=${client.keyFile}`],
      ...[`--trusted-ca-file=${clients.certFile}`, "--client-cert-auth"],
      ...[`--peer-cert-file=${peer.certFile}`, `--peer-key-file=${peer.keyFile}`],
      ...[`--peer-trusted-ca-file=${peers.certFile}`, "--peer-client-cert-auth"],
    ];
  }

  async #newPlace(hostname: string): Promise<Place> {
    await mkdir(join(this.folder, "prefix"), { recursive: true });
    return { hostname, prefix: join(this.folder, "prefix", hostname), ...(await this.#where(hostname)) };
  }

  async #where(hostname: string): Promise<Pick<Place, "clientUrl" | "serverUrl" | "joinUrl" | "inside">> {
    if (this.#lan) return this.#lan.host(hostname);
    const [client, server] = await this.network.ports(2);
    const scheme = this.#authorities === undefined && !this.#isMade ? "http" : "https";
    const urls = { clientUrl: `${scheme}://127.0.0.1:${client}`, serverUrl: `${scheme}://127.0.0.1:${server}` };
    return this.#isMade ? { ...urls, joinUrl: `https://127.0.0.1:${(await this.network.ports(1))[0]}` } : urls;
  }

  /** `quorate run` on that host, with a prefix that stays. Returns at once. */
  async start(hostname: string, { seeds = [], flags = [] }: StartOptions = {}): Promise<AgentProcess> {
    const place = await this.place(hostname);
    const through = await Promise.all(
      seeds.map(async (seed) => (seed.includes("://") ? seed : (await this.place(seed)).clientUrl)),
    );
    const own = flags.includes("--no-server") ? [] : [`--client-urls=${place.clientUrl}`, `--server-urls=${place.serverUrl}`];
    return this.agent(place, [
      `--hostname=${hostname}`,
      ...own,
      ...(flags.includes("--tmp-prefix") ? [] : [`--prefix=${place.prefix}`]),
      ...(through.length > 0 ? [`--seeds=${through.join(",")}`] : []),
      ...(await this.certificates(hostname)),
      ...(this.#isMade ? await this.#made(place, through) : []),
      ...(this.#root === undefined ? [] : await this.#loginAs("quorate-agent", "agent")),
      ...(this.#lan === undefined ? [] : ["--insecure"]),
      ...this.#flags,
      ...flags,
    ]);
  }

  /** `quorate run` with exactly these arguments; with `env` beside the environment of all. */
  agent(place: Place, args: readonly string[], env: Readonly<Record<string, string>> = {}): AgentProcess {
    const argv = [process.execPath, quorate, "run", ...args];
    const started = new AgentProcess(place, place.inside?.(argv) ?? this.network.inside(argv), { ...this.env, ...env });
    this.#processes.push(started);
    return started;
  }

  /** A founder and those that join through it, settled. */
  async form(hostnames: readonly string[], idealSize = hostnames.length): Promise<AgentProcess[]> {
    const [first = "", ...others] = hostnames;
    const founder = await this.start(first, { flags: [`--ideal-cluster-size=${idealSize}`] });
    const agents = [founder, ...(await Promise.all(others.map((host) => this.start(host, { seeds: [first] }))))];
    await Promise.all(agents.map((agent) => agent.ready()));
    await this.settled(Math.min(idealSize, hostnames.length), [first]);
    if (this.#root !== undefined) await this.#askForLogin(this.#root, agents);
    return agents;
  }

  /** The flags of `user`, who logs in from when on a login is asked for. */
  async #loginAs(user: string, name: string): Promise<readonly string[]> {
    const folder = join(this.folder, "passwords");
    const file = join(folder, name);
    if (!existsSync(file)) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeFile(file, user === this.#root?.user ? this.#root.password : randomUUID(), { mode: 0o600 });
    }
    return [`--user=${user}`, `--password-file=${file}`];
  }

  async #askForLogin(root: Login, agents: readonly AgentProcess[]): Promise<void> {
    await this.#loginAs("root", "root");
    const endpoints = agents.map(({ place }) => place.clientUrl).join(",");
    const done = await this.quorate("auth", "init", `--passwords=${join(this.folder, "passwords")}`, `--endpoints=${endpoints}`);
    if (done.code !== 0) throw new Error(`quorate auth init: ${done.stderr}`);
    this.#asksForLogin = true;
    this.network.logIn(root);
    this.env["ETCDCTL_USER"] = `${root.user}:${root.password}`;
  }

  /** An etcd that knows nothing of Quorate; its client URL, once it serves. */
  async plainEtcd(name: string, flags: readonly string[] = []): Promise<string> {
    const { clientUrl, serverUrl } = await this.place(name);
    const etcd = this.run(`etcd ${name}`, [
      ...[etcdBinary(), "--name", name, "--data-dir", join(this.folder, name), "--logger", "zap"],
      ...["--listen-client-urls", clientUrl, "--advertise-client-urls", clientUrl],
      ...[
        "--listen-peer-urls",
        serverUrl,
        "--initial-advertise-peer-urls",
        serverUrl,
        "--initial-cluster",
        `${name}=${serverUrl}`,
      ],
      ...flags,
    ]);
    const healthy = async (): Promise<boolean> => {
      const answer = await this.network.fetch(`${clientUrl}/health`).catch(() => undefined);
      return answer?.status === 200;
    };
    await eventually(`${name} serves\n${etcd.tail()}`, healthy, 20_000);
    return clientUrl;
  }

  /** Runs any `quorate` command to its end. */
  async quorate(...args: string[]): Promise<Ended> {
    return this.command(...args).end(60_000);
  }

  /** Starts any `quorate` command. */
  command(...args: string[]): Process {
    const isClient = args.some((arg) => arg.startsWith("--endpoints")) && !args.some((arg) => arg.startsWith("--user"));
    return this.run(`quorate ${args[0]}`, [process.execPath, quorate, ...args, ...(isClient ? this.login : [])]);
  }

  /** The flags by which a command logs in as root, once it has to. */
  get login(): readonly string[] {
    return this.#asksForLogin ? ["--user=root", `--password-file=${join(this.folder, "passwords", "root")}`] : [];
  }

  /** Runs etcdctl to its end; rejects with what it says where it fails. */
  async etcdctl(endpoint: string, ...args: string[]): Promise<string> {
    const env = { ...this.env, ETCDCTL_API: "3" };
    const { caFile, certFile, keyFile } = this.tls;
    const tls = certFile === undefined ? [] : [`--cacert=${caFile}`, `--cert=${certFile}`, `--key=${keyFile}`];
    const argv = [etcdctlBinary(), "--endpoints", endpoint.replace("http://", ""), ...tls, ...args];
    const { code, stdout, stderr } = await this.run(`etcdctl ${args[0]}`, argv, env).end(20_000);
    if (code !== 0) throw new Error(`etcdctl ${args.join(" ")}: ${stderr.trim().split("\n").at(-1)}`);
    return stdout;
  }

  /** Writes and reads without a pause at all these hosts. */
  async writer(hostnames: readonly string[]): Promise<Writer> {
    const places = await Promise.all(hostnames.map((host) => this.place(host)));
    return this.keep(
      await startWriter(
        this.network,
        places.map(({ clientUrl }) => clientUrl),
        { ...(this.tls.certFile !== undefined && { tls: this.tls }), ...(this.#asksForLogin && { login: this.#root }) },
      ),
    );
  }

  /** Asks an etcd through its JSON gateway; a host or a URL. */
  async ask<T>(at: string, path: string, request: object = {}): Promise<T> {
    const url = at.includes("://") ? at : (await this.place(at)).clientUrl;
    const { status, text } = await this.network.fetch(`${url}/v3/${path}`, request);
    if (status !== 200) throw new Error(`${url} ${path}: ${text}`);
    return JSON.parse(text) as T;
  }

  async put(at: string, key: string, value: string): Promise<void> {
    await this.ask(at, "kv/put", { key: base64(key), value: base64(value) });
  }

  async get(at: string, key: string): Promise<string | undefined> {
    const { kvs } = await this.ask<{ kvs?: { value?: string }[] }>(at, "kv/range", { key: base64(key) });
    return kvs?.[0] && Buffer.from(kvs[0].value ?? "", "base64").toString();
  }

  async members(at: string): Promise<Member[]> {
    const { members } = await this.ask<{
      members: { ID: string; name?: string; isLearner?: boolean; peerURLs: string[]; clientURLs?: string[] }[];
    }>(at, "cluster/member/list");
    return members
      .map(({ ID, name = "", isLearner = false, peerURLs, clientURLs = [] }) => ({
        id: BigInt(ID).toString(16),
        name,
        learner: isLearner,
        peerUrls: peerURLs,
        clientUrls: clientURLs,
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async plan(at: string, namespace = "/_mgmt"): Promise<PublishedPlan | undefined> {
    const text = await this.get(at, `${namespace}/quorate/plan`);
    return text === undefined ? undefined : (JSON.parse(text) as PublishedPlan);
  }

  /** Waits until the chooser has settled at `members` seats, as the first of these hosts that answers sees it. */
  async settled(members: number, hostnames: readonly string[], withinMs = 30_000): Promise<Member[]> {
    let last: unknown;
    return eventually(
      `${members} members, settled`,
      async () => {
        await delay(40);
        for (const host of hostnames) {
          try {
            const [rows, plan] = await Promise.all([this.members(host), this.plan(host)]);
            last = { rows, plan };
            const learners = rows.filter(({ learner }) => learner).length;
            if (plan?.kind !== "settled" || plan.voters + plan.learners !== rows.length || plan.learners !== learners) return;
            return rows.length === members && rows.every(({ name }) => name !== "") ? rows : undefined;
          } catch (error) {
            last = error;
          }
        }
        return undefined;
      },
      withinMs,
    ).catch((error: unknown) => {
      throw new Error(
        `${(error as Error).message}: ${last instanceof Error ? last.message : JSON.stringify(last)}\n${this.tails()}`,
      );
    });
  }

  /** What all agents said last. */
  tails(): string {
    return this.#processes
      .filter((one) => one instanceof AgentProcess)
      .map((one) => one.tail(12))
      .join("\n");
  }
}

export function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
