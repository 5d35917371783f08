import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { connect as connectHttp2 } from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { Client, credentials } from "@grpc/grpc-js";
import fc from "fast-check";
import { onTestFinished, test } from "vitest";
import { Literals } from "../../../src/embed/front/literals.ts";
import { untilFirstCall } from "../../../src/embed/front/opening.ts";
import { etcdctlBinary } from "../../support/etcd.ts";

/** The headers of the first call that a client makes at that address, as the client wrote them. */
async function firstHeaders(call: (host: string) => void): Promise<Buffer> {
  const sockets: Socket[] = [];
  const server = createServer();
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return new Promise((resolve, reject) => {
    server.on("connection", (socket) => {
      sockets.push(socket);
      socket.on("error", () => undefined);
      untilFirstCall(socket, (headers) => {
        if (headers === undefined) reject(new Error("It made no call"));
        else resolve(headers);
      });
    });
    call(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
}

function callByGrpc(path: string): (host: string) => void {
  return (host) => {
    const client = new Client(host, credentials.createInsecure());
    onTestFinished(() => client.close());
    const bytes = (said: Buffer): Buffer => said;
    client.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), () => undefined);
  };
}

function callByHttp2(headers: Record<string, string>): (host: string) => void {
  return (host) => {
    const session = connectHttp2(`http://${host}`);
    onTestFinished(() => session.destroy());
    session.on("error", () => undefined);
    session.request(headers).on("error", () => undefined);
  };
}

const clients: Readonly<Record<string, (host: string) => void>> = {
  "a client in Node": callByGrpc("/etcdserverpb.KV/Put"),
  "a client in Go": (host) => {
    const child = execFile(etcdctlBinary(), [`--endpoints=http://${host}`, "put", "a", "1"], { env: { ETCDCTL_API: "3" } });
    onTestFinished(() => void child.kill("SIGKILL"));
  },
};

for (const [name, call] of Object.entries(clients)) {
  test(`What ${name} calls is found in its headers, which are not decoded`, async () => {
    const headers = await firstHeaders(call);
    for (const said of ["application/grpc", "/etcdserverpb.KV/Put", "/etcdserverpb.KV/", "/etcd"])
      assert.ok(new Literals([said]).areIn(headers), said);
    for (const not of ["/etcdserverpb.KV/Range", "/test.Echo/", "text/plain"])
      assert.ok(!new Literals([not]).areIn(headers), not);
  });
}

test("Any path is found, by its beginning as well, however it is written", async () => {
  const character = fc.constantFrom(...Array.from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./"));
  const path = fc.string({ unit: character, minLength: 3, maxLength: 60 }).map((text) => `/${text}`);
  await fc.assert(
    fc.asyncProperty(path, fc.nat(), async (said, cut) => {
      const headers = await firstHeaders(callByHttp2({ ":path": said }));
      assert.ok(new Literals([said]).areIn(headers));
      assert.ok(new Literals(["/other", said.slice(0, 3 + (cut % (said.length - 2)))]).areIn(headers));
    }),
    { numRuns: 30 },
  );
});

test("What cannot be looked for may be anywhere", () => {
  assert.ok(new Literals(["/ünd"]).areIn(Buffer.alloc(0)));
  assert.ok(new Literals(["/a", "/~"]).areIn(Buffer.alloc(0)));
  assert.ok(!new Literals([]).areIn(Buffer.from("anything")));
});
