import { RpcError } from "./link.ts";
import type { Server } from "./cluster.ts";
import type { StoreEvent } from "./store.ts";

interface Watcher {
  readonly start: string;
  readonly end: string;
  /** The first entry of the log that is still to be looked through. */
  next: number;
  readonly fromRevision: number;
}

export interface ServerStream {
  readonly service: "Watch" | "Lease";
  readonly requireLeader: boolean;
  readonly watchers: Map<string, Watcher>;
  /** Hands a response to the client, in order. */
  readonly send: (response: unknown) => void;
  readonly end: (error: unknown) => void;
}

/** The streams that one server serves. */
export class ServerStreams {
  readonly open = new Set<ServerStream>();
  readonly #server: Server;
  readonly #header: () => unknown;

  constructor(server: Server, header: () => unknown) {
    this.#server = server;
    this.#header = header;
  }

  /** Tells every watch what was applied since. */
  push(): void {
    for (const stream of this.open) for (const [id, watcher] of stream.watchers) this.#tell(stream, id, watcher);
  }

  watch(stream: ServerStream, id: string, start: string, end: string, startRevision: number): void {
    const watcher: Watcher = { start, end, next: 0, fromRevision: startRevision };
    if (startRevision === 0) watcher.next = this.#server.applied;
    stream.watchers.set(id, watcher);
    stream.send({
      header: this.#header(),
      watch_id: id,
      created: true,
      canceled: false,
      compact_revision: "0",
      cancel_reason: "",
      events: [],
    });
    this.#tell(stream, id, watcher);
  }

  #tell(stream: ServerStream, id: string, watcher: Watcher): void {
    const { log } = this.#server.cluster;
    const found: StoreEvent[] = [];
    for (; watcher.next < this.#server.applied; watcher.next++) {
      const entry = log[watcher.next]!;
      if (entry.revision < watcher.fromRevision) continue;
      for (const event of entry.events) if (event.key >= watcher.start && event.key < watcher.end) found.push(event);
    }
    if (found.length === 0) return;
    const events = found.map(({ type, kv }) => ({ type, kv }));
    stream.send({
      header: this.#header(),
      watch_id: id,
      created: false,
      canceled: false,
      compact_revision: "0",
      cancel_reason: "",
      events,
    });
  }

  /** Ends those that insist on a raft leader. */
  leaderless(): void {
    for (const stream of [...this.open]) if (stream.requireLeader) stream.end(new RpcError(14, "etcdserver: no leader"));
  }
}
