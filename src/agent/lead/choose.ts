import { readWish, type Chooser, type ChooserPolicy, type ClusterSnapshot, type Wish } from "../../chooser/index.ts";
import type { Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import { short } from "../control/records.ts";

/** A promise that has not settled by then is skipped for that round. */
export const chooseWithinMs = 1_000;

/**
 * What a chooser of one's own wishes for, whatever it does: it gets frozen copies, and has 1 s. A promise that settles later is ignored.
 * One that never returns, nobody can help: the session is lost then, and another agent leads. Throws the signal's reason only.
 */
export async function wishOf(
  { name, choose }: Chooser,
  { seen, policy }: { readonly seen: ClusterSnapshot; readonly policy: ChooserPolicy },
  clock: Clock,
  signal: AbortSignal,
): Promise<Wish> {
  const [seenByIt, policyForIt] = [frozenCopy(seen), frozenCopy(policy)];
  // An async function turns whatever is thrown, by a `then` of its own as well, into a rejection.
  const asked = (async () => await choose(seenByIt, policyForIt))();
  const answered = asked.then(
    (answer: unknown): Wish => readWish(name, answer, seen),
    (error: unknown): Wish => ({ by: name, failed: "threw", why: `it threw ${said(error)}` }),
  );
  const over = new AbortController();
  const late = clock
    .sleep(chooseWithinMs, AbortSignal.any([signal, over.signal]))
    .then((): Wish => ({ by: name, failed: "late", why: `it did not answer within ${chooseWithinMs} ms` }));
  late.catch(() => undefined);
  try {
    return await Promise.race([answered, late]);
  } finally {
    over.abort();
  }
}

function said(error: unknown): string {
  try {
    return short(JSON.stringify(messageOf(error).slice(0, 200)));
  } catch {
    return "something that can not be shown";
  }
}

/** Of plain data, which a snapshot is. */
function frozenCopy<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return Object.freeze(value.map(frozenCopy)) as T;
  const copy = { ...value } as Record<string, unknown>;
  for (const name of Object.keys(copy)) copy[name] = frozenCopy(copy[name]);
  return Object.freeze(copy) as T;
}
