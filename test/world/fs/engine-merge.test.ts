import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MergeConflict, folderOf, mergeRoots } from "../../../src/world/fs/engine/merge.ts";
import { isSame, noEntries } from "../../../src/world/fs/engine/node.ts";
import type { Entries, StoredEntry, StoredFolder } from "../../../src/world/fs/engine/node.ts";

/** A tree as tests write it: text is a file, a list is a link, the rest are folders. */
interface Plan {
  readonly [name: string]: string | Plan;
}

const nodes = new Map<string, Entries>();

function stored(plan: Plan): StoredFolder {
  const entries = new Map(
    Object.entries(plan).map(([name, one]): [string, StoredEntry] => [
      name,
      typeof one === "string" ? { kind: "link", mode: 0o777, mtimeMs: 1, target: one } : stored(one),
    ]),
  );
  return folderOf(entries, { mode: 0o755, mtimeMs: 1 }, { made: (node) => nodes.set(node, entries) });
}

const how = {
  read: (node: string) => Promise.resolve(nodes.get(node) ?? noEntries),
  made: (node: string, bytes: Buffer) => {
    const wire = JSON.parse(bytes.toString("utf8")) as readonly ({ readonly name: string } & Record<string, unknown>)[];
    const entries = wire.map(
      ({ name, ...rest }) => [name, { kind: "target" in rest ? "link" : "folder", ...rest } as StoredEntry] as const,
    );
    nodes.set(node, new Map(entries));
  },
};

type Merged = { readonly root: StoredFolder } | { readonly conflict: MergeConflict };

async function merge(base: StoredFolder, ours: StoredFolder, theirs: StoredFolder): Promise<Merged> {
  try {
    return { root: await mergeRoots(base, ours, theirs, how) };
  } catch (error) {
    if (error instanceof MergeConflict) return { conflict: error };
    throw error;
  }
}

/** Every file, by its path, and its text. */
function filesOf(folder: StoredFolder, above = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, entry] of nodes.get(folder.node) ?? noEntries) {
    if (entry.kind === "folder") for (const [path, text] of filesOf(entry, `${above}${name}/`)) found.set(path, text);
    if (entry.kind === "link") found.set(`${above}${name}`, entry.target);
  }
  return found;
}

function entryAt(folder: StoredFolder, path: string): StoredEntry | undefined {
  let entry: StoredEntry | undefined = folder;
  for (const name of path.split("/")) entry = entry?.kind === "folder" ? nodes.get(entry.node)?.get(name) : undefined;
  return entry;
}

const { plan } = fc.letrec<{ plan: Plan; child: string | Plan }>((tie) => ({
  plan: fc.dictionary(fc.constantFrom("a", "b", "c"), tie("child"), { maxKeys: 3 }),
  child: fc.oneof({ maxDepth: 3, withCrossShrink: true }, fc.constantFrom("1", "2", "3"), tie("plan")),
}));

/** Three of which the second and third are like the first, more or less. */
const three = fc
  .tuple(plan, plan, plan, fc.nat({ max: 3 }))
  .map(([base, one, two, how_]) => [base, how_ & 1 ? { ...base, ...one } : one, how_ & 2 ? { ...base, ...two } : two] as const)
  .map((all) => all.map(stored) as [StoredFolder, StoredFolder, StoredFolder]);

describe("a merge of three trees", () => {
  test("has every file as the one who changed it left it, and all others as they were, unless it is a conflict", async () => {
    await fc.assert(
      fc.asyncProperty(three, async ([base, ours, theirs]) => {
        const merged = await merge(base, ours, theirs);
        const [b, o, t] = [filesOf(base), filesOf(ours), filesOf(theirs)];
        if ("conflict" in merged) {
          const { path } = merged.conflict;
          const [was, mine, other] = [base, ours, theirs].map((tree) => entryAt(tree, path));
          expect(isSame(was, mine) || isSame(was, other) || isSame(mine, other)).toBe(false);
          return;
        }
        const m = filesOf(merged.root);
        for (const path of new Set([...b.keys(), ...o.keys(), ...t.keys(), ...m.keys()])) {
          const wanted = o.get(path) === b.get(path) ? t.get(path) : o.get(path);
          if (t.get(path) !== b.get(path)) expect(t.get(path)).toBe(wanted);
          expect(m.get(path)).toBe(wanted);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("is the same whoever comes first", async () => {
    await fc.assert(
      fc.asyncProperty(three, async ([base, ours, theirs]) => {
        const [one, two] = [await merge(base, ours, theirs), await merge(base, theirs, ours)];
        if ("conflict" in one) expect("conflict" in two).toBe(true);
        else expect(two).toEqual({ root: one.root });
      }),
      { numRuns: 300 },
    );
  });

  test("is the changed one where only one has changed, and the same where both did the same", async () => {
    await fc.assert(
      fc.asyncProperty(three, async ([base, ours]) => {
        for (const all of [
          [base, ours, base],
          [base, base, ours],
          [base, ours, ours],
        ] as const) {
          expect(await merge(...all)).toEqual({ root: ours });
        }
      }),
      { numRuns: 300 },
    );
  });

  test("is no conflict where each has changed files of its own", async () => {
    const file = fc.constantFrom<string[]>("1", "2", "3");
    const changes = fc.dictionary(fc.constantFrom("f1", "f2", "f3", "f4"), fc.option(file, { nil: undefined }));
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom("f1", "f2", "f3", "f4"), file), changes, changes, async (base, one, two) => {
        const side = (prefix: string, change: Readonly<Record<string, string | undefined>>): StoredFolder => {
          const all = new Map<string, string>(
            Object.entries(base).flatMap(
              ([name, text]) =>
                [
                  [`x${name}`, text],
                  [`y${name}`, text],
                ] as const,
            ),
          );
          for (const [name, text] of Object.entries(change)) {
            if (text === undefined) all.delete(prefix + name);
            else all.set(prefix + name, text);
          }
          return stored({ same: "1", deep: { er: Object.fromEntries(all) } });
        };
        expect(await merge(side("x", {}), side("x", one), side("y", two))).toHaveProperty("root");
      }),
      { numRuns: 300 },
    );
  });
});

test.each<{ what: string; base: Plan; ours: Plan; theirs: Plan; merged: Plan | { readonly conflict: string } }>([
  {
    what: "a folder that one deletes stays with what the other puts into it",
    base: { d: { a: "1" } },
    ours: {},
    theirs: { d: { a: "1", b: "1" } },
    merged: { d: { b: "1" } },
  },
  {
    what: "a folder that one deletes goes where the other has deleted a part of it",
    base: { d: { a: "1", b: "1" } },
    ours: {},
    theirs: { d: { a: "1" } },
    merged: {},
  },
  {
    what: "a file that one deletes and the other changes is a conflict",
    base: { d: { a: "1" } },
    ours: {},
    theirs: { d: { a: "2" } },
    merged: { conflict: "d/a" },
  },
  {
    what: "a folder that one makes a file while the other changes what is in it is a conflict",
    base: { d: { a: "1" } },
    ours: { d: "1" },
    theirs: { d: { a: "2" } },
    merged: { conflict: "d" },
  },
  {
    what: "two new folders of one name become one",
    base: {},
    ours: { d: { a: "1" } },
    theirs: { d: { b: "1" } },
    merged: { d: { a: "1", b: "1" } },
  },
  {
    what: "two new files of one name and other content are a conflict",
    base: {},
    ours: { a: "1" },
    theirs: { a: "2" },
    merged: { conflict: "a" },
  },
])("$what", async ({ base, ours, theirs, merged }) => {
  const found = await merge(stored(base), stored(ours), stored(theirs));
  if ("conflict" in found) expect({ conflict: found.conflict.path }).toEqual(merged);
  else expect(found.root).toEqual(stored(merged as Plan));
});

test("of modes the changed one counts, of times the changed or the later one", async () => {
  const at = (mode: number, mtimeMs: number): StoredFolder => {
    const entries = new Map<string, StoredEntry>([["f", { kind: "file", mode, mtimeMs, size: 0, chunks: [] }]]);
    return folderOf(entries, { mode: 0o755, mtimeMs: 1 }, { made: (node) => nodes.set(node, entries) });
  };
  const merged = async (...[base, ours, theirs]: readonly (readonly [number, number])[]): Promise<unknown> => {
    const found = await merge(at(...base!), at(...ours!), at(...theirs!));
    if ("conflict" in found) return "conflict";
    return JSON.parse(
      JSON.stringify([...nodes.get(found.root.node)!.values()].map(({ mode, mtimeMs }) => [mode, mtimeMs])),
    ) as unknown;
  };
  expect(await merged([0o644, 5], [0o600, 5], [0o644, 3])).toEqual([[0o600, 3]]);
  expect(await merged([0o644, 5], [0o644, 9], [0o644, 7])).toEqual([[0o644, 9]]);
  expect(await merged([0o644, 5], [0o600, 5], [0o666, 5])).toBe("conflict");
});
