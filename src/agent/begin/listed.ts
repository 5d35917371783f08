import type { Logger } from "pino";
import { z } from "zod";
import type { Clock } from "../../clock.ts";
import type { InitialMember } from "../../embed/index.ts";
import type { Machine } from "../machine.ts";

/** What is needed to ask. */
export interface ListedDeps {
  readonly machine: Pick<Machine, "fetchText">;
  readonly clock: Clock;
  readonly log: Logger;
}

const askMs = 1_000;
const againMs = 500;
const sayAfterMs = 10_000;

/** What an etcd tells its peers of each member. One that has not served yet has no client URL. */
const listedSchema = z.array(z.object({ peerURLs: z.array(z.string()), clientURLs: z.array(z.string()).optional() }));
export type Listed = z.infer<typeof listedSchema>;

/** Client URLs of a cluster that is there, as its members tell their peers. Waits for one that tells, for so long; undefined: none did. */
export async function clientUrlsOf(
  deps: ListedDeps,
  members: readonly InitialMember[],
  signal: AbortSignal,
  patienceMs: number,
): Promise<readonly string[] | undefined> {
  const { clock, log } = deps;
  const startedMs = clock.nowMs();
  let isSaid = false;
  for (;;) {
    const urls = clientUrls(await listedBy(deps, members, signal));
    if (urls.length > 0) return urls;
    const passedMs = clock.nowMs() - startedMs;
    if (passedMs >= patienceMs) return undefined;
    if (!isSaid && passedMs >= sayAfterMs) {
      log.warn({ members: members.flatMap(({ peerUrls }) => peerUrls) }, "none of them answers yet: is one running there?");
      isSaid = true;
    }
    await clock.sleep(againMs, signal);
  }
}

/** What the first of them that answers says of all members. */
export async function listedBy(deps: ListedDeps, members: readonly InitialMember[], signal: AbortSignal): Promise<Listed> {
  const answers = await Promise.all(members.flatMap(({ peerUrls }) => peerUrls).map((url) => listedAt(deps, url, signal)));
  // One that has just started knows less than one that serves.
  return answers.find((listed) => listed.some(hasServed)) ?? answers.find((listed) => listed.length > 0) ?? [];
}

/** What the etcd with that server URL says of all members; nothing where none answers. */
export async function listedAt(
  { machine, clock }: Omit<ListedDeps, "log">,
  serverUrl: string,
  signal: AbortSignal,
): Promise<Listed> {
  try {
    return listedSchema.parse(JSON.parse(await machine.fetchText(`${serverUrl}/members`, askMs, clock, signal)));
  } catch {
    signal.throwIfAborted();
    return [];
  }
}

export function hasServed(listed: Listed[number] | undefined): boolean {
  return (listed?.clientURLs ?? []).length > 0;
}

export function clientUrls(listed: Listed): readonly string[] {
  return [...new Set(listed.flatMap(({ clientURLs }) => clientURLs ?? []))];
}
