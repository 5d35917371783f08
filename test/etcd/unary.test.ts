import assert from "node:assert/strict";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import type * as Grpc from "@grpc/grpc-js";
import { onTestFinished, test } from "vitest";
import { grpc } from "../../src/etcd/grpc.ts";
import { methodOf } from "../../src/etcd/messages.ts";
import { callOnce } from "../../src/etcd/unary.ts";
import { startEtcd } from "../support/etcd-process.ts";

const { READY } = grpc.connectivityState;

async function channelTo(url: string): Promise<Grpc.Channel> {
  const channel = new grpc.Channel(new URL(url).host, grpc.credentials.createInsecure(), {});
  onTestFinished(() => channel.close());
  for (let state = channel.getConnectivityState(true); state !== READY; state = channel.getConnectivityState(true))
    await new Promise<void>((resolve) => channel.watchConnectivityState(state, Infinity, () => resolve()));
  return channel;
}

function call(channel: Grpc.Channel, method: "put" | "range" | "txn", request: object): Promise<object> {
  return new Promise((resolve, reject) => {
    callOnce(channel, methodOf("KV", method), request, new grpc.Metadata(), (error, response) => {
      if (response === undefined) reject(error);
      else resolve(response);
    });
  });
}

const key = Buffer.from("k");

/** The same channel, of a grpc that is made in another way. */
function otherwise(channel: Grpc.Channel): Grpc.Channel {
  return new Proxy(channel, { get: (target, name) => (name === "internalChannel" ? undefined : of(target, name)) });
}

/** Fails where a call is made by the channel itself. */
function beneath(channel: Grpc.Channel): Grpc.Channel {
  return new Proxy(channel, {
    get: (target, name) => {
      assert.notEqual(name, "createCall");
      return of(target, name);
    },
  });
}

function of(channel: Grpc.Channel, name: string | symbol): unknown {
  const value: unknown = Reflect.get(channel, name, channel);
  return typeof value === "function" ? (value.bind(channel) as unknown) : value;
}

test("A call is made on the connection beneath its channel, and by the channel where that cannot be reached, with the same outcome", async () => {
  await using etcd = await startEtcd(1);
  const channel = await channelTo(etcd.urls[0]!);
  for (const way of [beneath(channel), otherwise(channel)]) {
    await call(way, "put", { key, value: Buffer.from("v".repeat(100_000)) });
    const found = (await call(way, "range", { key })) as { kvs: { value: Buffer }[] };
    assert.equal(found.kvs[0]?.value.toString(), "v".repeat(100_000));
    await assert.rejects(call(way, "put", { key: Buffer.alloc(0) }), { code: 3, details: "etcdserver: key is not provided" });
    const large = { key, value: Buffer.alloc(2_000_000) };
    await assert.rejects(call(way, "put", large), { code: 3, details: "etcdserver: request is too large" });
  }
});

test("A call that is given up ends at once", async () => {
  await using etcd = await startEtcd(1);
  const channel = await channelTo(etcd.urls[0]!);
  for (const way of [beneath(channel), otherwise(channel)]) {
    await assert.rejects(
      new Promise((resolve, reject) => {
        const giveUp = callOnce(way, methodOf("KV", "range"), { key }, new grpc.Metadata(), (error, response) => {
          if (response === undefined) reject(error);
          else resolve(response);
        });
        giveUp();
      }),
      { code: grpc.status.CANCELLED },
    );
  }
});

const strange: Readonly<Record<string, { readonly message: Buffer; readonly code: Grpc.status; readonly details: RegExp }>> = {
  "is compressed": { message: Buffer.from([1, 0, 0, 0, 1, 0]), code: grpc.status.INTERNAL, details: /compressed/ },
  "is no message": { message: Buffer.from([0, 0, 0, 0, 1, 0xff]), code: grpc.status.INTERNAL, details: /cannot be parsed/ },
  "has none": { message: Buffer.alloc(0), code: grpc.status.UNIMPLEMENTED, details: /No message/ },
};

for (const [what, { message, code, details }] of Object.entries(strange)) {
  test(`An answer of a stranger that ${what} is an error`, async () => {
    const server = createServer();
    server.on("stream", (stream) => {
      stream.on("error", () => undefined);
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.end(message);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const channel = await channelTo(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    await assert.rejects(call(beneath(channel), "range", { key }), { code, details });
  });
}
