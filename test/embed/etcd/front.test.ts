import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { type IncomingMessage, request as send } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";
import { Client, type ServiceDefinition, credentials, makeClientConstructor } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";
import { type Config, type Etcd, newConfig, portHolder } from "../../../src/embed/index.ts";
import { etcdctlBinary } from "../../support/etcd.ts";
import { ask } from "../../support/etcd-server.ts";
import { aloneConfig, started } from "../../support/start-etcd.ts";

const run = promisify(execFile);
const text = (bytes: Buffer): string => bytes.toString();
const bytes = (said: string): Buffer => Buffer.from(said);
const method = { requestSerialize: bytes, requestDeserialize: text, responseSerialize: bytes, responseDeserialize: text };

const echo = {
  say: { path: "/test.Echo/Say", requestStream: false, responseStream: false, ...method },
  chat: { path: "/test.Echo/Chat", requestStream: true, responseStream: true, ...method },
} satisfies ServiceDefinition;

const withEcho: Partial<Config> = {
  serviceRegister: (server) => {
    server.addService(echo, {
      say: (call: { request: string }, done: (error: object | null, said?: string) => void) => {
        if (call.request === "fail") done({ code: 9, details: "not now" });
        else done(null, `${call.request}, ${call.request}`);
      },
      chat: (call: { on(event: string, heard: (said: string) => void): void; write(said: string): void; end(): void }) => {
        call.on("data", (said) => call.write(`${said}!`));
        call.on("end", () => call.end());
      },
    });
  },
};

const withHandlers: Partial<Config> = {
  userHandlers: {
    "/hello": (request, response) => {
      response.end(`hello from ${request.url}`);
    },
    "/tree/": (request, response) => {
      let heard = "";
      request.on("data", (piece: Buffer) => (heard += piece.toString()));
      request.on("end", () => response.writeHead(201, { "x-tree": "yes" }).end(heard.toUpperCase()));
    },
    "/broken": () => {
      throw new Error("it broke");
    },
  },
};

async function serving(changes: Partial<Config>): Promise<{ readonly etcd: Etcd; readonly url: string }> {
  const etcd = await started(await aloneConfig(changes));
  await etcd.server.ready;
  return { etcd, url: etcd.clients[0]! };
}

interface EchoClient extends Client {
  say(said: string, done: (error: Error | null, said: string) => void): void;
  chat(): { write(said: string): void; end(): void; on(event: string, heard: (said: string) => void): void };
}

function echoClient(url: string): EchoClient {
  const client = new (makeClientConstructor(echo, "Echo"))(new URL(url).host, credentials.createInsecure());
  onTestFinished(() => client.close());
  return client as unknown as EchoClient;
}

/** What every client of etcd counts on. */
async function etcdAnswersAt(url: string): Promise<void> {
  const options = { env: { ETCDCTL_API: "3" } };
  const etcdctl = async (...args: string[]): Promise<string> =>
    (await run(etcdctlBinary(), [`--endpoints=${url}`, ...args], options)).stdout;
  const watching = spawn(etcdctlBinary(), [`--endpoints=${url}`, "watch", "a", "--rev=1"], { ...options, stdio: "pipe" });
  onTestFinished(() => void watching.kill("SIGKILL"));
  const seen = firstLines(watching.stdout, 3);
  assert.equal(await etcdctl("put", "a", "1"), "OK\n");
  assert.equal(await etcdctl("get", "a"), "a\n1\n");
  assert.deepEqual(await seen, ["PUT", "a", "1"]);
  assert.match(await etcdctl("endpoint", "health", "-w=json"), /"health":true/);
  const lease = /^lease (\w+) granted/.exec(await etcdctl("lease", "grant", "60"))?.[1] ?? "";
  assert.match(await etcdctl("lease", "keep-alive", "--once", lease), /keepalived with TTL\(60\)/);
  await assert.rejects(etcdctl("lease", "revoke", "1234"), /requested lease not found/);
  const large = "x".repeat(1_000_000);
  await ask(url, "kv/put", { key: base64("large"), value: base64(large) });
  assert.equal(await etcdctl("get", "large", "--print-value-only"), `${large}\n`);
}

function base64(said: string): string {
  return Buffer.from(said).toString("base64");
}

function firstLines(stream: Readable, count: number): Promise<string[]> {
  return new Promise((resolve) => {
    let heard = "";
    stream.on("data", (piece: Buffer) => {
      heard += piece.toString();
      const lines = heard.split("\n");
      if (lines.length > count) resolve(lines.slice(0, count));
    });
  });
}

const fronts = { handlers: withHandlers, services: withEcho, both: { ...withEcho, ...withHandlers } };

for (const [name, changes] of Object.entries(fronts)) {
  test(`etcd's clients find all of etcd behind a front with ${name}`, async () => {
    const { url } = await serving(changes);
    await etcdAnswersAt(url);
    for (const path of ["/version", "/health", "/metrics"]) assert.equal((await fetch(url + path)).status, 200);
    assert.equal((await fetch(`${url}/nothing`)).status, 404);
  });
}

test("Handlers answer their paths on the client URL, and those below where the path ends with a slash", async () => {
  const { url } = await serving(withHandlers);
  assert.equal(await (await fetch(`${url}/hello?to=you`)).text(), "hello from /hello?to=you");
  assert.equal((await fetch(`${url}/hello/there`)).status, 404);
  const below = await fetch(`${url}/tree/a/b`, { method: "POST", body: "leaf" });
  assert.equal(below.status, 201);
  assert.equal(below.headers.get("x-tree"), "yes");
  assert.equal(await below.text(), "LEAF");
  assert.equal((await fetch(`${url}/broken`)).status, 500);
  assert.equal(await (await fetch(`${url}/hello`)).text(), "hello from /hello");
});

test("A gRPC service answers on the client URL, one message or many, with its errors", async () => {
  const { url } = await serving(withEcho);
  const client = echoClient(url);
  const say = (said: string): Promise<string> =>
    new Promise((resolve, reject) => {
      client.say(said, (error, heard) => (error === null ? resolve(heard) : reject(error)));
    });
  assert.equal(await say("hi"), "hi, hi");
  await assert.rejects(say("fail"), { code: 9, details: "not now" });
  const call = client.chat();
  const heard: string[] = [];
  const over = new Promise<void>((resolve) => call.on("end", () => resolve()));
  call.on("data", (said) => heard.push(said));
  call.write("one");
  call.write("two");
  call.end();
  await over;
  assert.deepEqual(heard, ["one!", "two!"]);
});

/** Calls of a channel, by bytes: field 1 of a request is its key, field 2 its value. */
function callerAt(url: string, options: object = {}): { call(path: string, request: Buffer): Promise<Buffer>; client: Client } {
  const client = new Client(new URL(url).host, credentials.createInsecure(), options);
  onTestFinished(() => client.close());
  const call = (path: string, request: Buffer): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, raw, raw, request, (error, answer) => {
        if (error === null) resolve(answer ?? Buffer.alloc(0));
        else reject(error);
      });
    });
  return { call, client };
}
const raw = (said: Buffer): Buffer => said;

function field(number: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([number * 8 + 2, value.length]), value]);
}

function put(key: string, value: string): Buffer {
  return Buffer.concat([field(1, Buffer.from(key)), field(2, Buffer.from(value))]);
}

test("A channel that has called etcd calls a service as well, and a watch that it had begun goes on", async () => {
  const { url } = await serving(withEcho);
  const { call, client } = callerAt(url);
  const watch = client.makeBidiStreamRequest("/etcdserverpb.Watch/Watch", raw, raw);
  onTestFinished(() => watch.cancel());
  const heard: Buffer[] = [];
  let wake = (): void => undefined;
  watch
    .on("error", () => undefined)
    .on("data", (answer: Buffer) => {
      heard.push(answer);
      wake();
    });
  const hears = async (what: string): Promise<void> => {
    while (!heard.some((answer) => answer.includes(what))) await new Promise<void>((resolve) => (wake = resolve));
  };
  watch.write(field(1, field(1, Buffer.from("w"))));
  await new Promise<void>((resolve) => (wake = resolve));
  await call("/etcdserverpb.KV/Put", put("w", "before"));
  await hears("before");
  assert.equal((await call("/test.Echo/Say", Buffer.from("hi"))).toString(), "hi, hi");
  await call("/etcdserverpb.KV/Put", put("w", "after"));
  await hears("after");
  assert.equal(heard.filter((answer) => answer.includes("before")).length, 1);
});

test("Of calls of etcd and of a service, made at once on one channel, none is lost and none is made twice", async () => {
  const { url } = await serving(withEcho);
  const { call } = callerAt(url);
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      i % 7 === 3
        ? call("/test.Echo/Say", Buffer.from(`${i}`))
        : call("/etcdserverpb.KV/Put", put("shared", `${i}`)).then(() => Buffer.from("put")),
    ),
  );
  assert.deepEqual(
    answers.map((answer) => answer.toString()),
    answers.map((_, i) => (i % 7 === 3 ? `${i}, ${i}` : "put")),
  );
  const { kvs } = await ask<{ kvs: { version: string }[] }>(url, "kv/range", { key: base64("shared") });
  assert.equal(kvs[0]?.version, String(answers.filter((answer) => answer.toString() === "put").length));
});

test("Who asks whether the connection is alive before anything else is answered, and may call a handler then", async () => {
  const { url } = await serving({ ...withEcho, ...withHandlers });
  const session = connectHttp2(url);
  onTestFinished(() => session.destroy());
  await new Promise<void>((resolve, reject) => {
    session.once("connect", () => session.ping((error) => (error === null ? resolve() : reject(error))));
  });
  assert.equal(await textAt(session, "/hello"), "hello from /hello");
});

test("A watch through etcd's gateway goes on, and ends with who asked for it", async () => {
  const { url } = await serving(withHandlers);
  const { hostname, port } = new URL(url);
  const request = send({ hostname, port, path: "/v3/watch", method: "POST" });
  request.end(JSON.stringify({ create_request: { key: base64("w") } }));
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    request.once("error", reject).once("response", resolve),
  );
  const lines = createInterface(response)[Symbol.asyncIterator]();
  expect((await lines.next()).value).toContain('"created":true');
  await ask(url, "kv/put", { key: base64("w"), value: base64("seen") });
  expect((await lines.next()).value).toContain(base64("seen"));
  request.destroy();
});

test("On a secure client URL they answer over HTTP/2 as well, and a new certificate is shown without a restart", async () => {
  const urls = ["https://localhost:0"];
  const config = await aloneConfig({ ...withEcho, ...withHandlers, lcUrls: urls, acUrls: urls, clientAutoTLS: true });
  const etcd = await started(config);
  await etcd.server.ready;
  const [url] = etcd.clients;
  const { certFile, keyFile } = etcd.config().clientTLSInfo;
  const ca = await readFile(certFile);
  const session = connectHttp2(url!, { ca });
  onTestFinished(() => session.destroy());
  assert.equal(await textAt(session, "/hello"), "hello from /hello");
  const version = await run(etcdctlBinary(), [`--endpoints=${url}`, `--cacert=${certFile}`, "put", "a", "1"], {
    env: { ETCDCTL_API: "3" },
  });
  assert.equal(version.stdout, "OK\n");

  const { X509Certificate } = await import("node:crypto");
  const before = new X509Certificate(ca).fingerprint256;
  assert.equal(await shownAt(url!), before);
  await rm(certFile);
  await rm(keyFile);
  const renewed = Object.assign(etcd.config(), { clientTLSInfo: newConfig().clientTLSInfo });
  await renewed.clientSelfCert();
  const now = await shownAt(url!);
  assert.notEqual(now, before);
  assert.equal(now, new X509Certificate(await readFile(certFile)).fingerprint256);
});

function textAt(session: ClientHttp2Session, path: string): Promise<string> {
  const stream = session.request({ ":path": path });
  return new Promise((resolve, reject) => {
    let heard = "";
    stream.on("data", (piece: Buffer) => (heard += piece.toString()));
    stream.once("error", reject).once("end", () => resolve(heard));
  });
}

function shownAt(url: string): Promise<string> {
  const { port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: "127.0.0.1", port: Number(port), rejectUnauthorized: false });
    socket.once("error", reject).once("secureConnect", () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
  });
}

test("What is said before etcd serves is answered once it does", async () => {
  const etcd = await started(await aloneConfig(withHandlers));
  assert.equal((await fetch(`${etcd.clients[0]}/version`)).status, 200);
});

test("A connection that says little at first is understood", async () => {
  const { url } = await serving(withHandlers);
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  onTestFinished(() => void socket.destroy());
  const heard = firstLines(socket, 1);
  await new Promise<void>((resolve) => socket.write("P", () => resolve()));
  await new Promise<void>((resolve) => setImmediate(resolve));
  socket.write("UT /hello HTTP/1.1\r\nhost: localhost\r\n\r\n");
  assert.deepEqual(await heard, ["HTTP/1.1 200 OK\r"]);
});

test("A client that says nothing and goes is let go", async () => {
  const { url } = await serving(withHandlers);
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  onTestFinished(() => void socket.destroy());
  const ended = new Promise<void>((resolve) => socket.once("end", () => resolve()));
  socket.resume();
  socket.end();
  await ended;
});

test("A client URL is free once the etcd behind it is closed, whoever is connected", async () => {
  const { etcd, url } = await serving(withHandlers);
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  await etcd.close();
  await gone;
  assert.equal(await portHolder(url), undefined);
});

test("A service of etcd's own cannot be added, and nothing is left", async () => {
  const config = await aloneConfig({
    serviceRegister: (server) =>
      server.addService({ put: { ...echo.say, path: "/etcdserverpb.KV/Put" } }, { put: () => undefined }),
  });
  await assert.rejects(started(config), { code: "INVALID_OPTION", data: { error: "InvalidHandler", field: "serviceRegister" } });
});
