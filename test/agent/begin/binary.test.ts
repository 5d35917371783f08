import { afterAll, beforeAll, expect, test } from "vitest";
import { fitsCluster, type Binary } from "../../../src/agent/begin/binary.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient, type Membership } from "../../../src/etcd/index.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { testEtcd } from "../../support/etcd.ts";
import { freePorts } from "../../support/ports.ts";

const never = new AbortController().signal;
const { version } = testEtcd();
const binary = (major: number, minor: number): Binary => ({ path: "/etcd", major, minor, version: `${major}.${minor}.9` });

let etcd: TestCluster;
let client: EtcdClient;
let membership: Membership;
beforeAll(async () => {
  etcd = await startEtcd(1);
  client = EtcdClient.create({ endpoints: etcd.urls, clock });
  membership = await client.readMembership();
});
afterAll(async () => {
  await client.close();
  await etcd.stop();
});

test("an etcd that is older than the cluster's by a minor version would die on joining: its host is told so, and not asked", async () => {
  const { major, minor, patch } = version;
  expect(await fitsCluster(binary(major, minor - 1), client, membership, never)).toBe(
    `its etcd ${major}.${minor - 1}.9 is older than the cluster's ${major}.${minor}.${patch}: install a newer one (quorate etcd install) and start again`,
  );
  expect(await fitsCluster(binary(major - 1, 99), client, membership, never)).toMatch(/is older than the cluster's/);
});

test("one of the same minor version fits, and a newer one", async () => {
  const { major, minor } = version;
  expect(await fitsCluster(binary(major, minor), client, membership, never)).toBeUndefined();
  expect(await fitsCluster(binary(major, minor + 1), client, membership, never)).toBeUndefined();
  expect(await fitsCluster(binary(major + 1, 0), client, membership, never)).toBeUndefined();
});

test("where the cluster does not tell, nobody is kept out for it", async () => {
  const [port] = await freePorts(1);
  const silent = { ...membership, endpoint: `http://127.0.0.1:${port}` };
  expect(await fitsCluster(binary(1, 0), client, silent, never)).toBeUndefined();
});
