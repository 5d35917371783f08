import assert from "node:assert/strict";
import { pino } from "pino";
import { expect, test } from "vitest";
import { type EtcdServerOptions, serverFlags } from "../../src/embed/options.ts";
import { ask, serverOptions, startServer } from "../support/etcd-server.ts";

const plain: EtcdServerOptions = {
  binary: "/etcd",
  name: "h1",
  dataDir: "/data",
  listenClientUrls: ["http://127.0.0.1:2379", "http://10.0.0.1:2379"],
  listenPeerUrls: ["http://127.0.0.1:2380"],
  advertiseClientUrls: ["http://10.0.0.1:2379"],
  advertisePeerUrls: ["http://10.0.0.1:2380"],
};

test("The flags have the defaults of the design", () => {
  assert.deepEqual(serverFlags(plain, undefined), [
    "--name=h1",
    "--data-dir=/data",
    "--listen-client-urls=http://127.0.0.1:2379,http://10.0.0.1:2379",
    "--listen-peer-urls=http://127.0.0.1:2380",
    "--advertise-client-urls=http://10.0.0.1:2379",
    "--initial-advertise-peer-urls=http://10.0.0.1:2380",
    "--logger=zap",
    "--log-outputs=stderr",
    "--log-level=info",
    "--pre-vote=true",
    "--strict-reconfig-check=false",
    "--auto-compaction-mode=periodic",
    "--auto-compaction-retention=10m",
    "--quota-backend-bytes=4294967296",
    "--max-txn-ops=512",
    "--grpc-keepalive-min-time=2s",
  ]);
});

test("Every option has its flag", () => {
  const boot = { state: "existing" as const, token: "t", initialCluster: () => Promise.resolve([]) };
  const more = {
    strictReconfigCheck: true,
    autoCompactionRetention: "1h",
    quotaBackendBytes: 1,
    maxTxnOps: 2,
    grpcKeepaliveMinTime: "3s",
    heartbeatMs: 4,
    electionMs: 40,
  };
  const members = [
    { name: "h1", peerUrls: ["http://a:1", "http://b:1"] },
    { name: "8e9e05c52164694d", peerUrls: ["http://c:1"] },
  ];
  const flags = serverFlags({ ...plain, ...more, boot }, members);
  for (const flag of [
    "--strict-reconfig-check=true",
    "--auto-compaction-retention=1h",
    "--quota-backend-bytes=1",
    "--max-txn-ops=2",
    "--grpc-keepalive-min-time=3s",
    "--heartbeat-interval=4",
    "--election-timeout=40",
    "--initial-cluster=h1=http://a:1,h1=http://b:1,8e9e05c52164694d=http://c:1",
    "--initial-cluster-state=existing",
    "--initial-cluster-token=t",
  ]) {
    assert.ok(flags.includes(flag), flag);
  }
});

test("A running server has them: compaction, quota, pre-vote, 512 operations in one txn", async () => {
  const logged: { msg: string; etcd?: Record<string, unknown> }[] = [];
  const log = pino({ level: "info" }, { write: (text: string) => void logged.push(JSON.parse(text) as (typeof logged)[number]) });
  const options = await serverOptions("h1", { log });
  await startServer(options);
  expect(logged.find(({ msg }) => msg === "starting an etcd server")?.etcd).toMatchObject({
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": "10m0s",
    "pre-vote": true,
  });
  expect(logged.find(({ msg }) => msg === "enabled backend quota")?.etcd).toMatchObject({ "quota-size-bytes": 4_294_967_296 });
  const put = (n: number) => ({ requestPut: { key: Buffer.from(`k${n}`).toString("base64"), value: "" } });
  const txn = (count: number) =>
    ask(options.listenClientUrls[0]!, "kv/txn", { success: Array.from({ length: count }, (_, n) => put(n)) });
  expect(await txn(512)).toMatchObject({ succeeded: true });
  await expect(txn(513)).rejects.toThrow("too many operations");
});
