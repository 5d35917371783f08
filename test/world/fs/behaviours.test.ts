import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FsFiles, World } from "../../../src/world/index.ts";
import { etcdOfWorlds, temporaryFolder, worldOf } from "../fixture.ts";
import type { WorldEtcd } from "../fixture.ts";
import { behaviours } from "./behaviours.ts";
import type { Behaviour } from "./behaviours.ts";
import { nodeFiles } from "./node-files.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

/** What each call of a behaviour gave, or failed with. */
async function transcript(fs: FsFiles, [, run]: Behaviour, folder = "\0"): Promise<readonly unknown[]> {
  const noted: unknown[] = [];
  await fs.writeFile("/f", "hello");
  await fs.mkdir("/d");
  await fs.writeFile("/d/x", "x");
  await fs.mkdir("/e");
  await fs.symlink("f", "/l");
  await run(fs, async (act) => {
    try {
      const given = await act();
      noted.push(given);
      return given;
    } catch (error) {
      const { code, syscall, dest, errno, message, ...more } = error as NodeJS.ErrnoException & { dest?: string };
      if (typeof code !== "string") throw error;
      const path = more.path?.replace(folder, "");
      // What is wrong with an argument says its code; the words are Node's own.
      if (code.startsWith("ERR_")) noted.push({ code, ...(path === undefined ? {} : { path }) });
      else if (message === "file closed") noted.push({ code, syscall, message });
      else noted.push({ code, syscall, path, dest, errno, message: message.replaceAll(folder, "") });
      return undefined;
    }
  });
  return noted;
}

const kinds: readonly (readonly [string, () => string | Promise<string>])[] = [
  ["file://", async () => pathToFileURL(await temporaryFolder()).href],
  ["memory://", () => "memory://site"],
  ["etcdfs://", () => "etcdfs:///fs/site"],
];

/** A tree, in a World of its own. */
async function treeOf(uri: string): Promise<FsFiles> {
  const world: World = await worldOf(etcd, { replica: false });
  return world.fs(uri);
}

describe.each(kinds)("%s, as node:fs/promises", (_, uri) => {
  test.each(behaviours)("%s", async (...behaviour) => {
    const folder = await temporaryFolder();
    const truth = await transcript(nodeFiles(folder), behaviour, folder);
    expect(truth.length).toBeGreaterThan(0);
    expect(await transcript(await treeOf(await uri()), behaviour)).toEqual(truth);
  });
});
