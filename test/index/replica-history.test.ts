import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { QuorateError } from "../../src/errors.ts";
import { openReplica, ReplicaWrites } from "../../src/world/replica/index.ts";
import { isLinearizable, type Operation } from "../support/linearizable.ts";
import { progressIsInOrder } from "../world/replica/fixture.ts";
import { host, start } from "./agents.ts";

const never = new AbortController().signal;
const key = "/_mgmt/strings/register";

test("reads of the replica that an agent keeps are linearizable, and sessions see their own writes, while that agent is stopped and started again", async () => {
  const options = await host("h1", { replica: true, idealClusterSize: 1 });
  let agent = start(options);
  await agent.ready;
  const folder = join(options.prefix!, "world");
  const replica = await openReplica({ clock, folder, endpoints: options.clientUrls });
  onTestFinished(() => replica.close());
  await replica.ready({ timeoutMs: 20_000 });
  const writes = new ReplicaWrites(replica);
  onTestFinished(() => writes.close());
  const history: Operation[] = [];
  const wrong: string[] = [];
  let running = true;
  let own = 0;
  const loop = async (step: (n: number) => Promise<void>): Promise<void> => {
    for (let n = 0; running; n++) {
      await step(n).catch((error: unknown) => {
        if (!(error instanceof QuorateError)) throw error;
      });
      await clock.sleep(3, never);
    }
  };
  const writer = (client: number) => async (n: number) => {
    const value = `${client}-${n}`;
    const calledMs = clock.nowMs();
    try {
      await writes.put(key, value);
      history.push({ client, kind: "write", value, calledMs, returnedMs: clock.nowMs() });
    } catch (error) {
      const unknown = !(error instanceof QuorateError) || error.data["outcome"] !== "none";
      if (unknown) history.push({ client, kind: "write", value, calledMs, returnedMs: Infinity });
      throw error;
    }
  };
  const reader = (client: number) => async () => {
    const calledMs = clock.nowMs();
    const { entry } = await replica.get(key, { read: "linearizable", timeoutMs: 2_000 });
    const value = entry && Buffer.from(entry.value).toString();
    history.push({ client, kind: "read", value, calledMs, returnedMs: clock.nowMs() });
  };
  let highest = 0;
  const session = async (n: number): Promise<void> => {
    const { revision } = await writes.put("/_mgmt/strings/mine", `${n}`);
    const found = await replica.get("/_mgmt/strings/mine", { timeoutMs: 2_000 });
    const value = found.entry && Buffer.from(found.entry.value).toString();
    if (value !== `${n}`) wrong.push(`wrote ${n}, read ${value ?? "nothing"}`);
    if (found.revision < Math.max(revision, highest))
      wrong.push(`revision ${found.revision} after ${Math.max(revision, highest)}`);
    highest = found.revision;
    own++;
  };
  const loops = [loop(writer(1)), loop(writer(2)), loop(reader(3)), loop(reader(4)), loop(session)];
  const readsBetween: number[] = [];
  for (let i = 0; i < 3; i++) {
    await clock.sleep(400, never);
    readsBetween.push(history.length);
    await agent.stop();
    agent = start(options);
    await agent.ready;
  }
  await clock.sleep(400, never);
  readsBetween.push(history.length);
  running = false;
  await Promise.all(loops);
  for (let i = 1; i < readsBetween.length; i++) expect(readsBetween[i], `round ${i}`).toBeGreaterThan(readsBetween[i - 1]!);
  expect(isLinearizable(history)).toBe(true);
  expect(wrong).toEqual([]);
  expect(own).toBeGreaterThan(0);
  expect(replica.metrics.directReads > 0).toBe(!progressIsInOrder);
  await replica.close();
  await agent.stop();
});
