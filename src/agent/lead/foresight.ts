import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { hear } from "./gate.ts";
import { look, statuses } from "./look.ts";
import { Memory, raftLeaderOf } from "./memory.ts";

/** What was seen longer ago says too little: nobody looked meanwhile. */
const freshMs = 3_000;
const statusMs = 500;

interface ForesightDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * What the candidate next in line sees while the leader's session comes to its end: who is heard by the raft leader takes two counts
 * to tell, and so the first one is made before it leads. It decides nothing.
 */
export class Foresight {
  readonly #deps: ForesightDeps;
  #seen: { readonly memory: Memory; readonly atMs: number } | undefined;
  #looking = false;

  constructor(deps: ForesightDeps) {
    this.#deps = deps;
  }

  /** Looks once. Never rejects. */
  async look(signal: AbortSignal): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { client, keys, clock, log } = this.#deps;
    try {
      const seen = await look(client, keys, signal);
      const rows = seen.membership.members;
      const answers = await statuses(client, rows, statusMs, signal);
      const raftLeader = raftLeaderOf(rows, answers);
      const askedMs = clock.nowMs();
      const heard = await hear(client, rows, raftLeader, signal);
      const atMs = clock.nowMs();
      const memory = this.#fresh(atMs) ?? new Memory(atMs);
      memory.quiet.count({ raftLeader: answers.get(raftLeader ?? ""), heard, askedMs, nowMs: atMs });
      memory.members({ nowMs: atMs, look: seen, statuses: answers, heard });
      this.#seen = { memory, atMs };
    } catch (error) {
      if (!signal.aborted) log.debug({ reason: messageOf(error) }, "could not look ahead");
    } finally {
      this.#looking = false;
    }
  }

  /** For whoever leads now: a memory that has what was just seen. */
  memory(): Memory {
    const nowMs = this.#deps.clock.nowMs();
    const memory = this.#fresh(nowMs)?.leads(nowMs) ?? new Memory(nowMs);
    this.#seen = undefined;
    return memory;
  }

  #fresh(nowMs: number): Memory | undefined {
    return this.#seen !== undefined && nowMs - this.#seen.atMs < freshMs ? this.#seen.memory : undefined;
  }
}
