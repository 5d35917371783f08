import type { Clock } from "../clock.ts";
import { networkWires, type Link, type Wires } from "./link.ts";

/** How long an endpoint that failed is tried last. */
const penaltyMs = 5_000;
/** How long an endpoint of another cluster is not tried at all. */
const foreignMs = 30_000;
/** How long the link to an unlisted endpoint is kept after its last use. */
const unlistedMs = 30_000;

interface Known {
  readonly link: Link;
  listed: boolean;
  /** Was listed and is no longer: its connection goes with its last call. */
  retired: boolean;
  failedMs: number;
  foreignMs: number;
  usedMs: number;
  inUse: number;
}

/** A link in use by one call or stream. */
export interface Borrowed {
  readonly link: Link;
  /** To be called once, when the call or stream is over. */
  readonly giveBack: () => void;
}

/**
 * Which endpoints there are and which is next. It follows what it is told, while calls are under way: an endpoint no longer
 * listed gets no new calls, its streams are told to move, and its connection is closed after the last call.
 */
export class Endpoints {
  readonly #known = new Map<string, Known>();
  readonly #onRetired = new Set<(url: string) => void>();
  readonly #clock: Clock;
  readonly #mostReceived: number;
  readonly #wires: Wires;
  #listed: readonly string[] = [];
  #preferred: string | undefined;
  #worked: string | undefined;

  constructor(
    clock: Clock,
    urls: readonly string[],
    preferred?: string,
    mostReceived = 256 * 1024 * 1024,
    wires: Wires = networkWires,
  ) {
    this.#clock = clock;
    this.#mostReceived = mostReceived;
    this.#wires = wires;
    this.set(urls, preferred);
  }

  urls(): readonly string[] {
    return this.#listed;
  }

  /** Replaces the list, effective for the next call. An empty list is taken as it is: calls fail as unreachable. */
  set(urls: readonly string[], preferred?: string): void {
    const before = this.#listed;
    this.#listed = [...new Set(urls)];
    this.#preferred = preferred;
    for (const known of this.#known.values()) {
      const listed = this.#listed.includes(known.link.url);
      known.retired = known.listed && !listed;
      known.listed = listed;
    }
    for (const url of before) {
      if (this.#listed.includes(url)) continue;
      for (const retired of this.#onRetired) retired(url);
    }
    this.#sweep();
  }

  /** Listed endpoints, best first: the preferred one, the last that worked, then as listed; those that failed lately behind them. */
  candidates(): readonly string[] {
    const now = this.#clock.nowMs();
    const isForeign = (url: string): boolean => now - (this.#known.get(url)?.foreignMs ?? -Infinity) < foreignMs;
    const [only] = this.#listed;
    if (only !== undefined && this.#listed.length === 1) return isForeign(only) ? [] : this.#listed;
    const lately = (url: string): number => {
      const failedMs = this.#known.get(url)?.failedMs ?? -Infinity;
      return now - failedMs < penaltyMs ? failedMs : -Infinity;
    };
    const place = (url: string): number => (url === this.#preferred ? 0 : url === this.#worked ? 1 : 2);
    return this.#listed
      .filter((url) => !isForeign(url))
      .toSorted((a, b) => compareNumbers(lately(a), lately(b)) || place(a) - place(b));
  }

  borrow(url: string): Borrowed {
    const known = this.#known.get(url) ?? this.#meet(url);
    known.inUse++;
    // Asked for by name although it left the list: whoever asks may ask again soon.
    known.retired = false;
    return {
      link: known.link,
      giveBack: () => {
        known.inUse--;
        known.usedMs = this.#clock.nowMs();
        this.#sweep();
      },
    };
  }

  worked(url: string): void {
    const known = this.#known.get(url);
    if (known) known.failedMs = -Infinity;
    if (this.#listed.includes(url)) this.#worked = url;
  }

  failed(url: string): void {
    const known = this.#known.get(url);
    if (known) known.failedMs = this.#clock.nowMs();
  }

  foreign(url: string): void {
    const known = this.#known.get(url);
    if (known) known.foreignMs = this.#clock.nowMs();
  }

  /** Another cluster is ours now: what was foreign may not be. */
  forgive(): void {
    for (const known of this.#known.values()) known.foreignMs = -Infinity;
  }

  /** Calls back when an endpoint leaves the list. Returns how to stop that. */
  onRetired(callback: (url: string) => void): () => void {
    this.#onRetired.add(callback);
    return () => this.#onRetired.delete(callback);
  }

  close(): void {
    for (const { link } of this.#known.values()) link.close();
    this.#known.clear();
    this.#wires.close?.();
  }

  #meet(url: string): Known {
    const known: Known = {
      link: this.#wires.link(url, this.#mostReceived),
      listed: this.#listed.includes(url),
      retired: false,
      failedMs: -Infinity,
      foreignMs: -Infinity,
      usedMs: this.#clock.nowMs(),
      inUse: 0,
    };
    this.#known.set(url, known);
    return known;
  }

  #sweep(): void {
    const now = this.#clock.nowMs();
    for (const [url, known] of this.#known) {
      if (known.listed || known.inUse > 0) continue;
      if (!known.retired && now - known.usedMs < unlistedMs) continue;
      known.link.close();
      this.#known.delete(url);
    }
  }
}

function compareNumbers(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
