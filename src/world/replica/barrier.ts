/**
 * One question for many callers: a caller joins only a round that starts after its call, so that the answer is newer than the question.
 * One round is under way at a time, and the next takes all that have come meanwhile.
 */
export class Barrier<T> {
  readonly #ask: () => Promise<T>;
  #next: Promise<T> | undefined;
  #current: Promise<unknown> = Promise.resolve();
  /** How many rounds were made. */
  rounds = 0;

  constructor(ask: () => Promise<T>) {
    this.#ask = ask;
  }

  join(): Promise<T> {
    return (this.#next ??= this.#start());
  }

  async #start(): Promise<T> {
    await this.#current.catch(() => undefined);
    this.#next = undefined;
    this.rounds++;
    const current = this.#ask();
    this.#current = current;
    return await current;
  }
}
