import type { Duplex } from "node:stream";
import { raced, within } from "../clock.ts";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { forwarded, openChain } from "./chain.ts";
import type { Chain } from "./chain.ts";
import { nameOf, type SshRoute } from "./options.ts";

/** Logging in at all hosts of a route takes this long at most, in milliseconds. */
const loginMs = 15_000;
/** After a failed login nobody tries again for so long: sshd shuts out who comes too often. */
const pauseMs = { first: 250, most: 5_000 };
/** The same where only a person can help. */
const refusedMs = { first: 2_000, most: 30_000 };

/** A stream to an endpoint. */
export interface Tunnel {
  readonly stream: Duplex;
  /** Ends it, and what it goes through, at once. Idempotent. */
  readonly cut: () => void;
}

/**
 * Tunnels through one route. Each has logins and a connection of its own, from here to the endpoint, so that none ends, fills or
 * holds up another.
 */
export class Tunnels {
  readonly #route: SshRoute;
  readonly #clock: Clock;
  readonly #open = new Set<Chain>();
  /** Logged in, and without a stream: not used yet, or the endpoint was not there. */
  #spare: Chain | undefined;
  #failed: { readonly failure: QuorateError; readonly untilMs: number; readonly pauseMs: number } | undefined;
  #closed = false;

  constructor(route: SshRoute, clock: Clock) {
    this.#route = route;
    this.#clock = clock;
  }

  /** Logs in, for the first tunnel. @throws QuorateError UNREACHABLE, DENIED, WRONG_HOST_KEY, CLOSED; the signal's reason */
  async begin(signal: AbortSignal): Promise<void> {
    this.#spare ??= await this.#logIn(signal);
  }

  /**
   * A stream to an endpoint, as the last host sees it.
   *
   * @throws QuorateError UNREACHABLE, DENIED, WRONG_HOST_KEY, CLOSED; the signal's reason
   */
  async dial(url: string, signal: AbortSignal): Promise<Tunnel> {
    const chain = this.#takeSpare() ?? (await this.#logIn(signal));
    try {
      const stream = await raced(forwarded(chain, this.#route.at(-1)!, url), signal);
      // What goes through it keeps the process, and nothing else.
      chain.socket.unref();
      return { stream, cut: chain.cut };
    } catch (error) {
      // Whoever asks again for what is not there need not log in again.
      const isGood = error instanceof QuorateError && !this.#closed && !signal.aborted;
      if (isGood && this.#spare === undefined) this.#keep(chain);
      else chain.cut();
      throw error;
    }
  }

  /** Ends all tunnels. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const { cut } of this.#open) cut();
  }

  #keep(chain: Chain): void {
    chain.socket.unref();
    this.#spare = chain;
  }

  #takeSpare(): Chain | undefined {
    const chain = this.#spare;
    this.#spare = undefined;
    return chain?.socket.destroyed === true ? undefined : chain;
  }

  async #logIn(signal: AbortSignal): Promise<Chain> {
    this.#admit();
    if (this.#failed !== undefined && this.#clock.nowMs() < this.#failed.untilMs) throw this.#failed.failure;
    const opening = new Set<Chain>();
    try {
      const chain = await within(
        loginMs,
        this.#clock,
        signal,
        (own) => openChain(this.#route, own).then((opened) => (opening.add(opened), opened)),
        () => late(this.#route),
      );
      this.#failed = undefined;
      this.#open.add(chain);
      chain.socket.once("close", () => this.#open.delete(chain));
      this.#admit();
      return chain;
    } catch (error) {
      for (const { cut } of opening) cut();
      if (!signal.aborted && !this.#closed && error instanceof QuorateError) this.#remember(error);
      throw error;
    }
  }

  #admit(): void {
    if (this.#closed) throw new QuorateError("CLOSED", "Cannot open a tunnel: they were closed", { data: { outcome: "none" } });
  }

  #remember(failure: QuorateError): void {
    const { first, most } = failure.code === "UNREACHABLE" ? pauseMs : refusedMs;
    const pause = Math.min(most, this.#failed === undefined ? first : 2 * this.#failed.pauseMs);
    this.#failed = { failure, pauseMs: pause, untilMs: this.#clock.nowMs() + pause };
  }
}

function late(route: SshRoute): QuorateError {
  const message = `Cannot log in at ${nameOf(route.at(-1)!)}: it took more than ${loginMs / 1_000} s`;
  return new QuorateError("UNREACHABLE", message, { retryable: true, data: { outcome: "none" } });
}
