import { expect, test } from "vitest";
import { Prefix } from "../../../src/agent/begin/state.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";
import { bootOfMachine, counted, forgetStartsIn, noteStart, type Starts } from "../../../src/agent/begin/crashes.ts";

const minute = 60_000;

/** Starts at these minutes of one run of the machine, none of them ended in order. */
function after(...minutes: readonly number[]): { crashes: number; starts: Starts } {
  let last: { crashes: number; starts: Starts } = { crashes: 0, starts: { boot: "a", atMs: [] } };
  for (const at of minutes) last = counted(last.starts, { id: "a", upMs: at * minute });
  return last;
}

test("every start that no orderly end has followed within 5 minutes counts as a crash", () => {
  expect(after(0).crashes).toBe(0);
  expect(after(0, 1).crashes).toBe(1);
  expect(after(0, 1, 2, 3).crashes).toBe(3);
  expect(after(0, 2, 4, 6).crashes).toBe(2);
  expect(after(0, 5, 10).crashes).toBe(0);
});

test("a reboot of the machine is no crash, nor is a start that lies in the future of it", () => {
  const { starts } = after(0, 1, 2);
  expect(counted(starts, { id: "b", upMs: 3 * minute })).toEqual({ crashes: 0, starts: { boot: "b", atMs: [3 * minute] } });
  expect(counted(starts, { id: "a", upMs: 30_000 }).crashes).toBe(1);
});

test("what is remembered is bounded", () => {
  expect(after(...Array.from({ length: 50 }, (_, i) => i / 100)).starts.atMs).toHaveLength(10);
});

test.runIf(process.platform === "linux")("Linux tells which run of the machine this is, and for how long", () => {
  const first = bootOfMachine();
  expect(first?.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(bootOfMachine()?.upMs).toBeGreaterThanOrEqual(first?.upMs ?? Infinity);
});

test("kills on purpose, as the demo's, are no crashes, and change nothing else of the state", async () => {
  const folder = await temporaryFolder();
  const start = async (): Promise<boolean> => {
    await using prefix = await Prefix.open(folder, "/nowhere/", "h1");
    await prefix.save({ clusterId: "abc" });
    return await noteStart(prefix, { id: "a", upMs: 1_000 });
  };
  for (let i = 0; i < 3; i++) expect(await start()).toBe(false);
  await forgetStartsIn(folder);
  for (let i = 0; i < 3; i++) expect(await start()).toBe(false);
  expect(await start()).toBe(true);
  await forgetStartsIn(`${folder}/none`);
  await using prefix = await Prefix.open(folder, "/nowhere/", "h1");
  expect(prefix.state).toMatchObject({ clusterId: "abc", hostname: "h1" });
});
