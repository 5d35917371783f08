import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
}

type Direction = "up" | "down";

/** What is done with bytes of one direction. `hold` keeps them for later, `swallow` loses them; neither tells anyone. */
type Fate = "pass" | "hold" | "swallow";

/**
 * A TCP proxy on a free port of 127.0.0.1 that fails as networks do. Everything it does holds for present and future connections
 * until {@link heal}.
 */
export class FaultyProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #held: { readonly pair: Pair; readonly direction: Direction; readonly data: Buffer | "end" }[] = [];
  #target: URL;
  #fates: Record<Direction, Fate> = { up: "pass", down: "pass" };
  #delayMs = 0;
  #refusing = false;
  #cutIn: number | undefined;
  #late = false;
  /** Since the start. */
  accepted = 0;
  /** Connections that the client ended by a reset. */
  resets = 0;

  private constructor(server: Server, target: string) {
    this.#server = server;
    this.#target = new URL(target);
    server.on("connection", (client) => this.#accept(client));
  }

  static async start(target: string): Promise<FaultyProxy> {
    // A half-closed connection stays half-closed: what ends where is the proxy's decision.
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: "127.0.0.1", port: 0 }, resolve);
    });
    return new FaultyProxy(server, target);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** How many pieces wait for {@link heal}. */
  get held(): number {
    return this.#held.length;
  }

  /** Open connections. */
  get open(): number {
    return this.#pairs.size;
  }

  /** New connections go there. */
  retarget(url: string): void {
    this.#target = new URL(url);
  }

  /** Resets every connection; new ones are accepted. */
  cut(): void {
    for (const { client, upstream } of this.#pairs) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
  }

  /** Lets so many further bytes from the server pass, then ends that connection, once: also in the middle of a frame. */
  cutAfter(bytes: number): void {
    this.#cutIn = bytes;
  }

  /** Nothing passes and nobody is told. After {@link heal} what is held passes, unless its sender has reset the connection. */
  stall(...directions: readonly Direction[]): void {
    for (const direction of directions.length > 0 ? directions : (["up", "down"] as const)) this.#fates[direction] = "hold";
  }

  /** Like {@link stall}, but what is sent meanwhile is lost: such a connection never recovers. */
  drop(...directions: readonly Direction[]): void {
    for (const direction of directions.length > 0 ? directions : (["up", "down"] as const)) this.#fates[direction] = "swallow";
  }

  /** Closes the side of the server; the client is not told, and what it sends goes nowhere. */
  halfOpen(): void {
    this.drop();
    for (const { upstream } of this.#pairs) upstream.resetAndDestroy();
  }

  /** Like `stall("up")`, but what is held arrives after {@link heal} also when its sender has reset the connection: it was on its way. */
  late(): void {
    this.stall("up");
    this.#late = true;
  }

  /** Every chunk arrives that much later. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Resets new connections at once; the old ones live. */
  refuse(): void {
    this.#refusing = true;
  }

  /** Everything passes again, what was held first. */
  heal(): void {
    this.#fates = { up: "pass", down: "pass" };
    this.#delayMs = 0;
    this.#refusing = false;
    this.#cutIn = undefined;
    const late = new Set(this.#late ? this.#held.map(({ pair }) => pair) : []);
    this.#late = false;
    for (const { pair, direction, data } of this.#held.splice(0)) this.#deliver(pair, direction, data);
    for (const pair of this.#pairs) {
      if (late.has(pair)) continue;
      // What ended unnoticed meanwhile is noticed now.
      if (!pair.client.destroyed && !pair.upstream.destroyed) continue;
      pair.client.destroy();
      pair.upstream.destroy();
      this.#pairs.delete(pair);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#held.splice(0);
    for (const { client, upstream } of this.#pairs) {
      client.destroy();
      upstream.destroy();
    }
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket): void {
    this.accepted++;
    if (this.#refusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({
      host: this.#target.hostname,
      port: Number(this.#target.port),
      allowHalfOpen: true,
      noDelay: true,
    });
    const pair = { client, upstream };
    this.#pairs.add(pair);
    this.#relay(pair, client, upstream, "up");
    this.#relay(pair, upstream, client, "down");
  }

  #relay(pair: Pair, from: Socket, to: Socket, direction: Direction): void {
    from.on("data", (data: Buffer) => this.#pass(pair, direction, data));
    from.on("end", () => this.#pass(pair, direction, "end"));
    from.on("error", () => undefined);
    from.on("close", (failed: boolean) => {
      if (failed && !this.#late) this.#forget(pair, direction);
      if (failed && direction === "up") this.resets++;
      // Where nothing is to pass, the other side must not hear of the end either.
      if (this.#fates[direction] !== "pass") return;
      to.destroy();
      this.#pairs.delete(pair);
    });
  }

  /** A reset overtakes what had not arrived: on a real link it would still be in the sender's buffer, and go with it. */
  #forget(pair: Pair, direction: Direction): void {
    const rest = this.#held.filter((held) => held.pair !== pair || held.direction !== direction);
    this.#held.splice(0, this.#held.length, ...rest);
  }

  #pass(pair: Pair, direction: Direction, data: Buffer | "end"): void {
    const fate = this.#fates[direction];
    if (fate === "swallow") return;
    if (this.#cutIn !== undefined && direction === "down" && data !== "end") {
      this.#cutIn -= data.length;
      if (this.#cutIn < 0) {
        // A reset would discard what passes; an end lets it arrive.
        pair.client.end(data.subarray(0, data.length + this.#cutIn));
        pair.upstream.resetAndDestroy();
        this.#pairs.delete(pair);
        this.#cutIn = undefined;
        return;
      }
    }
    if (fate === "hold") this.#held.push({ pair, direction, data });
    else if (this.#delayMs > 0) setTimeout(() => this.#deliver(pair, direction, data), this.#delayMs);
    else this.#deliver(pair, direction, data);
  }

  #deliver({ client, upstream }: Pair, direction: Direction, data: Buffer | "end"): void {
    const to = direction === "up" ? upstream : client;
    if (to.destroyed || to.writableEnded) return;
    if (data === "end") to.end();
    else to.write(data);
  }
}
