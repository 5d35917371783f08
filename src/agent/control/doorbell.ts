/**
 * "Something changed, look again." Carries no payload on purpose: a loop that acts on what an event said behaves
 * differently after a restart, when there was no event. Rings coalesce; every waiter has its own bell.
 */
export class Doorbell {
  #rung = false;
  #answer: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#answer?.();
  }

  /** Settles at once if it rang since the last wait. One waiter at a time. */
  async wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#rung) {
      await new Promise<void>((resolve, reject) => {
        const abort = (): void => {
          this.#answer = undefined;
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", abort, { once: true });
        this.#answer = () => {
          this.#answer = undefined;
          signal.removeEventListener("abort", abort);
          resolve();
        };
      });
    }
    this.#rung = false;
  }
}
