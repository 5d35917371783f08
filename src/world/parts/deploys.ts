import type { Deploy, Deploys, DeployTree, NewDeploy } from "../api/deploys.ts";
import type { Fence, ReadOptions } from "../api/common.ts";
import type { AtomicWrite, Compare, Written as Done } from "../../etcd/index.ts";
import type { Context, Opened } from "../context.ts";
import { WorldError } from "../error.ts";
import { checkName, checkValue, textOf } from "../names.ts";
import { readOptions } from "../read.ts";
import type { Entry, Select } from "../replica/index.ts";
import { followed } from "../watch/followed.ts";
import type { Difference, News, Source } from "../watch/news.ts";
import { failing, listWatch } from "../watch/watch.ts";
import { compareOf, invalid, patiently } from "../write.ts";
import { notUtf8, readable } from "./strings.ts";

/** Deploys that are deleted by one transaction: three keys each, and etcd takes 128 operations. */
const prunedAtOnce = 40;

/** What has to hold where a deploy names a root; undefined where nothing keeps it. @throws WorldError INVALID_OPTION */
export type Proof = (tree: DeployTree, signal: AbortSignal) => Promise<Compare | undefined>;

export function deploysOf(context: Context, proofOf: Proof): Deploys {
  const { deploys: keys } = context.keys;

  /** Ids that have a payload, ascending, and those that have a hash, and a tree. */
  const idsIn = (found: readonly string[]): Ids => {
    const ids: number[] = [];
    const hashed = new Set<number>();
    const rooted = new Set<number>();
    for (const key of found) {
      const parsed = keys.parse(key);
      if (parsed === undefined) context.malformed.note(key, notADeploy);
      else if (parsed.part === "payload") ids.push(parsed.id);
      else (parsed.part === "hash" ? hashed : rooted).add(parsed.id);
    }
    return { ids: ids.sort((a, b) => a - b), hashed, rooted };
  };

  const maxId = async ({ replica }: Opened, options: ReadOptions): ReturnType<Deploys["maxId"]> => {
    const { found, revision, ageMs } = await replica.look(
      readOptions(options),
      (look) => look.keys(keys),
      (look) => look.keys(keys),
    );
    return { id: idsIn(found).ids.at(-1) ?? 0, revision, ageMs };
  };

  /** @throws WorldError CONFLICT */
  const proven = async ({ tree }: NewDeploy, id: number, signal: AbortSignal): Promise<Compare | undefined> => {
    if (tree === undefined) return undefined;
    const proof = await proofOf(tree, signal);
    if (proof !== undefined) return proof;
    throw new WorldError("CONFLICT", `Cannot add deploy ${id}: nothing keeps the root ${tree.root} of ${tree.uri}`, {
      key: keys.root(id),
      hint: "Name the root of a commit that its history still has",
      data: { reason: "tree", id },
    });
  };

  return {
    add: async (deploy, options = {}) => {
      const doing = { what: `add ${deploy.id === undefined ? "a deploy" : `deploy ${deploy.id}`}` };
      return await context.run(doing, options, async () => {
        checkDeploy(deploy, keys.payload(deploy.id ?? 1));
        const limit = context.limit(options, doing);
        try {
          const opened = context.opened ?? (await context.open());
          const { signal } = limit;
          let id = deploy.id ?? (await maxId(opened, { signal })).id + 1;
          let proof = await proven(deploy, id, signal);
          for (;;) {
            const done = await send(opened, additionOf(context, { ...deploy, id }, proof), options.fence, signal);
            if (done.succeeded) return { id, changed: true, revision: done.revision };
            const why = refusal(context, { ...deploy, id }, done, options.fence);
            if (proof !== undefined && !proves(why)) {
              const before = JSON.stringify(proof);
              proof = await proven(deploy, id, signal);
              if (JSON.stringify(proof) !== before) continue;
            }
            if (deploy.id !== undefined || why.data["reason"] !== "exists") throw why;
            // Somebody else was first.
            id = Math.max(id, (await maxId(opened, { read: "direct", signal })).id) + 1;
          }
        } finally {
          limit.end();
        }
      });
    },
    get: async (id, options = {}) => {
      const doing = { what: `read deploy ${String(id)}` };
      return await context.run(doing, options, async () => {
        checkId(id);
        const { replica } = context.opened ?? (await context.open());
        const of = [keys.payload(id), keys.hash(id), keys.root(id)] as const;
        const { found, revision, ageMs } = await replica.look(
          readOptions(options),
          (look) => of.map((key) => look.get(key)),
          (look) => Promise.all(of.map((key) => look.get(key))),
        );
        const [payload, hash, root] = found;
        if (payload === undefined) return { deploy: undefined, revision, ageMs };
        const text = textOf(payload.value);
        if (text === undefined) {
          context.malformed.note(payload.key, notUtf8);
          throw new WorldError("INVALID_VALUE", `Cannot ${doing.what}: ${notUtf8}`, { key: payload.key });
        }
        return {
          deploy: { id, hash: hash && hashIn(context, hash), tree: root && treeIn(context, root), payload: text },
          revision,
          ageMs,
        };
      });
    },
    list: async (options = {}) =>
      await context.run({ what: "list the deploys" }, options, async () => {
        const { replica } = context.opened ?? (await context.open());
        const { found, revision, ageMs } = await replica.look(
          readOptions(options),
          (look) => {
            const { ids, hashed, rooted } = idsIn(look.keys(keys));
            return ids.map((id) => ({
              id,
              hash: hashed.has(id) ? look.get(keys.hash(id)) : undefined,
              root: rooted.has(id) ? look.get(keys.root(id)) : undefined,
            }));
          },
          async (look) => {
            const { ids, hashed, rooted } = idsIn(await look.keys(keys));
            return await Promise.all(
              ids.map(async (id) => ({
                id,
                hash: hashed.has(id) ? await look.get(keys.hash(id)) : undefined,
                root: rooted.has(id) ? await look.get(keys.root(id)) : undefined,
              })),
            );
          },
        );
        const deploys = found.map(({ id, hash, root }) => ({
          id,
          hash: hash && hashIn(context, hash),
          tree: root && treeIn(context, root),
        }));
        return { deploys, revision, ageMs };
      }),
    maxId: async (options = {}) =>
      await context.run({ what: "read the newest deploy's id" }, options, async () =>
        maxId(context.opened ?? (await context.open()), options),
      ),
    watch: (options = {}) =>
      failing(() => {
        const select: Select = (key) => {
          const parsed = keys.parse(key);
          if (parsed === undefined) context.malformed.note(key, notADeploy);
          return parsed === undefined ? "nothing" : parsed.part === "payload" ? "no-value" : "entry";
        };
        const source = followed(context, { range: keys, select, itemOf: (entry) => partOf(context, entry) }, "watch the deploys");
        return listWatch(context, whole(source), options, (a, b) => a.id - b.id);
      }),
    prune: async (options) => {
      const doing = { what: "prune the deploys" };
      return await context.run(doing, options, async () => {
        const { keep, fence } = options;
        if (!(Number.isSafeInteger(keep) && keep >= 1))
          throw invalid("keep", "has to be a whole number, 1 at least: the newest deploy always stays");
        const limit = context.limit(options, doing);
        try {
          const opened = context.opened ?? (await context.open());
          const { found, revision } = await opened.replica.look(
            { read: "linearizable", signal: limit.signal },
            (look) => look.keys(keys),
            (look) => look.keys(keys),
          );
          const old = idsIn(found).ids.slice(0, -keep);
          let at = revision;
          for (let i = 0; i < old.length; i += prunedAtOnce) {
            const then = old
              .slice(i, i + prunedAtOnce)
              .flatMap((id) => [keys.payload(id), keys.hash(id), keys.root(id)].map((del) => ({ del })));
            const done = await send(opened, { then }, fence, limit.signal);
            if (!done.succeeded) throw fenced(doing.what, fence);
            at = done.revision;
          }
          return { changed: old.length > 0, deleted: old, revision: at };
        } finally {
          limit.end();
        }
      });
    },
  };
}

const notADeploy = "it is none of /deploy/ID/payload, /deploy/ID/hash and /deploy/ID/root";
const notATree = "it is no JSON object with uri and root";

interface Ids {
  readonly ids: number[];
  readonly hashed: ReadonlySet<number>;
  readonly rooted: ReadonlySet<number>;
}

/** A refusal that has nothing to do with the tree. */
function proves({ data }: WorldError): boolean {
  return data["reason"] === "exists" || data["reason"] === "parent";
}

function hashIn(context: Context, entry: Entry): string | undefined {
  return readable(context, entry, (value) => value);
}

function treeIn(context: Context, entry: Entry): DeployTree | undefined {
  const text = hashIn(context, entry);
  if (text === undefined) return undefined;
  try {
    const { uri, root } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (typeof uri === "string" && typeof root === "string") return { uri, root };
  } catch {
    // Told below.
  }
  context.malformed.note(entry.key, notATree);
  return undefined;
}

function send({ writes }: Opened, write: AtomicWrite, fence: Fence | undefined, signal: AbortSignal): Promise<Done> {
  const compare = compareOf(fence);
  const whole = compare === undefined ? write : { ...write, fence: compare };
  const options = { signal, ...(fence === undefined ? {} : { session: fence }) };
  return patiently(writes, signal, () => writes.atomic(whole, options));
}

function checkId(id: number): void {
  if (!(Number.isSafeInteger(id) && id >= 1 && id < 1e15)) throw invalid("id", "has to be a whole number from 1 on");
}

function checkDeploy({ id, hash, parent, tree, payload }: NewDeploy, key: string): void {
  if (id !== undefined) checkId(id);
  if (hash !== undefined) checkName("the hash of a deploy", hash);
  if (parent !== undefined) checkName("the hash of a deploy's parent", parent);
  if (tree !== undefined) {
    checkName("the URI of a deploy's tree", tree.uri);
    checkName("the root of a deploy's tree", tree.root);
  }
  if (id === 1 && parent !== undefined) throw invalid("parent", "is given, and the first deploy has none");
  checkValue(key, payload);
}

type Addition = NewDeploy & { readonly id: number };

function additionOf(
  { keys: { deploys: keys } }: Context,
  { id, hash, parent, tree, payload }: Addition,
  proof: Compare | undefined,
): AtomicWrite {
  const [own, before, hashBefore] = [keys.payload(id), keys.payload(id - 1), keys.hash(id - 1)];
  const first = { key: keys.start, end: keys.end, createRevision: 0 } as const;
  return {
    compare: [
      { key: own, createRevision: 0 },
      ...(id === 1 ? [first] : [{ key: before, exists: true } as const]),
      ...(parent === undefined ? [] : [{ key: hashBefore, value: parent }]),
      ...(proof === undefined ? [] : [proof]),
    ],
    then: [
      { put: own, value: payload },
      hash === undefined ? { del: keys.hash(id) } : { put: keys.hash(id), value: hash },
      tree === undefined
        ? { del: keys.root(id) }
        : { put: keys.root(id), value: JSON.stringify({ uri: tree.uri, root: tree.root }) },
    ],
    look: [{ range: own, keysOnly: true }, ...(id === 1 ? [] : [{ range: before, keysOnly: true }, { range: hashBefore }])],
  };
}

/** Why it was refused, by what was there at that very moment. */
function refusal(
  { keys }: Context,
  { id, parent }: Addition,
  { seen = [], revision }: Done,
  fence: Fence | undefined,
): WorldError {
  const [own, before, hash] = seen;
  const key = keys.deploys.payload(id);
  const conflict = (reason: "exists" | "gap" | "parent", state: string, more: object = {}): WorldError =>
    new WorldError("CONFLICT", `Cannot add deploy ${id}: ${state}`, { key, data: { reason, id, revision, ...more } });
  if (own !== undefined) return conflict("exists", "there is one of that id");
  if (id === 1) return fence === undefined ? conflict("gap", "there are later ones") : fenced(`add deploy ${id}`, fence);
  if (before === undefined) return conflict("gap", `there is no deploy ${id - 1}`);
  if (parent !== undefined && hash?.value !== parent) {
    const state = hash === undefined ? "has no hash" : `has the hash ${JSON.stringify(hash.value)}`;
    return conflict("parent", `its parent is to be ${JSON.stringify(parent)}, and deploy ${id - 1} ${state}`, {
      hash: hash?.value,
    });
  }
  return fenced(`add deploy ${id}`, fence);
}

function fenced(what: string, fence: Fence | undefined): WorldError {
  const key = fence?.key ?? "";
  return new WorldError("FENCED", `Cannot ${what}: whoever held ${key} holds it no more`, { data: { fence: key } });
}

/** What one key says of a deploy. */
interface Part {
  readonly id: number;
  readonly of: "payload" | "hash" | "root";
  readonly hash?: string | undefined;
  readonly tree?: DeployTree | undefined;
}

function partOf(context: Context, entry: Entry): Part | undefined {
  const parsed = context.keys.deploys.parse(entry.key);
  if (parsed === undefined) return undefined;
  const { id, part: of } = parsed;
  if (of === "payload") return { id, of };
  return of === "hash" ? { id, of, hash: hashIn(context, entry) } : { id, of, tree: treeIn(context, entry) };
}

/** Deploys of what their keys say: one is there while its payload is. */
function whole(source: Source<Part>): Source<Deploy> {
  return (handler) => {
    const parts = new Map<number, { payload: boolean; hash: string | undefined; tree: DeployTree | undefined }>();
    const deployOf = (id: number): Deploy | undefined => {
      const known = parts.get(id);
      return known?.payload === true ? { id, hash: known.hash, tree: known.tree } : undefined;
    };
    const take = ({ id, of, hash, tree }: Part, there: boolean): void => {
      const known = parts.get(id) ?? { payload: false, hash: undefined, tree: undefined };
      if (of === "payload") known.payload = there;
      else if (of === "hash") known.hash = there ? hash : undefined;
      else known.tree = there ? tree : undefined;
      if (known.payload || known.hash !== undefined || known.tree !== undefined) parts.set(id, known);
      else parts.delete(id);
    };
    const wholeNews = (news: News<Part>): News<Deploy> | undefined => {
      if (news.kind === "state") return news;
      if (news.kind === "snapshot") {
        for (const part of news.items.values()) take(part, true);
        const deploys = [...parts.keys()].flatMap((id) => deployOf(id) ?? []);
        return { ...news, items: new Map(deploys.map((deploy) => [String(deploy.id), deploy])) };
      }
      const befores = new Map<number, Deploy | undefined>();
      for (const { before, after } of news.changes.values()) {
        const part = (after ?? before)!;
        if (!befores.has(part.id)) befores.set(part.id, deployOf(part.id));
        take(part, after !== undefined);
      }
      const changes = new Map<string, Difference<Deploy>>();
      for (const [id, before] of befores) {
        const after = deployOf(id);
        if (before !== undefined || after !== undefined) changes.set(String(id), { before, after });
      }
      return changes.size === 0 ? undefined : { ...news, changes };
    };
    return source({
      onNews: (news) => {
        const told = wholeNews(news);
        return told === undefined ? undefined : handler.onNews(told);
      },
      onFailure: handler.onFailure,
    });
  };
}
