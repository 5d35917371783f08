import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { replicaData, replicaLines } from "../../src/cli/replicas.ts";
import { systemClock as clock } from "../../src/clock.ts";
import { openReplica } from "../../src/world/replica/index.ts";
import type { ReplicaLook } from "../../src/world/replica/look.ts";
import { quorate } from "../support/command.ts";
import { startEtcd } from "../support/etcd-process.ts";
import { temporaryFolder, untilGone } from "../support/etcd-server.ts";
import { eventually } from "../support/eventually.ts";

const cluster = { clusterId: "c1", revision: 120 };
const look: ReplicaLook = {
  ...{ folder: "/p/world", of: "prefix", state: "live", because: undefined, clusterId: "c1", file: "/p/world/data-3.mdb" },
  ...{ feederPid: 4711, revision: 118, ageMs: 0, foreign: undefined, lost: undefined },
  lastRelist: { cause: "compacted", why: "the history behind its revision is compacted" },
};

test.each<[string, Partial<ReplicaLook>, string[]]>([
  [
    "live: where it is, how far, and why it was listed last",
    {},
    [
      "live at revision 118, 2 behind",
      "in /p/world/data-3.mdb, fed by process 4711",
      "listed anew (compacted): the history behind its revision is compacted",
    ],
  ],
  [
    "stale: since when, and why",
    { state: "stale", ageMs: 61_000, lost: "nobody answers", lastRelist: undefined, foreign: "http://a belongs to cluster c2" },
    [
      "stale at revision 118, 2 behind, last heard 61 s ago",
      "in /p/world/data-3.mdb, fed by process 4711",
      "its cluster is out of reach: nobody answers",
      "not listened to: http://a belongs to cluster c2",
    ],
  ],
  [
    "of another cluster: nothing to compare",
    { clusterId: "c0", of: "own", lastRelist: undefined, file: undefined },
    ["live at revision 118, of cluster c0", "in /p/world, fed by process 4711, of this user's programs alone"],
  ],
  [
    "not readable: its programs have another",
    {
      ...{ state: "closed", file: undefined, revision: undefined, lastRelist: undefined, feederPid: undefined },
      because: "/p/world may not be read by this user (EACCES): its programs use a folder of their own",
    },
    [
      "not for this user",
      "in /p/world",
      "/p/world may not be read by this user (EACCES): its programs use a folder of their own",
    ],
  ],
  [
    "refused",
    {
      ...{ state: "direct", file: undefined, revision: undefined, lastRelist: undefined },
      because: "Cannot keep a replica: the file has 9 MiB, at most 8 are allowed",
    },
    [
      "none is kept: programs read directly",
      "in /p/world, fed by process 4711",
      "Cannot keep a replica: the file has 9 MiB, at most 8 are allowed",
    ],
  ],
])("a replica that is %s", (_, changes, expected) => {
  expect(replicaLines({ ...look, ...changes }, cluster)).toEqual(expected);
});

test("status shows the replica of this host, as long as there is one, and starts nothing for it", async () => {
  await using etcd = await startEtcd(1);
  const home = process.env["HOME"];
  process.env["HOME"] = await temporaryFolder();
  onTestFinished(() => {
    process.env["HOME"] = home;
  });
  const [url = ""] = etcd.urls;
  const prefix = await temporaryFolder();
  const folder = join(prefix, "world");
  const status = async (): Promise<{ text: string; replicas: Record<string, unknown>[] }> => {
    const text = (await quorate(`status --endpoints=${url} --prefix=${prefix}`)).out;
    const { out } = await quorate(`status --endpoints=${url} -o json`, { env: { QUORATE_PREFIX: prefix } });
    return { text, replicas: (JSON.parse(out) as { replicas: Record<string, unknown>[] }).replicas };
  };
  expect(await status()).toMatchObject({ text: expect.not.stringContaining("replica") as string, replicas: [] });

  const replica = await openReplica({ clock, endpoints: [url], folder });
  onTestFinished(() => replica.close());
  await replica.client.put("/_mgmt/strings/a", "1");
  await replica.get("/_mgmt/strings/a", { read: "linearizable" });
  await eventually("live", () => replica.status.state === "live");
  const { clusterId, revision } = replica.status;
  const pid = replica.feederPid!;
  const live = await status();
  expect(live.replicas).toEqual([
    {
      ...{ of: "prefix", folder, file: expect.stringContaining(join(folder, "data-")) as string, state: "live", clusterId },
      ...{ revision, lag: 0, ageMs: 0, feederPid: pid, because: null, lost: null, foreign: null },
      lastRelist: { cause: "empty", why: "there is no copy yet" },
    },
  ]);
  expect(live.text).toMatch(new RegExp(`^replica    live at revision ${revision}, 0 behind$`, "m"));
  expect(live.text).toMatch(new RegExp(`^           in ${folder}/data-.*, fed by process ${pid}$`, "m"));
  expect(live.text).toContain("listed anew (empty): there is no copy yet");

  await replica.close();
  await untilGone(pid);
  const cold = await status();
  expect(cold.replicas).toMatchObject([{ state: "cold", revision: null, feederPid: null, clusterId }]);
  expect(cold.text).toContain("replica    cold: no program uses it");
});

test("for programs all of it is there, whatever is not known as null", () => {
  const nothing: ReplicaLook = {
    ...{ folder: "/p/world", of: "own", state: "unanswered", because: undefined, clusterId: undefined, file: undefined },
    ...{
      feederPid: undefined,
      revision: undefined,
      ageMs: undefined,
      lastRelist: undefined,
      foreign: undefined,
      lost: undefined,
    },
  };
  const { of, folder, state, ...rest } = replicaData(nothing, cluster);
  expect({ of, folder, state }).toEqual({ of: "own", folder: "/p/world", state: "unanswered" });
  expect(new Set(Object.values(rest))).toEqual(new Set([null]));
});
