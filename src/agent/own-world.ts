import { join } from "node:path";
import type { Logger } from "pino";
import { raced, within, type Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { World } from "../world/index.ts";
import type { PartsHere } from "../world/converged/here.ts";
import { worldOver } from "../world/world.ts";
import type { ResolvedOptions } from "./resolve.ts";
import { socketIn } from "./no-network.ts";
import { filesOf } from "./resolve-tls.ts";

/** Where the World of an agent is: known once it has joined. */
export interface WorldPlace {
  readonly folder: string;
  readonly clusterId: string;
  readonly endpoints: readonly string[];
}

/** For giving up locks and sessions: longer than etcd is given for each. */
const closeMs = 5_000;

/** The World of an agent: nothing of it is there before it is used. */
export class OwnWorld {
  readonly #options: ResolvedOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #here: PartsHere;
  readonly #over = new AbortController();
  readonly #place: Promise<WorldPlace>;
  #setPlace!: (place: WorldPlace) => void;
  #world: World | undefined;

  /** `here`: what is converged or not of the agent. */
  constructor(options: ResolvedOptions, here: PartsHere, clock: Clock, log: Logger) {
    this.#options = options;
    this.#here = here;
    this.#clock = clock;
    this.#log = log.child({ part: "world" });
    this.#place = new Promise((resolve) => {
      this.#setPlace = resolve;
    });
  }

  /** It can be asked for anything at once; what it is asked waits until the agent has joined. */
  get world(): World {
    return (this.#world ??= this.#make());
  }

  /** The agent has joined. */
  isAt(place: WorldPlace): void {
    this.#setPlace(place);
  }

  /** The agent ends, and etcd can still be told. Idempotent. */
  async close(): Promise<void> {
    this.#over.abort(new QuorateError("CLOSED", "Cannot use the World: its agent has ended"));
    const world = this.#world;
    if (world === undefined) return;
    const late = (): Error => new Error(`the World could not be closed in ${closeMs} ms`);
    await within(closeMs, this.#clock, new AbortController().signal, () => world.close(), late).catch((error: unknown) => {
      this.#log.warn({ err: error }, "what the World held is left to expire");
    });
  }

  #make(): World {
    const { hostname, keys, sessionTtlMs, worldGroup, login, noNetwork } = this.#options;
    const tls = filesOf(this.#options.tls.clients);
    const [clock, log] = [this.#clock, this.#log];
    const world = worldOver({
      hostname,
      keys,
      clock,
      log,
      sessionTtlMs,
      agents: this.#here,
      connect: async () => {
        const { folder, clusterId, endpoints } = await raced(this.#place, this.#over.signal);
        const { connect } = await import("../world/connect.ts");
        return await connect({
          endpoints,
          namespace: keys.namespace,
          clusterId,
          folder: join(folder, "world"),
          clock,
          log,
          ...(tls === undefined ? {} : { tls }),
          ...(login === undefined ? {} : { login }),
          ...(noNetwork ? { socket: socketIn(folder) } : {}),
          ...(worldGroup === undefined ? {} : { worldGroup }),
        });
      },
    });
    if (this.#over.signal.aborted) void world.close();
    return world;
  }
}
