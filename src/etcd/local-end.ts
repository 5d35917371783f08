import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { messageOf, QuorateError } from "../errors.ts";

/** A stream of bytes to one endpoint, by a way that is not the network's own. */
export interface Way {
  readonly stream: Duplex;
  /** Ends it in both directions, at once and with all it goes through. Idempotent. */
  readonly cut: () => void;
}

/** Finds such a way to the endpoint with that URL. Rejects with a QuorateError of its own, or the signal's reason. */
export type Dial = (url: string, signal: AbortSignal) => Promise<Way>;

/** A unix socket's path has 107 bytes at most. */
const longestFolder = 70;

/**
 * Where grpc, which connects to addresses only, finds a stream: a unix socket that takes one connection, in a folder that only this
 * user may enter. Socket and folder are there while grpc connects, and no longer: nothing is left of a process that is killed later.
 */
export class LocalEnd {
  readonly path: string;
  /** Why the last {@link LocalEnd.prepare} came to nothing. */
  failure: unknown;
  readonly #url: string;
  readonly #dial: Dial;
  readonly #folder: string;
  readonly #over = new AbortController();
  #server: Server | undefined;
  #way: Way | undefined;

  constructor(url: string, dial: Dial) {
    this.#url = url;
    this.#dial = dial;
    const parent = Buffer.byteLength(tmpdir()) <= longestFolder ? tmpdir() : "/tmp";
    this.#folder = join(parent, `quorate-${randomBytes(9).toString("hex")}`);
    this.path = join(this.#folder, "end");
  }

  /** From now on one connection may be made, to a stream of its own. What there was before is over. */
  async prepare(): Promise<void> {
    this.#end();
    this.failure = undefined;
    try {
      this.#over.signal.throwIfAborted();
      this.#way = await this.#dial(this.#url, this.#over.signal);
      this.#over.signal.throwIfAborted();
      await this.#listen(this.#way);
    } catch (error) {
      this.failure = error;
      this.#end();
      throw error;
    }
  }

  /** Cuts the stream, or ends the looking for one. Idempotent. */
  close(): void {
    this.#over.abort(new QuorateError("CLOSED", `Cannot reach ${this.#url}: the link is closed`, { data: { outcome: "none" } }));
    this.#end();
  }

  async #listen(way: Way): Promise<void> {
    const server = createServer((socket) => {
      this.#endServer();
      tie(socket, way);
    });
    this.#server = server;
    try {
      await mkdir(this.#folder, { mode: 0o700 });
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(this.path, resolve);
      });
    } catch (error) {
      throw new QuorateError(
        "UNREACHABLE",
        `Cannot reach ${this.#url}: no socket can be made in ${this.#folder}: ${messageOf(error)}`,
        {
          cause: error,
          data: { endpoint: this.#url, outcome: "none" },
        },
      );
    }
    if (this.#server === server) return;
    // It was closed meanwhile.
    server.close();
    this.#removeFolder();
  }

  #end(): void {
    this.#endServer();
    this.#way?.cut();
    this.#way = undefined;
  }

  #endServer(): void {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.close();
    this.#removeFolder();
  }

  #removeFolder(): void {
    void rm(this.#folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** What the one sends the other gets; the end of one is the other's. */
function tie(socket: Socket, { stream, cut }: Way): void {
  // What goes through it keeps the process: grpc's side of it.
  socket.unref();
  socket.on("error", () => undefined);
  stream.on("error", () => socket.destroy());
  stream.once("close", () => socket.destroy());
  socket.once("close", cut);
  socket.pipe(stream);
  stream.pipe(socket);
}
