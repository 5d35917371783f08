import type { Clock } from "../../clock.ts";
import { Deadlines } from "../../etcd/index.ts";
import type { ConvergedHere, ConvergerPart, PartOptions } from "../api/converger.ts";
import { WorldError } from "../error.ts";
import { checkName, shown } from "../names.ts";
import { invalid } from "../write.ts";

/** Timers take no more. */
const longestMs = 2 ** 31 - 1;

interface Part {
  readonly name: string;
  readonly timeoutMs: number;
  converged: boolean;
  /** It has been for its timeout. */
  counts: boolean;
  /** Ends the wait for that. */
  cancel: () => void;
}

/** The parts of one program, and whether all are converged, each for its timeout. */
export class PartsHere {
  readonly #timeoutMs: number;
  readonly #deadlines: Deadlines;
  readonly #parts = new Map<string, Part>();
  readonly #listeners = new Set<() => void>();
  #told: boolean | undefined;

  constructor(clock: Clock, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#deadlines = new Deadlines(clock);
  }

  /** @throws WorldError INVALID_NAME, INVALID_OPTION */
  register(name: string, options: PartOptions = {}): ConvergerPart {
    checkName("the name of a part", name);
    const { timeoutMs = this.#timeoutMs, converged = false } = options;
    if (!(timeoutMs >= 0 && timeoutMs <= longestMs)) throw invalid("timeoutMs", `has to be 0 or more, and ${longestMs} at most`);
    if (this.#parts.has(name)) {
      const hint = "Unregister it first, or give this one another name";
      throw new WorldError("INVALID_NAME", `Cannot register the part ${shown(name)}: there is one of that name`, {
        hint,
        data: { name },
      });
    }
    const part: Part = { name, timeoutMs, converged: false, counts: false, cancel: () => undefined };
    this.#parts.set(name, part);
    this.#set(part, converged);
    const unregister = (): void => {
      if (this.#parts.get(name) !== part) return;
      part.cancel();
      this.#parts.delete(name);
      this.#look();
    };
    return {
      name,
      get converged() {
        return part.converged;
      },
      set: (now) => {
        if (this.#parts.get(name) === part && now !== part.converged) this.#set(part, now);
      },
      unregister,
      [Symbol.dispose]: unregister,
    };
  }

  /** Undefined where there are no parts. */
  get converged(): boolean | undefined {
    if (this.#parts.size === 0) return undefined;
    for (const { counts } of this.#parts.values()) if (!counts) return false;
    return true;
  }

  get status(): ConvergedHere {
    const parts = [...this.#parts.values()].map(({ name, converged, counts }) => ({ name, converged, counts }));
    return { converged: this.converged, parts: parts.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  }

  /** Calls back each time `converged` has changed, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Nothing is told any more, and no timer runs. */
  close(): void {
    this.#listeners.clear();
    this.#deadlines.close();
  }

  #set(part: Part, converged: boolean): void {
    part.cancel();
    part.converged = converged;
    part.counts = converged && part.timeoutMs === 0;
    if (converged && !part.counts) {
      part.cancel = this.#deadlines.add(part.timeoutMs, () => {
        part.counts = true;
        this.#look();
      });
    }
    this.#look();
  }

  #look(): void {
    const { converged } = this;
    if (converged === this.#told) return;
    this.#told = converged;
    for (const listener of this.#listeners) listener();
  }
}
