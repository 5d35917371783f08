import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Clock } from "../../clock.ts";
import { within } from "../../clock.ts";
import { QuorateError, messageOf } from "../../errors.ts";
import { EtcdClient } from "../../etcd/index.ts";

/**
 * Where hosts that do not know each other find each other: a token in an etcd that all of them reach, with the number of hosts, each of which
 * writes itself there. etcd's own protocols: that of `--discovery`, in the keys of its v2 store, and that of `--discovery-endpoints` and
 * `--discovery-token`, in those of v3 (etcd 3.6 and later; any that has a v3 store will do here).
 */
export interface Registry {
  /** What people know it by. */
  readonly name: string;
  /** How many hosts are to found the cluster. @throws QuorateError NOT_EXIST where there is no such token */
  size(signal: AbortSignal): Promise<number>;
  /** Writes a host where it is not there; settles either way. */
  register(entry: Registered, signal: AbortSignal): Promise<void>;
  /** All that are there, in the order in which they came. */
  registered(signal: AbortSignal): Promise<readonly Registered[]>;
  close(): Promise<void>;
}

export interface Registered {
  /** Hex. */
  readonly id: string;
  /** As in an initial cluster: `name=url,name=url`. */
  readonly value: string;
}

/** Where a token is. */
export type Discovery =
  | { readonly kind: "v2"; readonly url: string }
  | { readonly kind: "v3"; readonly endpoints: readonly string[]; readonly token: string };

const answerMs = 5_000;
/** A token is there for as many hosts as a cluster has seats. */
const mostHosts = 15;

export function openRegistry(discovery: Discovery, clock: Clock): Registry {
  return discovery.kind === "v2"
    ? new V2Registry(discovery.url, clock)
    : new V3Registry(discovery.endpoints, discovery.token, clock);
}

function sizeIn(text: string | undefined, name: string): number {
  if (text === undefined) {
    throw new QuorateError("NOT_EXIST", `Cannot discover a cluster: there is no token at ${name}`, {
      hint: "make one with `quorate discovery create --size N --url URL`",
    });
  }
  const size = Number(text);
  if (Number.isInteger(size) && size >= 1 && size <= mostHosts) return size;
  throw new QuorateError(
    "INVALID_VALUE",
    `Cannot discover a cluster: the size at ${name} is ${JSON.stringify(text.slice(0, 40))}`,
  );
}

const nodeSchema = z.object({ key: z.string(), value: z.string().optional(), createdIndex: z.number().optional() });
const answerSchema = z.object({ node: nodeSchema.extend({ nodes: z.array(nodeSchema).optional() }) });
const refusedSchema = z.object({ errorCode: z.number(), message: z.string() });
const keyNotFound = 100;
const keyExists = 105;

class V2Registry implements Registry {
  readonly name: string;
  readonly #clock: Clock;

  constructor(url: string, clock: Clock) {
    this.name = url.replace(/\/$/, "");
    this.#clock = clock;
  }

  async size(signal: AbortSignal): Promise<number> {
    const found = await this.#ask("GET", "/_config/size", undefined, signal);
    return sizeIn(found === keyNotFound || found === keyExists ? undefined : found.node.value, this.name);
  }

  async register({ id, value }: Registered, signal: AbortSignal): Promise<void> {
    await this.#ask("PUT", `/${id}?prevExist=false`, new URLSearchParams({ value }), signal);
  }

  async registered(signal: AbortSignal): Promise<readonly Registered[]> {
    const found = await this.#ask("GET", "", undefined, signal);
    if (typeof found === "number") return [];
    return (found.node.nodes ?? [])
      .filter(({ key }) => !key.endsWith("/_config"))
      .sort((a, b) => (a.createdIndex ?? 0) - (b.createdIndex ?? 0))
      .map(({ key, value = "" }) => ({ id: key.slice(key.lastIndexOf("/") + 1), value }));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #ask(
    method: "GET" | "PUT",
    path: string,
    body: URLSearchParams | undefined,
    signal: AbortSignal,
  ): Promise<z.infer<typeof answerSchema> | typeof keyNotFound | typeof keyExists> {
    const { status, text } = await requestText(this.name + path, method, body, this.#clock, signal);
    const answer: unknown = jsonIn(text);
    const refused = refusedSchema.safeParse(answer);
    if (refused.success && (refused.data.errorCode === keyNotFound || refused.data.errorCode === keyExists))
      return refused.data.errorCode;
    const found = answerSchema.safeParse(answer);
    if (status < 300 && found.success) return found.data;
    throw new QuorateError("UNREACHABLE", `Cannot use the discovery service ${this.name}: it answers ${status}`, {
      retryable: status >= 500,
      hint: "it must be an etcd that serves the v2 protocol (3.4 or 3.5 with --enable-v2); others have --discovery-endpoints",
      ...(refused.success ? { cause: new Error(refused.data.message) } : {}),
    });
  }
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function requestText(
  url: string,
  method: "GET" | "PUT",
  body: URLSearchParams | undefined,
  clock: Clock,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly text: string }> {
  const late = (): Error => unanswered(url, new Error(`no answer within ${answerMs} ms`));
  return within(
    answerMs,
    clock,
    signal,
    async (own) => {
      try {
        const response = await fetch(url, { method, signal: own, ...(body === undefined ? {} : { body }) });
        return { status: response.status, text: await response.text() };
      } catch (error) {
        own.throwIfAborted();
        throw unanswered(url, (error as Error).cause ?? error);
      }
    },
    late,
  );
}

function unanswered(url: string, cause: unknown): QuorateError {
  return new QuorateError("UNREACHABLE", `Cannot use the discovery service ${new URL(url).origin}: ${messageOf(cause)}`, {
    retryable: true,
    cause,
  });
}

/** As etcd's client of it has them. */
const v3Root = "/_etcd/registry";

class V3Registry implements Registry {
  readonly name: string;
  readonly #client: EtcdClient;
  readonly #folder: string;

  constructor(endpoints: readonly string[], token: string, clock: Clock) {
    this.name = `${endpoints.join(",")} token ${token}`;
    this.#client = EtcdClient.create({ endpoints, clock });
    this.#folder = `${v3Root}/${token}`;
  }

  async size(signal: AbortSignal): Promise<number> {
    const { entry } = await this.#client.get(`${this.#folder}/_config/size`, { signal, timeoutMs: answerMs });
    return sizeIn(entry?.value, this.name);
  }

  async register({ id, value }: Registered, signal: AbortSignal): Promise<void> {
    const key = `${this.#folder}/members/${id}`;
    await this.#client.txn(
      { compare: [{ key, createRevision: 0 }], then: [{ put: key, value }] },
      { signal, repeatable: true, timeoutMs: answerMs },
    );
  }

  async registered(signal: AbortSignal): Promise<readonly Registered[]> {
    const start = `${this.#folder}/members/`;
    const { entries } = await this.#client.range({ start, end: `${this.#folder}/members0` }, { signal, timeoutMs: answerMs });
    return [...entries]
      .sort((a, b) => a.createRevision - b.createRevision)
      .map(({ key, value }) => ({ id: key.slice(start.length), value }));
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

/**
 * Makes a token for so many hosts in the etcd at that client URL: one of the v2 protocol where it serves that, of v3 otherwise.
 *
 * @throws QuorateError UNREACHABLE; what a refused write throws
 */
export async function createToken(url: string, size: number, clock: Clock, signal: AbortSignal): Promise<Discovery> {
  const token = randomUUID();
  const at = `${url.replace(/\/$/, "")}/v2/keys/discovery/${token}`;
  const { status } = await requestText(`${at}/_config/size`, "PUT", new URLSearchParams({ value: String(size) }), clock, signal);
  if (status < 300) return { kind: "v2", url: at };
  await using client = EtcdClient.create({ endpoints: [url], clock });
  await client.put(`${v3Root}/${token}/_config/size`, String(size), { signal, timeoutMs: answerMs });
  return { kind: "v3", endpoints: [url], token };
}
