import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient } from "../../../src/etcd/index.ts";
import { keysUnder } from "../../../src/keys.ts";
import type { KeyRange } from "../../../src/keys.ts";
import { openReplica } from "../../../src/world/replica/index.ts";
import type { Entry, Following, Replica, ReplicaNews, ReplicaOptions } from "../../../src/world/replica/index.ts";
import { etcdAtLeast } from "../../support/etcd.ts";
import { isAlive, temporaryFolder, untilGone } from "../../support/etcd-server.ts";
import { eventually } from "../../support/eventually.ts";

/** Whether the etcd of the tests can be asked for progress: where it cannot, linearizable reads are direct. */
export const progressIsInOrder = etcdAtLeast(3, 5, 8) || (etcdAtLeast(3, 4, 25) && !etcdAtLeast(3, 5));

export const keys = keysUnder("/_mgmt");
export const strings: KeyRange = keys.world.at(-1)!;
export const nameOf = (name: string): string => `${strings.start}${name}`;
export const textOf = (entry: Entry | undefined): string | undefined =>
  entry === undefined ? undefined : Buffer.from(entry.value).toString("utf8");

/** A folder that no feeder uses any more once the test is over. */
export async function replicaFolder(): Promise<string> {
  return join(await temporaryFolder(), "world");
}

/** A replica that is closed, and its feeder gone, when the test is over. */
export async function replicaOf(options: Omit<ReplicaOptions, "clock">): Promise<Replica> {
  const replica = await openReplica({ clock, ...options });
  const pids = new Set<number>();
  const watching = setInterval(() => {
    const pid = feederOf(replica);
    if (pid !== undefined) pids.add(pid);
  }, 20);
  onTestFinished(async () => {
    const last = feederOf(replica);
    if (last !== undefined) pids.add(last);
    clearInterval(watching);
    await replica.close();
    // Others may use it still: whoever closes last waits for its end.
    for (const pid of pids) await Promise.race([untilGone(pid), clock.sleep(300, new AbortController().signal)]);
  });
  return replica;
}

/** Pid of the feeder a replica is connected to. */
export function feederOf(replica: Replica): number | undefined {
  return replica.feederPid;
}

/** Ends a feeder as the kernel would, and waits for the next one. */
export async function killFeeder(replica: Replica): Promise<number> {
  const pid = await eventually("a feeder", () => replica.feederPid);
  process.kill(pid, "SIGKILL");
  await untilGone(pid);
  try {
    return await eventually("the next feeder", () => (replica.feederPid === pid ? undefined : replica.feederPid));
  } catch (error) {
    throw new Error(`There is no other feeder: ${JSON.stringify(replica.status)}`, { cause: error });
  }
}

export function clientTo(endpoints: readonly string[]): EtcdClient {
  const client = EtcdClient.create({ endpoints, clock });
  onTestFinished(() => client.close());
  return client;
}

/** What one subscription was told, checked as it comes: a snapshot first and once, revisions in order, previous values as they were. */
export class Told {
  readonly entries = new Map<string, Entry>();
  readonly revisions: number[] = [];
  readonly wrong: string[] = [];
  readonly news: ReplicaNews[] = [];
  snapshots = 0;
  resyncs = 0;
  revision = 0;
  readonly following: Following;

  constructor(replica: Replica, range: KeyRange = strings) {
    this.following = replica.follow(range, (news) => this.#take(news));
    onTestFinished(() => this.following.stop());
  }

  #take(news: ReplicaNews): void {
    this.news.push(news);
    if (news.kind === "snapshot") {
      if (this.snapshots++ > 0) this.wrong.push("a second snapshot");
      for (const entry of news.entries) this.entries.set(entry.key, entry);
    } else {
      if (this.snapshots === 0) this.wrong.push("a change before the snapshot");
      if (news.kind === "resynced") this.resyncs++;
      else {
        if (news.revision <= this.revision) this.wrong.push(`revision ${news.revision} after ${this.revision}`);
        this.revisions.push(news.revision);
      }
      for (const change of news.changes) {
        const key = change.type === "put" ? change.entry.key : change.key;
        if (textOf(change.previous) !== textOf(this.entries.get(key))) this.wrong.push(`${key} was something else before`);
        if (change.type === "put") this.entries.set(key, change.entry);
        else if (!this.entries.delete(key)) this.wrong.push(`${key} was deleted twice`);
      }
    }
    this.revision = news.revision;
  }
}

export { clock, eventually, isAlive, temporaryFolder, untilGone };
