import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { openNetwork, type Network } from "./netns.ts";

/** Where one host of a {@link Lan} is. */
export interface LanHost {
  readonly clientUrl: string;
  readonly serverUrl: string;
  /** The command that runs `argv` on that host; the process keeps its pid. */
  inside(argv: readonly string[]): [string, ...string[]];
}

/**
 * A network in which every host has a namespace of its own, with one address for clients and one for servers, so that two hosts can be
 * kept from hearing each other. Needs root.
 */
export class Lan implements AsyncDisposable {
  /** Where the hosts' cables meet: from there all of them are reached. */
  readonly hub: Network;
  readonly #hosts = new Map<string, Promise<{ readonly network: Network; readonly n: number }>>();

  private constructor(hub: Network) {
    this.hub = hub;
  }

  /** Why there can be none on this machine, or the network. */
  static async open(): Promise<Lan | string> {
    const hub = await openNetwork();
    const lan = new Lan(hub);
    try {
      if (hub.shared !== undefined) throw new Error(hub.shared);
      if (process.getuid?.() !== 0) throw new Error("only root can connect network namespaces");
      await run(hub, "ip link add br0 type bridge && ip link set br0 up");
      await run(hub, "ip addr add 10.0.1.254/24 dev br0 && ip addr add 10.0.2.254/24 dev br0");
      return lan;
    } catch (error) {
      await lan[Symbol.asyncDispose]();
      return (error as Error).message;
    }
  }

  async host(name: string): Promise<LanHost> {
    let host = this.#hosts.get(name);
    if (!host) this.#hosts.set(name, (host = this.#connect(this.#hosts.size + 1)));
    const { network, n } = await host;
    return { clientUrl: `http://10.0.1.${n}:2379`, serverUrl: `http://10.0.2.${n}:2380`, inside: (argv) => network.inside(argv) };
  }

  /** From now on no packet passes between the servers of these two: without a word, in both directions. Clients reach both. */
  async cut(a: string, b: string): Promise<void> {
    const [one, other] = await this.#pair(a, b);
    // To an address nobody has.
    const lose = (n: number): string => `ip neigh replace 10.0.2.${n} lladdr 02:00:00:00:00:01 dev eth0 nud permanent`;
    await Promise.all([run(one.network, lose(other.n)), run(other.network, lose(one.n))]);
  }

  async mend(a: string, b: string): Promise<void> {
    const [one, other] = await this.#pair(a, b);
    const find = (n: number): string => `ip neigh del 10.0.2.${n} dev eth0`;
    await Promise.all([run(one.network, find(other.n)), run(other.network, find(one.n))]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const hosts = await Promise.all(this.#hosts.values());
    await Promise.all(hosts.map(({ network }) => network[Symbol.asyncDispose]()));
    await this.hub[Symbol.asyncDispose]();
  }

  async #connect(n: number): Promise<{ readonly network: Network; readonly n: number }> {
    const network = await openNetwork();
    await run(this.hub, `ip link add v${n} type veth peer name eth0 netns ${network.pid}`);
    await run(this.hub, `ip link set v${n} master br0 up`);
    await run(network, `ip addr add 10.0.1.${n}/24 dev eth0 && ip addr add 10.0.2.${n}/24 dev eth0 && ip link set eth0 up`);
    return { network, n };
  }

  #pair(a: string, b: string): Promise<[{ network: Network; n: number }, { network: Network; n: number }]> {
    const of = (name: string): Promise<{ network: Network; n: number }> => {
      const host = this.#hosts.get(name);
      if (!host) throw new Error(`no host ${name}`);
      return host;
    };
    return Promise.all([of(a), of(b)]);
  }
}

async function run(network: Network, script: string): Promise<void> {
  const [command, ...args] = network.inside(["sh", "-ec", script]);
  await promisify(execFile)(command, args);
}
