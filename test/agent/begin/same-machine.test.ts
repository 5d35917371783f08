import { expect, test } from "vitest";
import { assertSameMachine, idOfMachine } from "../../../src/agent/begin/same-machine.ts";
import { Prefix } from "../../../src/agent/begin/state.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";

async function opened<T>(folder: string, use: (prefix: Prefix) => Promise<T>): Promise<T> {
  await using prefix = await Prefix.open(folder, "/nowhere/", "h1");
  return await use(prefix);
}

test("state that was made on another machine is refused, and --moved makes it this one's", async () => {
  const folder = await temporaryFolder();
  await opened(folder, async (prefix) => {
    await assertSameMachine(prefix, "here", false);
    await prefix.save({ clusterId: "abc", seat: { memberId: "1", token: "t" } });
  });
  await opened(folder, (prefix) => assertSameMachine(prefix, "here", false));
  for (let i = 0; i < 2; i++) {
    await expect(opened(folder, (prefix) => assertSameMachine(prefix, "there", false))).rejects.toMatchObject({
      code: "REFUSED",
      message: `Cannot use the prefix ${folder}: it holds the state of h1 in cluster abc, made on another machine`,
      hint: expect.stringContaining("--moved") as string,
    });
  }
  await opened(folder, (prefix) => assertSameMachine(prefix, "there", true));
  await opened(folder, (prefix) => assertSameMachine(prefix, "there", false));
  await expect(opened(folder, (prefix) => assertSameMachine(prefix, "here", false))).rejects.toMatchObject({ code: "REFUSED" });
});

test("nothing is refused where there is no cluster yet, or no name of the machine to go by", async () => {
  const folder = await temporaryFolder();
  await opened(folder, (prefix) => assertSameMachine(prefix, "here", false));
  await opened(folder, async (prefix) => {
    await assertSameMachine(prefix, "there", false);
    expect(prefix.state.machine).toBe("there");
    await prefix.save({ clusterId: "abc" });
    await assertSameMachine(prefix, undefined, false);
    expect(prefix.state.machine).toBe("there");
  });
});

test("the name of this machine is the same at every start, and is not its machine id", () => {
  const id = idOfMachine();
  expect(idOfMachine()).toBe(id);
  if (id !== undefined) expect(id).toMatch(/^[0-9a-f]{32}$/);
});
