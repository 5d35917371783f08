import type { Logger } from "pino";
import { quote } from "../keys.ts";
import type { Malformed } from "./api/world.ts";

const mostKnown = 10_000;
const mostExamples = 20;

/** Keys that others wrote and nobody can read: passed over, counted once each, and told. */
export class MalformedKeys {
  readonly #log: Logger | undefined;
  readonly #known = new Set<string>();
  readonly #examples: { readonly key: string; readonly why: string }[] = [];
  readonly #listeners = new Set<() => void>();

  constructor(log: Logger | undefined) {
    this.#log = log;
  }

  note(key: string, why: string): void {
    if (this.#known.has(key) || this.#known.size >= mostKnown) return;
    this.#known.add(key);
    this.#log?.warn({ key: quote(key), why }, "a key of the World that nobody can read is passed over");
    if (this.#examples.length < mostExamples) this.#examples.push({ key, why });
    for (const listener of this.#listeners) listener();
  }

  get status(): Malformed {
    return { count: this.#known.size, examples: [...this.#examples] };
  }

  onNews(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }
}
