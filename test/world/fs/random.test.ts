import { afterAll, beforeAll, expect, test } from "vitest";
import { pathToFileURL } from "node:url";
import type { FsFiles } from "../../../src/world/index.ts";
import { full } from "../../support/full.ts";
import { Random } from "../../support/random.ts";
import { etcdOfWorlds, temporaryFolder, worldOf } from "../fixture.ts";
import type { WorldEtcd } from "../fixture.ts";
import { nodeFiles } from "./node-files.ts";

/** Lives, and calls in each. */
const [lives, calls] = full ? [120, 120] : [12, 60];

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

type Call = readonly [string, (fs: FsFiles) => Promise<unknown>];

/** Few names, so that calls meet; some lead through links. */
function pathFrom(random: Random): string {
  const levels = Array.from({ length: random.between(1, 3) }, () => random.pick(["a", "b", "c", "l"]));
  return `/${levels.join("/")}`;
}

function callFrom(random: Random): Call {
  const [path, other] = [pathFrom(random), pathFrom(random)];
  const text = random.pick(["", "x", "hello", "y".repeat(300_000)]);
  const said = text.length > 9 ? `${text.length} bytes` : JSON.stringify(text);
  const flag = random.pick(["w", "a", "wx", "r+", "w+", "a+", "ax"] as const);
  const recursive = random.chance(0.5);
  const size = random.between(0, 270_000);
  const mode = random.pick([0o600, 0o755, 0o644, 0o700]);
  return random.pick<Call>([
    [`writeFile ${path} ${said} ${flag}`, (fs) => fs.writeFile(path, text, { flag })],
    [`writeFile ${path} ${said}`, (fs) => fs.writeFile(path, text)],
    [`appendFile ${path} ${said}`, (fs) => fs.appendFile(path, text)],
    [`mkdir ${path} ${recursive}`, (fs) => fs.mkdir(path, { recursive })],
    [`mkdir ${path}`, (fs) => fs.mkdir(path)],
    [`rename ${path} ${other}`, (fs) => fs.rename(path, other)],
    [`rename ${other} ${path}`, (fs) => fs.rename(other, path)],
    [`rm ${path} ${recursive}`, (fs) => fs.rm(path, { recursive })],
    [`rmdir ${path}`, (fs) => fs.rmdir(path)],
    [`unlink ${path}`, (fs) => fs.unlink(path)],
    [`symlink ${other.slice(1)} ${path}`, (fs) => fs.symlink(other.slice(1), path)],
    [`chmod ${path} ${mode}`, (fs) => fs.chmod(path, mode)],
    [`truncate ${path} ${size}`, (fs) => fs.truncate(path, size)],
    [`readFile ${path}`, async (fs) => (await fs.readFile(path)).toString("latin1").slice(-20)],
    [`readdir ${path}`, async (fs) => (await fs.readdir(path)).sort()],
    [`readlink ${path}`, (fs) => fs.readlink(path)],
    [`realpath ${path}`, (fs) => fs.realpath(path)],
    [`stat ${path}`, async (fs) => (await fs.stat(path)).isDirectory()],
    [`lstat ${path}`, async (fs) => (await fs.lstat(path)).isSymbolicLink()],
    [
      `write in ${path} at ${size}`,
      async (fs) => {
        const handle = await fs.open(path, "r+");
        try {
          await handle.write(Buffer.from("inside"), 0, 6, size);
          const read = Buffer.alloc(10);
          const { bytesRead } = await handle.read(read, 0, 10, Math.max(0, size - 3));
          return read.subarray(0, bytesRead).toString("hex");
        } finally {
          await handle.close();
        }
      },
    ],
  ]);
}

async function outcome(fs: FsFiles, [, act]: Call): Promise<unknown> {
  try {
    return { given: await act(fs) };
  } catch (error) {
    const { code, syscall, path, message } = error as NodeJS.ErrnoException;
    if (typeof code !== "string") throw error;
    return code.startsWith("ERR_") ? { code, path } : { code, syscall, path, message };
  }
}

/** All that is there. */
async function whole(fs: FsFiles, folder = ""): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const name of (await fs.readdir(folder === "" ? "/" : folder)).sort()) {
    const path = `${folder}/${name}`;
    const stats = await fs.lstat(path);
    const mode = (stats.mode & 0o777).toString(8);
    if (stats.isSymbolicLink()) found[path] = `-> ${await fs.readlink(path)}`;
    else if (stats.isDirectory()) Object.assign(found, { [path]: mode }, await whole(fs, path));
    else found[path] = `${mode} ${(await fs.readFile(path)).toString("base64").slice(-40)} ${stats.size}`;
  }
  return found;
}

const kinds: readonly (readonly [string, () => Promise<string>, number])[] = [
  ["file://", async () => pathToFileURL(await temporaryFolder()).href, lives],
  ["memory://", async () => "memory://site", lives],
  ["etcdfs://", async () => "etcdfs:///fs/site", Math.ceil(lives / 6)],
];

test.each(kinds)("whatever is called in whatever order, %s answers as node:fs/promises does", async (_, uri, many) => {
  for (let life = 0; life < many; life++) {
    const seed = 61_200 + life;
    const random = new Random(seed);
    const node = nodeFiles(await temporaryFolder());
    const ours = (await worldOf(etcd, { replica: false })).fs(await uri());
    const done: string[] = [];
    for (let i = 0; i < calls; i++) {
      const call = callFrom(random);
      done.push(call[0]);
      const wanted = await outcome(node, call);
      expect(await outcome(ours, call), `seed ${seed}:\n${done.join("\n")}`).toEqual(wanted);
    }
    expect(await whole(ours), `seed ${seed}:\n${done.join("\n")}`).toEqual(await whole(node));
  }
});
