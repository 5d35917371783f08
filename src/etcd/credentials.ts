import { readFile } from "node:fs/promises";
import type { Clock } from "../clock.ts";
import { reasonOf } from "./failure.ts";
import { messageOf, QuorateError } from "../errors.ts";

/** etcd counts the life of a token in whole seconds. */
const freshMs = 1_000;

/** Who a client is, for an etcd with authentication. */
export interface Login {
  readonly user: string;
  /** Or the file that holds it, which is read for every login: it may be replaced at any time. A line break at its end does not count. */
  readonly password: string | { readonly file: string };
}

/** One whose password is in a file: it can be told to other processes. */
export interface FileLogin extends Login {
  readonly password: { readonly file: string };
}

/** @throws QuorateError DENIED where the file cannot be read */
export async function passwordOf({ user, password }: Login): Promise<string> {
  if (typeof password === "string") return password;
  try {
    return (await readFile(password.file, "utf8")).replace(/\r?\n$/, "");
  } catch (error) {
    throw new QuorateError("DENIED", `Cannot log in as ${user}: ${password.file} cannot be read: ${messageOf(error)}`, {
      cause: error,
      hint: "name a file that holds the password, and that this user may read",
      data: { outcome: "none" },
    });
  }
}

/** A token, and when it was got. */
export interface Pass {
  /** Undefined where the cluster asks for none. */
  readonly token: string | undefined;
  readonly sinceMs: number;
}

/**
 * The token of one client: got with the first call, kept for all, and got again when etcd does not know it any more (a simple token
 * expires after 5 minutes without use, and with the restart of a server).
 */
export class Credentials {
  readonly #clock: Clock;
  readonly #authenticate: () => Promise<string | undefined>;
  #pass: Promise<Pass> | undefined;

  /** `authenticate` resolves with undefined where authentication is off. */
  constructor(clock: Clock, authenticate: () => Promise<string | undefined>) {
    this.#clock = clock;
    this.#authenticate = authenticate;
  }

  /** @throws QuorateError as every call; ETCD_REFUSED for a wrong name or password */
  pass(): Promise<Pass> {
    if (this.#pass !== undefined) return this.#pass;
    const asked = this.#authenticate().then((token) => ({ token, sinceMs: this.#clock.nowMs() }));
    this.#pass = asked;
    asked.catch(() => {
      if (this.#pass === asked) this.#pass = undefined;
    });
    return asked;
  }

  /** That token was refused: the next who asks gets another. */
  async forget(token: string | undefined): Promise<void> {
    const known = this.#pass;
    const pass = await known?.catch(() => undefined);
    if (pass?.token === token && this.#pass === known) this.#pass = undefined;
  }

  /** So lately got that it cannot have expired: what is refused with it is refused for good. */
  isFresh({ sinceMs }: Pass): boolean {
    return this.#clock.nowMs() - sinceMs < freshMs;
  }
}

/** etcd's words for a token that has expired, that is older than the users are, or that is missing. */
const stale = ["invalid auth token", "revision of auth store is old", "user name is empty"];

/** Whether a call was refused for its token, and so was not run. */
export function isStaleToken(failure: QuorateError): boolean {
  return stale.some((words) => reasonOf(failure).includes(words));
}

/** A watch is refused in these words for a token that has expired, too. */
export function mayBeStaleToken(failure: QuorateError): boolean {
  return isStaleToken(failure) || reasonOf(failure).includes("permission denied");
}
