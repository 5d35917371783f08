import type { Logger } from "pino";
import { passOn, type Clock } from "../../clock.ts";
import type { DataDirState } from "../../embed/index.ts";
import type { Machine } from "../machine.ts";
import type { ResolvedOptions } from "../resolve.ts";
import {
  holdsNothing,
  nextHeld,
  toldSchema,
  whatNow,
  type EtcdSeen,
  type Founder,
  type Held,
  type Promised,
  type Told,
} from "./expect.ts";
import type { Beginning } from "./join.ts";
import { listedAt } from "./listed.ts";
import type { Prefix } from "./state.ts";

interface AgreeDeps {
  readonly machine: Pick<Machine, "fetchText" | "fetchClientText" | "tell" | "randomUUID">;
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly log: Logger;
}

const path = "/quorate/expect";
const askMs = 1_000;
const againMs = 25;
/** Two looks of the others. */
const lastLookMs = 60;
const sayAfterMs = 10_000;

/** What is at a seed; undefined: nothing that is known. */
type AtSeed = Told | EtcdSeen | undefined;

/**
 * How an agent begins that expects others: by founding a cluster with those it has agreed on, or by joining one that is there. Undefined where
 * it expects nobody, or belongs to a cluster already.
 */
export async function beginExpecting(
  deps: AgreeDeps,
  data: DataDirState,
  prefix: Prefix,
  signal: AbortSignal,
): Promise<Beginning | undefined> {
  const { options, log } = deps;
  if (options.expect === undefined) return undefined;
  if (prefix.state.clusterId !== undefined) {
    log.info("nobody is expected: this host belongs to a cluster already");
    return undefined;
  }
  const { promised, committed } = prefix.state.expecting ?? holdsNothing;
  // Its server was being started when it ended.
  if (promised !== undefined && committed && data === "has-data") return together(promised);
  return new Agreeing(deps, prefix, options.expect).run(signal);
}

function together({ token, founders }: Promised): Beginning {
  return {
    kind: "found",
    together: {
      token: `quorate-${token}`,
      members: founders.map(({ hostname, serverUrls }) => ({ name: hostname, peerUrls: serverUrls })),
      instances: new Map(founders.map(({ hostname, instance }) => [hostname, instance])),
    },
  };
}

class Agreeing {
  readonly #deps: AgreeDeps;
  readonly #prefix: Prefix;
  readonly #expect: number;
  readonly #self: Founder;
  #sinceMs: number;

  constructor(deps: AgreeDeps, prefix: Prefix, expect: number) {
    const { options, clock } = deps;
    const { identity, instance } = prefix.state;
    const seed = options.seeds.find((url) => options.advertiseClientUrls.includes(url)) ?? "";
    this.#deps = deps;
    this.#prefix = prefix;
    this.#expect = expect;
    this.#self = { identity, instance, hostname: options.hostname, seed, serverUrls: [...options.advertiseServerUrls] };
    this.#sinceMs = clock.nowMs();
  }

  async run(signal: AbortSignal): Promise<Beginning> {
    const { machine, options, clock, log } = this.#deps;
    const { seeds, clientUrls } = options;
    const telling = await machine.tell(clientUrls, path, () => this.#tells());
    try {
      log.info({ expect: this.#expect, seeds }, "looking for the others to found a cluster with");
      const startedMs = clock.nowMs();
      let isSaid = false;
      for (;;) {
        const there = await this.#ask(signal);
        const told = there.filter((one) => one !== undefined && "held" in one);
        const etcds = there.filter((one): one is EtcdSeen => one !== undefined && !("held" in one));
        const held = await this.#hold(told, etcds);
        const now = whatNow({ self: this.#self, held, told, etcds, heldMs: clock.nowMs() - this.#sinceMs });
        if (now === "join") return { kind: "join", through: seeds };
        if (now === "found" && held.promised !== undefined) {
          // Whoever has not seen yet that all are committed sees it meanwhile: it would start 0.3 s later otherwise.
          await clock.sleep(lastLookMs, signal);
          return together(held.promised);
        }
        if (!isSaid && clock.nowMs() - startedMs >= sayAfterMs) {
          log.warn(
            { expect: this.#expect, here: [this.#self, ...told.map(({ self }) => self)].map(({ hostname }) => hostname) },
            "still waiting: fewer than expected are there, or they cannot agree",
          );
          isSaid = true;
        }
        await clock.sleep(againMs, signal);
      }
    } finally {
      await telling.close();
    }
  }

  #tells(): Told {
    return { schema: 1, expect: this.#expect, self: this.#self, held: this.#held() };
  }

  #held(): Held {
    return this.#prefix.state.expecting ?? holdsNothing;
  }

  /** Decides what to hold by what the others tell; on disk when it returns. */
  async #hold(told: readonly Told[], etcds: readonly EtcdSeen[]): Promise<Held> {
    const { clock, machine, options, log } = this.#deps;
    const before = this.#held();
    const held = nextHeld({
      self: this.#self,
      held: before,
      expect: this.#expect,
      seeds: options.seeds,
      told,
      etcds,
      heldMs: clock.nowMs() - this.#sinceMs,
      newToken: machine.randomUUID,
    });
    if (held === before) return held;
    await this.#prefix.save({ expecting: held });
    if (held.promised?.token === before.promised?.token && held.committed === before.committed) return held;
    this.#sinceMs = clock.nowMs();
    log.info(
      { founders: held.promised?.founders.map(({ hostname }) => hostname), committed: held.committed },
      held.promised === undefined
        ? "gave up founding with these"
        : held.committed
          ? "agreed on the founders"
          : "promised to found a cluster",
    );
    return held;
  }

  /** What is at each of the other seeds. */
  async #ask(signal: AbortSignal): Promise<readonly AtSeed[]> {
    const others = this.#deps.options.seeds.filter((seed) => seed !== this.#self.seed);
    return Promise.all(others.map((seed) => this.#askOne(seed, signal)));
  }

  async #askOne(seed: string, signal: AbortSignal): Promise<AtSeed> {
    const founder = this.#held().promised?.founders.find((one) => one.seed === seed);
    // An etcd that starts takes a question at its client URL, and answers it once most of its members are there; its peers it answers before.
    const ways: ((own: AbortSignal) => Promise<AtSeed>)[] = [(own) => this.#askAgent(seed, own)];
    if (founder !== undefined) ways.push((own) => this.#askServer(founder, own));
    return firstThat(ways, signal);
  }

  async #askAgent(seed: string, signal: AbortSignal): Promise<AtSeed> {
    const { machine, clock } = this.#deps;
    try {
      const told = toldSchema.parse(JSON.parse(await machine.fetchClientText(seed + path, askMs, clock, signal)));
      return told.self.seed === seed && told.expect === this.#expect ? told : undefined;
    } catch {
      signal.throwIfAborted();
    }
    return (await this.#isEtcd(seed, signal)) ? { seed, serverUrls: [] } : undefined;
  }

  async #askServer({ seed, serverUrls: [serverUrl = ""] }: Founder, signal: AbortSignal): Promise<AtSeed> {
    const listed = await listedAt(this.#deps, serverUrl, signal);
    return listed.length === 0 ? undefined : { seed, serverUrls: listed.flatMap(({ peerURLs }) => peerURLs) };
  }

  async #isEtcd(url: string, signal: AbortSignal): Promise<boolean> {
    const { machine, clock } = this.#deps;
    try {
      const version = JSON.parse(await machine.fetchClientText(`${url}/version`, askMs, clock, signal)) as {
        etcdserver?: unknown;
      };
      return typeof version.etcdserver === "string";
    } catch {
      signal.throwIfAborted();
      return false;
    }
  }
}

/** What the first of them finds that finds something; undefined where none does. */
async function firstThat<T>(
  ways: readonly ((own: AbortSignal) => Promise<T | undefined>)[],
  signal: AbortSignal,
): Promise<T | undefined> {
  const own = new AbortController();
  const release = passOn([signal], own);
  try {
    return await Promise.any(
      ways.map(async (way) => {
        const found = await way(own.signal);
        if (found === undefined) throw new Error("nothing");
        return found;
      }),
    );
  } catch {
    signal.throwIfAborted();
    return undefined;
  } finally {
    own.abort(new DOMException("It is known", "AbortError"));
    release();
  }
}
