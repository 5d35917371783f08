import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Prefix, type AgentState } from "../../../src/agent/begin/state.ts";
import { QuorateError } from "../../../src/errors.ts";
import { runProgram, temporaryFolder } from "../../support/etcd-server.ts";

async function open(folder: string | undefined, hostname = "h1", root = "/nowhere/"): Promise<Prefix> {
  const prefix = await Prefix.open(folder, root, hostname);
  onTestFinished(() => prefix[Symbol.asyncDispose]());
  return prefix;
}

/** The prefix is opened, closed, and what it read is returned. */
async function stateIn(folder: string, hostname = "h1"): Promise<AgentState> {
  await using prefix = await Prefix.open(folder, "/nowhere/", hostname);
  return prefix.state;
}

async function refusal(opening: Promise<Prefix>): Promise<QuorateError> {
  try {
    await (await opening)[Symbol.asyncDispose]();
  } catch (error) {
    if (error instanceof QuorateError) return error;
    throw error;
  }
  throw new Error("The prefix was opened");
}

async function save(folder: string, text: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, "state.json");
  await writeFile(file, text);
  return file;
}

test("a new prefix is made with its parents, for its user only, and has an identity that stays", async () => {
  const folder = join(await temporaryFolder(), "a", "b");
  const first = await stateIn(folder);
  expect(first).toEqual({
    schema: 1,
    hostname: "h1",
    identity: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    instance: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    endpoints: [],
  });
  expect(first.identity).not.toBe(first.instance);
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  expect((await stat(join(folder, "state.json"))).mode & 0o777).toBe(0o600);
  expect(await stateIn(folder)).toEqual(first);
});

describe("save()", () => {
  test("what is saved is there at the next start, and undefined takes a field away", async () => {
    const folder = await temporaryFolder();
    {
      await using prefix = await Prefix.open(folder, "/nowhere/", "h1");
      await prefix.save({ clusterId: "abc", seat: { memberId: "1", token: "t" }, endpoints: ["http://h1:1"] });
      expect(prefix.state).toMatchObject({ clusterId: "abc", seat: { memberId: "1" } });
      await prefix.save({ seat: undefined });
    }
    const state = await stateIn(folder);
    expect(state).toMatchObject({ clusterId: "abc", endpoints: ["http://h1:1"] });
    expect(state).not.toHaveProperty("seat");
  });

  test("many saves at once are carried out in order, and no reader ever sees half a file", async () => {
    const folder = await temporaryFolder();
    const prefix = await open(folder);
    const saves = Array.from({ length: 50 }, (_, i) => prefix.save({ endpoints: Array<string>(i + 1).fill(`http://h${i}:1`) }));
    const over = new AbortController();
    const reading = (async () => {
      while (!over.signal.aborted) {
        const { endpoints } = JSON.parse(await readFile(join(folder, "state.json"), "utf8")) as AgentState;
        expect(new Set(endpoints).size).toBeLessThanOrEqual(1);
      }
    })();
    await Promise.all(saves);
    over.abort();
    await reading;
    expect(prefix.state.endpoints).toHaveLength(50);
    expect(await readdir(folder)).toEqual(["state.json"]);
  });

  test("a save that fails leaves the state as it was, on disk and in memory, and the next one works", async () => {
    const folder = await temporaryFolder();
    const prefix = await open(folder);
    const before = await readFile(join(folder, "state.json"), "utf8");
    await mkdir(join(folder, "state.json.next"));
    await expect(prefix.save({ clusterId: "abc" })).rejects.toMatchObject({ code: "EISDIR" });
    expect(prefix.state).not.toHaveProperty("clusterId");
    expect(await readFile(join(folder, "state.json"), "utf8")).toBe(before);
    await rm(join(folder, "state.json.next"), { recursive: true });
    await prefix.save({ clusterId: "abc" });
    expect(prefix.state.clusterId).toBe("abc");
  });

  test("the half of a save that a crash cut off is of no consequence", async () => {
    const folder = await temporaryFolder();
    const first = await stateIn(folder);
    await writeFile(join(folder, "state.json.next"), '{"schema":1,"hostn');
    expect(await stateIn(folder)).toEqual(first);
  });
});

describe("the lock", () => {
  test("a second agent of the same process is refused, by whatever name it gives the folder, and told what to do", async () => {
    const folder = await temporaryFolder();
    const link = join(await temporaryFolder(), "link");
    await symlink(folder, link);
    const prefix = await open(folder);
    for (const name of [folder, `${folder}/`, link]) {
      const error = await refusal(Prefix.open(name, "/nowhere/", "h2"));
      expect(error).toMatchObject({ code: "PREFIX_IN_USE", hint: expect.stringContaining("--tmp-prefix") as string });
    }
    await prefix[Symbol.asyncDispose]();
    await stateIn(folder);
  });

  test("a refused folder is free again at once", async () => {
    const folder = await temporaryFolder();
    await stateIn(folder);
    for (let i = 0; i < 20; i++) expect((await refusal(Prefix.open(folder, "/nowhere/", "h2"))).code).toBe("PREFIX_UNUSABLE");
    await stateIn(folder);
  });

  test("an agent of another process holds it, until it is killed by SIGKILL: nothing is left to clear away", async () => {
    const folder = await temporaryFolder();
    const holder = runProgram(new URL("programs/hold-prefix.ts", import.meta.url), [folder, "h1"]);
    const identity = await holder.line();
    expect((await refusal(Prefix.open(folder, "/nowhere/", "h1"))).code).toBe("PREFIX_IN_USE");
    const gone = new Promise((resolve) => holder.child.once("exit", resolve));
    holder.child.kill("SIGKILL");
    await gone;
    expect((await stateIn(folder)).identity).toBe(identity);
  });

  test("whoever connects to it can neither break it nor keep it from being let go", async () => {
    const folder = await temporaryFolder();
    const prefix = await open(folder);
    const { dev, ino } = await stat(folder, { bigint: true });
    const sockets = Array.from({ length: 5 }, () => connect({ path: `\0quorate-prefix:${dev}:${ino}`, allowHalfOpen: true }));
    await Promise.all(
      sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve).on("error", () => undefined))),
    );
    sockets[0]?.destroy();
    await prefix[Symbol.asyncDispose]();
    for (const socket of sockets) socket.destroy();
    await stateIn(folder);
  });
});

describe("what is refused", () => {
  test("another host's state, with the name that would fit", async () => {
    const folder = await temporaryFolder();
    await stateIn(folder, "h1");
    const error = await refusal(Prefix.open(folder, "/nowhere/", "h2"));
    expect(error).toMatchObject({
      code: "PREFIX_UNUSABLE",
      exitCode: 2,
      hint: expect.stringContaining("--hostname=h1") as string,
    });
    expect(error.message).toContain('it belongs to host "h1", not "h2"');
  });

  test.each([
    ["empty", ""],
    ["cut off", '{"schema":1,"hostname":"h1"'],
    ["of another kind", "[]"],
    ["of a later version", '{"schema":2,"hostname":"h1","identity":"a","instance":"b","endpoints":[]}'],
    ["without an identity", '{"schema":1,"hostname":"h1","instance":"b","endpoints":[]}'],
    ["zeroed by a power cut", "\u0000".repeat(300)],
  ])("a file that is %s: never taken for a new host, never written over", async (_what, text) => {
    const folder = await temporaryFolder();
    const file = await save(folder, text);
    const error = await refusal(Prefix.open(folder, "/nowhere/", "h1"));
    expect(error.code).toBe("PREFIX_UNUSABLE");
    expect(error.message).toBe(`Cannot use ${file}: it is damaged`);
    expect(error.hint).toContain("move the prefix aside");
    expect(await readFile(file, "utf8")).toBe(text);
  });

  test("a state file that cannot be read as one", async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "state.json"));
    expect((await refusal(Prefix.open(folder, "/nowhere/", "h1"))).code).toBe("PREFIX_UNUSABLE");
  });

  test("a prefix that is a file, or below one", async () => {
    const file = join(await temporaryFolder(), "file");
    await writeFile(file, "");
    for (const folder of [file, join(file, "below"), "/a\u0000b"]) {
      const error = await refusal(Prefix.open(folder, "/nowhere/", "h1"));
      expect(error).toMatchObject({ code: "PREFIX_UNUSABLE", data: { option: "prefix" } });
    }
  });

  test("a temporary prefix where there is no room for one", async () => {
    expect((await refusal(Prefix.open(undefined, "/nowhere/quorate-", "h1"))).code).toBe("PREFIX_UNUSABLE");
  });
});

test("a temporary prefix is new every time, for its user only, and gone at the end with all that is in it", async () => {
  const root = join(await temporaryFolder(), "quorate-");
  const one = await open(undefined, "h1", root);
  const two = await open(undefined, "h1", root);
  expect(one.folder).not.toBe(two.folder);
  expect((await stat(one.folder)).mode & 0o777).toBe(0o700);
  expect(one.dataDir).toBe(join(one.folder, "server"));
  await mkdir(join(one.dataDir, "member"), { recursive: true });
  await writeFile(join(one.dataDir, "member", "db"), "data");
  await one[Symbol.asyncDispose]();
  await expect(stat(one.folder)).rejects.toMatchObject({ code: "ENOENT" });
  expect((await stat(two.folder)).isDirectory()).toBe(true);
});

test("a prefix that was given stays", async () => {
  const folder = await temporaryFolder();
  await stateIn(folder);
  expect(await readdir(folder)).toEqual(["state.json"]);
});
