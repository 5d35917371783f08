/**
 * AbortController and AbortSignal as the platform has them, without its events: a life makes tens of thousands, and a quarter of its time
 * went into them. The order is the same: a signal's own listeners first, then those of the signals that depend on it.
 */
type Listener = (event: { readonly type: "abort" }) => void;

const event = { type: "abort" } as const;
const noReason = new DOMException("This operation was aborted", "AbortError");

class LightSignal {
  aborted = false;
  reason: unknown = undefined;
  #listeners: Set<Listener> | undefined;
  /** What {@link any} made of this one. */
  #dependents: LightSignal[] | undefined;
  /** What this one was made of by {@link any}, in the end. */
  #sources: readonly LightSignal[] | undefined;

  static any(signals: Iterable<LightSignal>): LightSignal {
    const made = new LightSignal();
    const sources = [...signals];
    const over = sources.find((one) => one.aborted);
    if (over) {
      made.aborted = true;
      made.reason = over.reason;
      return made;
    }
    made.#sources = [...new Set(sources.flatMap((one) => one.#sources ?? [one]))];
    for (const source of made.#sources) (source.#dependents ??= []).push(made);
    return made;
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason as Error;
  }

  addEventListener(_type: "abort", listener: Listener): void {
    (this.#listeners ??= new Set()).add(listener);
  }

  removeEventListener(_type: "abort", listener: Listener): void {
    this.#listeners?.delete(listener);
  }

  /** Node's own counts listeners. */
  setMaxListeners(): void {
    return undefined;
  }

  abort(reason: unknown): void {
    if (this.aborted) return;
    const all = [this as LightSignal, ...(this.#dependents ?? []).filter((one) => !one.aborted)];
    this.#dependents = undefined;
    for (const one of all) {
      one.aborted = true;
      one.reason = reason;
    }
    for (const one of all) one.#tell();
  }

  #tell(): void {
    const listeners = this.#listeners;
    if (!listeners) return;
    for (const listener of [...listeners]) if (listeners.delete(listener)) listener(event);
  }
}

class LightController {
  readonly signal = new LightSignal();

  abort(reason: unknown = noReason): void {
    this.signal.abort(reason);
  }
}

/** From here on, everything in this process is given these. */
export function useLightSignals(): void {
  Object.assign(globalThis, { AbortController: LightController, AbortSignal: LightSignal });
}
