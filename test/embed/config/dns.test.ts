import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";
import { getServers, setServers } from "node:dns/promises";
import { beforeAll, afterAll, expect, test } from "vitest";
import { newConfig, type Config } from "../../../src/embed/index.ts";

/** SRV records by name, each as target and port. All else is NXDOMAIN. */
const zone: Readonly<Record<string, readonly (readonly [string, number])[]>> = {
  "_etcd-server._tcp.plain.example": [
    ["127.0.0.2", 2380],
    ["localhost", 2480],
  ],
  "_etcd-server-ssl._tcp.secure.example": [["localhost", 2480]],
  "_etcd-server-blue._tcp.named.example": [["localhost", 2480]],
};

const server = createSocket("udp4");
let before: string[];

beforeAll(async () => {
  server.on("message", (asked, { port }) => server.send(answerTo(asked), port, "127.0.0.1"));
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  before = getServers();
  setServers([`127.0.0.1:${server.address().port}`]);
});

afterAll(() => {
  setServers(before);
  server.close();
});

function labels(name: string): Buffer {
  return Buffer.concat([...name.split(".").map((label) => Buffer.from([label.length, ...Buffer.from(label)])), Buffer.from([0])]);
}

/** RFC 1035 and 2782: the question again, and its records. */
function answerTo(asked: Buffer): Buffer {
  let at = 12;
  const parts: string[] = [];
  while (asked[at] !== 0) {
    parts.push(asked.toString("latin1", at + 1, at + 1 + asked[at]!));
    at += asked[at]! + 1;
  }
  const records = zone[parts.join(".").toLowerCase()] ?? [];
  const header = Buffer.from(asked.subarray(0, 12));
  header.writeUInt16BE(records.length > 0 ? 0x8180 : 0x8183, 2);
  header.writeUInt16BE(records.length, 6);
  header.writeUInt32BE(0, 8);
  const answers = records.map(([target, port]) => {
    const data = Buffer.concat([Buffer.alloc(6), labels(target)]);
    data.writeUInt16BE(port, 4);
    const fixed = Buffer.from([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 0]);
    fixed.writeUInt16BE(data.length, 10);
    return Buffer.concat([fixed, data]);
  });
  return Buffer.concat([header, asked.subarray(12, at + 5), ...answers]);
}

function inDomain(dnsCluster: string, changes: Partial<Config> = {}): Config {
  return Object.assign(newConfig(), {
    name: "me",
    dnsCluster,
    initialCluster: "",
    apUrls: ["http://localhost:2480"],
    ...changes,
  });
}

test("SRV records name the members; the one that this host advertises has its name", async () => {
  expect(await inDomain("plain.example").peerURLsMapAndToken()).toEqual({
    urlsMap: new Map([
      ["0", ["http://127.0.0.2:2380"]],
      ["me", ["http://localhost:2480"]],
    ]),
    token: "etcd-cluster",
  });
  const secure = inDomain("secure.example", { apUrls: ["https://localhost:2480"] });
  expect((await secure.peerURLsMapAndToken()).urlsMap).toEqual(new Map([["me", ["https://localhost:2480"]]]));
  const named = inDomain("named.example", { dnsClusterServiceName: "blue" });
  expect((await named.peerURLsMapAndToken()).urlsMap).toEqual(new Map([["me", ["http://localhost:2480"]]]));
});

test.each<[string, Config]>([
  ["ENOTFOUND", inDomain("absent.example")],
  ["none of their targets is a peer URL of me", inDomain("plain.example", { apUrls: ["http://127.0.0.3:2380"] })],
  ["which is advertised by http", inDomain("secure.example")],
])("is refused: %s", async (message, config) => {
  await expect(config.peerURLsMapAndToken()).rejects.toMatchObject({
    error: "InvalidInitialCluster",
    field: "dnsCluster",
    message: expect.stringContaining(message) as string,
  });
});
