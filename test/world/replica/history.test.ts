import { describe, expect, onTestFinished, test } from "vitest";
import type { Replica } from "../../../src/world/replica/index.ts";
import { ReplicaWrites } from "../../../src/world/replica/index.ts";
import { QuorateError } from "../../../src/errors.ts";
import { testEtcd } from "../../support/etcd.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { isLinearizable } from "../../support/linearizable.ts";
import type { Operation } from "../../support/linearizable.ts";
import { clientTo, clock, killFeeder, nameOf, replicaFolder, replicaOf, textOf } from "./fixture.ts";

const never = new AbortController().signal;

describe("the checker", () => {
  const op = (kind: "read" | "write", value: string | undefined, calledMs: number, returnedMs: number): Operation => ({
    client: 0,
    kind,
    value,
    calledMs,
    returnedMs,
  });

  test("accepts what can be put in an order, and refuses what cannot", () => {
    expect(isLinearizable([])).toBe(true);
    expect(
      isLinearizable([op("read", undefined, 0, 1), op("write", "a", 0, 5), op("read", "a", 2, 3), op("read", "a", 6, 7)]),
    ).toBe(true);
    // Old after new, though the reads do not overlap.
    expect(isLinearizable([op("write", "a", 0, 9), op("read", "a", 1, 2), op("read", undefined, 3, 4)])).toBe(false);
    // Not seen after it was acknowledged.
    expect(isLinearizable([op("write", "a", 0, 1), op("read", undefined, 2, 3)])).toBe(false);
    // Never written.
    expect(isLinearizable([op("write", "a", 0, 1), op("read", "b", 2, 3)])).toBe(false);
    // A write nobody knows of may come late, or never.
    expect(isLinearizable([op("write", "a", 0, Infinity), op("read", undefined, 1, 2), op("read", "a", 3, 4)])).toBe(true);
    expect(isLinearizable([op("write", "a", 0, Infinity), op("read", undefined, 1, 2)])).toBe(true);
    // Two writes at once, in either order, but in one.
    const both = [op("write", "a", 0, 4), op("write", "b", 0, 4)];
    expect(isLinearizable([...both, op("read", "a", 5, 6), op("read", "a", 7, 8)])).toBe(true);
    expect(isLinearizable([...both, op("read", "a", 5, 6), op("read", "b", 7, 8)])).toBe(false);
  });
});

const registers = ["a", "b", "c", "d", "e"].map((name) => nameOf(`register/${name}`));

interface Recorded extends Operation {
  readonly key: string;
  readonly revision: number;
}

/** Writers and readers at once, until stopped; what failed without effect is left out. */
class History {
  readonly operations: Recorded[] = [];
  readonly failures: string[] = [];
  #running = true;
  readonly #loops: Promise<void>[] = [];
  #client = 0;

  loop(step: (n: number) => Promise<void>): void {
    const run = async (): Promise<void> => {
      for (let n = 0; this.#running; n++) {
        await step(n);
        await clock.sleep(2, never);
      }
    };
    this.#loops.push(run());
  }

  writer(put: (key: string, value: string) => Promise<{ revision: number }>): void {
    const client = ++this.#client;
    this.loop(async (n) => {
      const key = registers[n % registers.length]!;
      const value = `${client}-${n}`;
      const calledMs = clock.nowMs();
      try {
        const { revision } = await put(key, value);
        this.operations.push({ client, kind: "write", key, value, calledMs, returnedMs: clock.nowMs(), revision });
      } catch (error) {
        if (!(error instanceof QuorateError)) throw error;
        this.failures.push(error.code);
        if (error.data["outcome"] === "none") return;
        this.operations.push({ client, kind: "write", key, value, calledMs, returnedMs: Infinity, revision: 0 });
      }
    });
  }

  async read(
    key: string,
    get: (key: string) => Promise<{ value: string | undefined; revision: number }>,
    client = ++this.#client,
  ): Promise<{ revision: number }> {
    const calledMs = clock.nowMs();
    const { value, revision } = await get(key);
    this.operations.push({ client, kind: "read", key, value, calledMs, returnedMs: clock.nowMs(), revision });
    return { revision };
  }

  reader(get: (key: string) => Promise<{ value: string | undefined; revision: number }>): void {
    const client = ++this.#client;
    this.loop(async (n) => {
      try {
        await this.read(registers[n % registers.length]!, get, client);
      } catch (error) {
        if (!(error instanceof QuorateError)) throw error;
        this.failures.push(error.code);
      }
    });
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  of(key: string): Recorded[] {
    return this.operations.filter((one) => one.key === key);
  }

  get reads(): number {
    return this.operations.filter(({ kind }) => kind === "read").length;
  }
}

const reading = (replica: Replica, read: "linearizable" | "session") => async (key: string) => {
  const found = await replica.get(key, { read, timeoutMs: 3_000 });
  return { value: textOf(found.entry), revision: found.revision };
};

/** Every server killed and restarted in turn, and the feeder between; each time after the history has gone on for a while. */
async function disturb(etcd: TestCluster, replica: Replica, rounds: number, done: () => number): Promise<void> {
  const goesOn = async (): Promise<void> => {
    const from = done();
    await eventually("the history goes on", () => done() >= from + 20, 30_000);
  };
  for (let i = 0; i < rounds; i++) {
    const node = etcd.nodes[i % etcd.nodes.length]!;
    await goesOn();
    await node.kill();
    await clock.sleep(300, never);
    if (replica.feederPid !== undefined) await killFeeder(replica);
    await node.restart();
    await goesOn();
  }
}

// `npm run test:full` asks every etcd of the store.
const { binary, version } = testEtcd();
describe(`etcd ${version.text}`, () => {
  test("linearizable reads of two programs pass the checker while writers write, and etcd and the feeder are killed and come back", async () => {
    await using etcd = await startEtcd(3, { binary });
    const folder = await replicaFolder();
    const first = await replicaOf({ endpoints: etcd.urls, folder });
    const second = await replicaOf({ endpoints: etcd.urls, folder });
    await Promise.all([first.ready(), second.ready()]);
    const writes = new ReplicaWrites(first);
    onTestFinished(() => writes.close());
    const client = clientTo(etcd.urls);
    const history = new History();
    history.writer((key, value) => writes.put(key, value));
    history.writer((key, value) => client.put(key, value));
    for (const replica of [first, second, first]) history.reader(reading(replica, "linearizable"));
    await disturb(etcd, first, 3, () => history.reads);
    await history.stop();
    expect(history.reads).toBeGreaterThan(100);
    for (const key of registers) expect(isLinearizable(history.of(key)), key).toBe(true);
    const inOrder =
      version.minor > 5 || (version.minor === 5 && version.patch >= 8) || (version.minor === 4 && version.patch >= 25);
    if (inOrder) expect([first.metrics.directReads, second.metrics.directReads]).toEqual([0, 0]);
    else expect(first.metrics.directReads).toBeGreaterThan(100);
  });

  test("session reads never go back and see what the session wrote, while etcd and the feeder are killed and come back", async () => {
    await using etcd = await startEtcd(1, { binary });
    const replica = await replicaOf({ endpoints: etcd.urls, folder: await replicaFolder() });
    await replica.ready();
    const writes = new ReplicaWrites(replica);
    onTestFinished(() => writes.close());
    const client = clientTo(etcd.urls);
    const history = new History();
    history.writer((key, value) => client.put(key, value));
    history.reader(reading(replica, "session"));
    const mine = nameOf("mine");
    const wrong: string[] = [];
    let highest = 0;
    let checks = 0;
    history.loop(async (n) => {
      try {
        const { revision } = await writes.put(mine, `${n}`);
        const found = await replica.get(mine, { timeoutMs: 3_000 });
        if (textOf(found.entry) !== `${n}`) wrong.push(`wrote ${n}, read ${textOf(found.entry)}`);
        if (found.revision < revision || found.revision < highest)
          wrong.push(`revision ${found.revision} after ${revision}, ${highest}`);
        highest = found.revision;
        checks++;
      } catch (error) {
        if (!(error instanceof QuorateError)) throw error;
      }
    });
    await disturb(etcd, replica, 2, () => checks);
    await history.stop();
    expect(wrong).toEqual([]);
    expect(checks).toBeGreaterThan(20);
    const reads = history.operations.filter(({ kind }) => kind === "read");
    for (let i = 1; i < reads.length; i++) expect(reads[i]!.revision).toBeGreaterThanOrEqual(reads[i - 1]!.revision);
    for (const key of registers) {
      const written = new Map(history.of(key).map((one) => [one.value, one.calledMs]));
      for (const one of history.of(key))
        if (one.kind === "read" && one.value !== undefined) expect(written.has(one.value)).toBe(true);
    }
  });
});

test("the checker refuses serializable reads of a follower that is cut off", async () => {
  await using etcd = await startEtcd(3);
  const client = clientTo([etcd.urls[0]!]);
  const behind = clientTo([etcd.urls[2]!]);
  const history = new History();
  const written = (key: string): number => Math.max(0, ...history.of(key).map((one) => one.revision));
  const readBehind = async (key: string): Promise<{ value: string | undefined; revision: number }> => {
    const kind = { what: "read", repeatable: true, writes: false, requireLeader: false };
    const found = await behind.caller.run(kind, { timeoutMs: 10_000 }, ({ kv }) =>
      kv.range({ key: Buffer.from(key), serializable: true }),
    );
    return { value: found.kvs[0]?.value.toString(), revision: Number(found.header.revision) };
  };
  history.writer((key, value) => client.put(key, value));
  await eventually("every key is written", () => registers.every((key) => written(key) > 0));
  // Asked while it stands still, after the others have acknowledged more, it answers from where it stood before it catches up.
  const stale = new Set<string>();
  for (let i = 0; i < 20 && stale.size === 0; i++) {
    await readBehind(registers[0]!);
    const before = new Map(registers.map((key) => [key, written(key)]));
    etcd.nodes[2]!.pause();
    await eventually("every key is written again", () => registers.every((key) => written(key) > before.get(key)!));
    const reads = registers.map(async (key) => {
      const acknowledged = written(key);
      const { revision } = await history.read(key, readBehind);
      if (revision < acknowledged) stale.add(key);
    });
    etcd.nodes[2]!.resume();
    await Promise.all(reads);
  }
  await history.stop();
  expect(stale.size).toBeGreaterThan(0);
  expect(registers.every((key) => isLinearizable(history.of(key)))).toBe(false);
});
