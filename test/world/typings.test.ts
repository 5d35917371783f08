import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";
import { typeErrors } from "../support/typescript.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a declaration file says, and what it takes in from elsewhere. */
interface Closure {
  /** Below `dist`. */
  readonly files: readonly string[];
  /** That it names. */
  readonly packages: ReadonlySet<string>;
  /** Where `any` is a type. */
  readonly anys: readonly string[];
}

/** All that a program with that declaration file has to read of ours. */
function closureOf(entry: string): Closure {
  const files = new Set<string>();
  const packages = new Set<string>();
  const anys: string[] = [];
  const read = (path: string): void => {
    const name = relative(join(root, "dist"), path);
    if (files.has(name)) return;
    files.add(name);
    const text = readFileSync(path, "utf8");
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    const visit = (node: ts.Node): void => {
      if (node.kind === ts.SyntaxKind.AnyKeyword) {
        anys.push(`${name}:${source.getLineAndCharacterOfPosition(node.getStart()).line + 1}`);
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
    // Of declarations these are imports, re-exports and `import("...")` types alike.
    for (const { fileName: target } of ts.preProcessFile(text).importedFiles) {
      if (!target.startsWith(".")) packages.add(target);
      else read(join(dirname(path), target.replace(/\.(js|ts)$/, ".d.ts")));
    }
  };
  read(join(root, "dist", entry));
  return { files: [...files], packages, anys };
}

test.each(["world/index.d.ts", "mgmt/index.d.ts"])(
  "the typings of %s, as they are built, name no package but rxjs and pino, and Node's own streams",
  (entry) => {
    expect(existsSync(join(root, "dist", entry)), "run `npm run build` first").toBe(true);
    expect([...closureOf(entry).packages].sort()).toEqual(["node:stream", "pino", "rxjs"]);
  },
);

test.each(["world/index.d.ts", "mgmt/index.d.ts", "index.d.ts"])("the typings of %s say `any` nowhere", (entry) => {
  expect(closureOf(entry).anys).toEqual([]);
});

test.each(["world/index.d.ts", "mgmt/index.d.ts"])("%s reads nothing of the wire, the replica or the agent", (entry) => {
  const { files } = closureOf(entry);
  expect(files).toContain("world/api/world.d.ts");
  expect(files.filter((file) => /^(etcd|agent|embed|chooser|cli)\/|replica\/|parts\/|context/.test(file))).toEqual([]);
});

test("a strict program with the built typings compiles, and so do the typings themselves", () => {
  const program = `
    import { openWorld, WorldError } from "quorate/world";
    import type { Fence, ListEvent, Resource, World } from "quorate/world";

    const world: World = await openWorld({ seeds: ["http://127.0.0.1:2379"], hostname: "h1" });
    const { value, modRevision } = await world.str.get("motd", { read: "linearizable" });
    const text: string | undefined = value;
    await world.str.set("motd", text ?? "", { ifRevision: modRevision, lease: { ttl: 10 } });
    const events: AsyncIterable<ListEvent<Resource>> = world.resource.watch({ kind: "host" });
    for await (const event of events) if (event.kind === "snapshot") console.log(event.items[0]?.name);
    const led: number = await world.leaderOnly("job", async (signal: AbortSignal, fence: Fence) => (fence.check(), 1));
    world.status$.subscribe(({ state }) => state === "live");
    try {
      await world.deploy.add({ payload: String(led) });
    } catch (error) {
      if (error instanceof WorldError && error.outcome === "unknown") console.log(error.code, error.key);
    }
    await world.close();
  `;
  const wrong = `
    import { openWorld } from "quorate/world";
    const world = await openWorld({ seeds: ["http://127.0.0.1:2379"] });
    await world.str.set("motd", 7);
  `;
  const built = { skipLibCheck: false, paths: { "quorate/world": ["./dist/world/index.d.ts"] } };
  const errors = typeErrors({ "program.ts": program, "wrong.ts": wrong }, built);
  expect(errors).toEqual([expect.stringMatching(/^wrong\.ts:4: .*'number' is not assignable to .*'string'/)]);
});
