import { z } from "zod";

/*
 * How agents that were all given the same `--expect N` and the same seeds agree, before there is an etcd, on the N that found a cluster.
 *
 * Each tells what it holds to whoever asks, and asks all others. Whoever sees N that hold nothing, itself the first of them in the order of
 * the seeds, promises to found a cluster with these; who sees a promise that has it among its founders promises the same. A promise is on disk
 * before it is told, and there is one at a time. Who has seen all N hold it commits, and who has seen most of the N commit starts etcd.
 *
 * That two clusters come of it is impossible. N is more than half of the seeds: any two sets of founders have an agent in common. A cluster
 * takes most of its founders, each committed to it. Who gives up a promise does so for good, and promises something else only when so many
 * of its founders have given it up that the rest are no majority any more.
 */

/** One that is to be a founder. */
const founderSchema = z.object({
  /** Of the agent's prefix, for its life. */
  identity: z.string().min(1).max(100),
  /** Of its data folder. */
  instance: z.string().min(1).max(100),
  hostname: z.string().min(1).max(253),
  seed: z.string().max(300),
  serverUrls: z.array(z.string().max(300)).min(1).max(8),
});
export type Founder = z.infer<typeof founderSchema>;

const promiseSchema = z.object({
  /** Unlike that of any other: it is also the token of the cluster. */
  token: z.string().min(1).max(100),
  founders: z.array(founderSchema).min(1).max(100),
});
export type Promised = z.infer<typeof promiseSchema>;

/** What an agent holds; on disk before it is told. */
export const heldSchema = z.object({
  promised: promiseSchema.optional(),
  /** It has seen that all hold the promise. */
  committed: z.boolean(),
  /** A promise it has given up, which may come true for others all the same. */
  doubted: promiseSchema.optional(),
  /** Tokens of all it has given up. */
  givenUp: z.array(z.string()),
});
export type Held = z.infer<typeof heldSchema>;

/** What an agent tells who asks. */
export const toldSchema = z.object({ schema: z.literal(1), expect: z.number(), self: founderSchema, held: heldSchema });
export type Told = z.infer<typeof toldSchema>;

export const holdsNothing: Held = { committed: false, givenUp: [] };

/** A promise that has not come true for so long is given up. */
export const giveUpMs = 10_000;

export interface Moment {
  readonly self: Founder;
  readonly held: Held;
  readonly expect: number;
  readonly seeds: readonly string[];
  /** What the others have told just now. */
  readonly told: readonly Told[];
  /** Where there is an etcd already. */
  readonly etcds: readonly EtcdSeen[];
  /** How long it has held its promise, or been committed to it. */
  readonly heldMs: number;
  readonly newToken: () => string;
}

/** What is to be held now; the same object where nothing changes. */
export function nextHeld(moment: Moment): Held {
  const { held } = moment;
  const refused = refuse(moment);
  if (refused.length > 0) return { ...held, givenUp: [...held.givenUp, ...refused] };
  return held.promised === undefined ? look(moment) : keep(moment, held.promised);
}

/** What others have given up is never promised afterwards: they wait to be sure of that. */
function refuse({ self, held, told }: Moment): readonly string[] {
  const tokens = told.flatMap(({ held: { doubted } }) => {
    if (doubted === undefined || !doubted.founders.some(({ identity }) => identity === self.identity)) return [];
    return doubted.token === held.promised?.token || held.givenUp.includes(doubted.token) ? [] : [doubted.token];
  });
  return [...new Set(tokens)];
}

/** An etcd that answers at a seed, and the server URLs of its members as far as it tells them. */
export interface EtcdSeen {
  readonly seed: string;
  readonly serverUrls: readonly string[];
}

/** Founders that start at once elect a leader at once: those who are about to commit are waited for, for so long. */
export const togetherMs = 300;

/** What to do with what is held. */
export function whatNow({
  self,
  held,
  told,
  etcds,
  heldMs,
}: Omit<Moment, "expect" | "seeds" | "newToken">): "found" | "join" | "wait" {
  const { promised } = held;
  if (promised === undefined || !held.committed) return etcds.length > 0 ? "join" : "wait";
  const committed = told.filter((one) => one.held.committed && one.held.promised?.token === promised.token);
  const count = 1 + foundersAmong(committed, promised, self).length;
  if (count === promised.founders.length) return "found";
  // Nothing can keep this cluster from being founded any more.
  if (count >= majorityOf(promised) && heldMs >= togetherMs) return "found";
  if (isStarted(promised, etcds)) return "found";
  return etcds.some(({ seed }) => promised.founders.some((one) => one.seed === seed)) ? "join" : "wait";
}

/** Whether one of the founders has started: it does not tell any more. */
function isStarted(promised: Promised, etcds: readonly EtcdSeen[]): boolean {
  return etcds.some(({ seed, serverUrls }) => promised.founders.some((one) => one.seed === seed) && isOf(promised, serverUrls));
}

function isOf({ founders }: Promised, serverUrls: readonly string[]): boolean {
  const its = founders.flatMap((one) => one.serverUrls);
  return its.length === serverUrls.length && its.every((url) => serverUrls.includes(url));
}

function majorityOf({ founders }: Promised): number {
  return Math.floor(founders.length / 2) + 1;
}

/** Those of the others that are founders of it. */
function foundersAmong(told: readonly Told[], { founders }: Promised, self: Founder): readonly Told[] {
  return told.filter(
    (one) => one.self.identity !== self.identity && founders.some(({ identity }) => identity === one.self.identity),
  );
}

/** Whether so many have given it up that the rest are no majority. */
function isDead(promised: Promised, { self, held, told }: Moment): boolean {
  const others = foundersAmong(told, promised, self).filter((one) => one.held.givenUp.includes(promised.token)).length;
  const own = held.givenUp.includes(promised.token) ? 1 : 0;
  return promised.founders.length - own - others < majorityOf(promised);
}

function keep(moment: Moment, promised: Promised): Held {
  const { self, held, told, etcds, heldMs } = moment;
  const giveUp: Held = { committed: false, doubted: promised, givenUp: [...held.givenUp, promised.token] };
  if (held.committed) return isDead(promised, moment) ? giveUp : held;
  const holding = foundersAmong(told, promised, self).filter((one) => one.held.promised?.token === promised.token);
  if (holding.length === promised.founders.length - 1 || isStarted(promised, etcds)) return { ...held, committed: true };
  return heldMs < giveUpMs ? held : giveUp;
}

function look(moment: Moment): Held {
  const { self, held, expect, seeds, told, newToken } = moment;
  if (held.doubted !== undefined && !isDead(held.doubted, moment)) return held;
  const promises = told.flatMap((one) => (one.held.promised === undefined ? [] : [one.held.promised]));
  const mine = promises.find(
    (one) =>
      one.founders.some(({ identity, instance }) => identity === self.identity && instance === self.instance) &&
      !held.givenUp.includes(one.token),
  );
  if (mine !== undefined) return { committed: false, promised: mine, givenUp: held.givenUp };
  // Another promise is on its way to come true, or to be given up.
  if (promises.length > 0) return held;
  const free = [self, ...told.filter((one) => one.held.promised === undefined).map((one) => one.self)].sort(
    (a, b) => seeds.indexOf(a.seed) - seeds.indexOf(b.seed),
  );
  if (free.length < expect || free[0]?.identity !== self.identity) return held;
  return { committed: false, promised: { token: newToken(), founders: free.slice(0, expect) }, givenUp: held.givenUp };
}
