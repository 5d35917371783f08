import assert from "node:assert/strict";
import { expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import { EtcdServer, type EtcdServerOptions, inspectDataDir } from "../../src/embed/index.ts";
import {
  addLearner,
  ask,
  isAlive,
  joining,
  membersSeenBy,
  never,
  promote,
  removeMember,
  serverOptions,
  startServer,
} from "../support/etcd-server.ts";

/** The real clock, except that pauses of 500 ms take none; they are counted. */
function clockThatSkipsPauses(): Clock & { pauses: number } {
  const clock = {
    ...systemClock,
    pauses: 0,
    sleep: (ms: number, signal: AbortSignal): Promise<void> => {
      if (ms !== 500) return systemClock.sleep(ms, signal);
      clock.pauses++;
      return Promise.resolve();
    },
  };
  return clock;
}

async function founder(): Promise<{ client: string; server: EtcdServer; options: EtcdServerOptions }> {
  const options = await serverOptions("h1");
  return { client: options.listenClientUrls[0]!, server: await startServer(options), options };
}

async function joinAsVoter(client: string, name: string): Promise<{ server: EtcdServer; options: EtcdServerOptions }> {
  const plain = await serverOptions(name);
  const id = await addLearner(client, plain);
  const options = joining(plain, () => membersSeenBy(client, plain));
  const server = await startServer(options);
  await promoteWhenReady(client, id);
  return { server, options };
}

/** etcd refuses the promotion until the learner is in sync, and has no event for that. */
async function promoteWhenReady(client: string, id: string): Promise<void> {
  for (;;) {
    try {
      await promote(client, id);
      return;
    } catch (error) {
      if (!String(error).includes("in sync")) throw error;
      await systemClock.sleep(10, never);
    }
  }
}

test("A learner is ready when it serves, and knows its id and cluster", async () => {
  const { client, server } = await founder();
  const plain = await serverOptions("h2");
  const id = await addLearner(client, plain);
  const learner = await startServer(joining(plain, () => membersSeenBy(client, plain)));
  assert.equal(learner.memberId, id);
  assert.equal(learner.clusterId, server.clusterId);
  const status = await ask<{ isLearner: boolean }>(plain.listenClientUrls[0]!, "maintenance/status", {});
  assert.equal(status.isLearner, true);
});

test("A stale list of members is asked for again: two servers join although their first lists were wrong", async () => {
  const { client, options: h1 } = await founder();
  const clock = clockThatSkipsPauses();
  const member1 = { name: "h1", peerUrls: h1.advertisePeerUrls };

  const plain2 = await serverOptions("h2");
  const id2 = await addLearner(client, plain2);
  // As many as there are, but one lives elsewhere.
  const wrong2 = [
    { ...member1, peerUrls: ["http://127.0.0.1:1"] },
    { name: "h2", peerUrls: plain2.advertisePeerUrls },
  ];
  let asked2 = 0;
  await startServer(
    joining(plain2, async () => (asked2++ === 0 ? wrong2 : membersSeenBy(client, plain2))),
    clock,
  );
  await promoteWhenReady(client, id2);

  const plain3 = await serverOptions("h3");
  await addLearner(client, plain3);
  // Read before h2 came.
  const wrong3 = [member1, { name: "h3", peerUrls: plain3.advertisePeerUrls }];
  let asked3 = 0;
  const third = joining(plain3, async () => (asked3++ < 2 ? wrong3 : membersSeenBy(client, plain3)));
  await startServer(third, clock);
  assert.deepEqual([asked2, asked3, clock.pauses], [2, 3, 3]);
});

test("A list that stays wrong fails after the tries, and leaves an empty data dir", async () => {
  const { client, options: h1 } = await founder();
  const plain = await serverOptions("h2", { startTries: 3 });
  await addLearner(client, plain);
  let asked = 0;
  const options = joining(plain, async () => {
    asked++;
    const self = { name: "h2", peerUrls: plain.advertisePeerUrls };
    return [self, { name: "h1", peerUrls: h1.advertisePeerUrls }, { name: "h3", peerUrls: ["http://127.0.0.1:1"] }];
  });
  const clock = clockThatSkipsPauses();
  await expect(EtcdServer.start(options, { clock }, never)).rejects.toMatchObject({
    code: "SERVER_EXITED",
    retryable: true,
    data: { staleMembers: true },
  });
  assert.deepEqual([asked, clock.pauses], [3, 2]);
  assert.equal(await inspectDataDir(options.dataDir), "empty");
  await startServer(joining(plain, () => membersSeenBy(client, plain)));
});

test("A voter without quorum does not count as started until there is one", async () => {
  const { client, server: first, options: one } = await founder();
  const { server: second, options: two } = await joinAsVoter(client, "h2");
  // At once, so the raft leader would wait long for the other to succeed it.
  await Promise.all([first.stop(100), second.stop(100)]);

  const alone = EtcdServer.start({ ...one, startTimeoutMs: 800 }, { clock: systemClock }, never);
  await expect(alone).rejects.toMatchObject({ code: "SERVER_START_TIMEOUT", retryable: true });
  assert.equal(await inspectDataDir(one.dataDir), "has-data");

  const both = await Promise.all([startServer(one), startServer(two)]);
  assert.deepEqual(
    both.map(({ memberId }) => memberId),
    [first.memberId, second.memberId],
  );
});

test("A member that the cluster removes ends by itself and says so, and so does its next start", async () => {
  const { client } = await founder();
  const { server, options } = await joinAsVoter(client, "h2");
  await removeMember(client, server.memberId);
  expect(await server.exited).toMatchObject({ code: 0, asked: false, removed: true });
  assert.equal(isAlive(server.pid), false);
  await expect(EtcdServer.start(options, { clock: systemClock }, never)).rejects.toMatchObject({
    code: "SERVER_EXITED",
    retryable: false,
    data: { removed: true },
  });
});
