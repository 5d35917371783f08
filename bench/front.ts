/**
 * What handlers and gRPC services of a program cost etcd's own clients: puts of 64 callers, in a process of their own, against the client URL
 * of an etcd alone, of one with handlers, of one with a gRPC service (connections are handed through until the service is called), and of one
 * whose service is called from the same address (each call is routed then; without a limit). In turns.
 *
 *   npm run bench -- front [--rounds 9]
 *
 * Exits 1 unless the medians of the rounds' shares are at least 90 % and 60 % of the etcd alone.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client, credentials } from "@grpc/grpc-js";
import { type Config, type Etcd, newConfig, startEtcd } from "../src/embed/index.ts";
import { etcdBinary } from "../test/support/etcd.ts";

const run = promisify(execFile);
const program = fileURLToPath(new URL("programs/callers.mjs", import.meta.url));
const rounds = Number(process.argv[process.argv.indexOf("--rounds") + 1] || 9) || 9;
const open = ["http://127.0.0.1:0"];

const bytes = (said: Buffer): Buffer => said;
const service: Partial<Config> = {
  serviceRegister: (server) => {
    const say = { path: "/bench.Echo/Say", requestStream: false, responseStream: false };
    const definition = {
      ...say,
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    };
    server.addService(
      { say: definition },
      { say: (call: { request: Buffer }, done: (e: null, said: Buffer) => void) => done(null, call.request) },
    );
  },
};
const called = "services that are called";
const ways: Readonly<Record<string, Partial<Config>>> = {
  alone: {},
  handlers: { userHandlers: { "/hello": (_request, response) => void response.end("hello") } },
  services: service,
  [called]: service,
};

/** Calls etcd first and then the service: for a while all connections from here are routed. */
async function callBoth(url: string): Promise<void> {
  const client = new Client(new URL(url).host, credentials.createInsecure());
  for (const path of ["/etcdserverpb.Maintenance/Status", "/bench.Echo/Say"]) {
    await new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), (error) => (error === null ? resolve() : reject(error)));
    });
  }
  client.close();
}

const folder = await mkdtemp(join(tmpdir(), "quorate-bench-"));
const etcds = new Map<string, Etcd>();
const rates = new Map<string, number[]>();
try {
  for (const [name, changes] of Object.entries(ways)) {
    const urls = {
      lcUrls: [...open],
      acUrls: [...open],
      lpUrls: [...open],
      apUrls: [...open],
      initialCluster: `default=${open[0]}`,
    };
    const config = Object.assign(newConfig(), { dir: join(folder, name), logOutputs: ["/dev/null"], ...urls, ...changes });
    const etcd = await startEtcd(config, { etcdBin: etcdBinary() });
    etcds.set(name, etcd);
    await etcd.server.ready;
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, etcd] of etcds) {
      if (name === called) await callBoth(etcd.clients[0] ?? "");
      const { stdout } = await run(process.execPath, [program, etcd.clients[0] ?? "", "64", "3000"]);
      rates.set(name, [...(rates.get(name) ?? []), Number(stdout)]);
    }
    console.log([...rates].map(([name, all]) => `${name} ${Math.round(all.at(-1) ?? 0)}/s`).join(", "));
  }
} finally {
  for (const etcd of etcds.values()) await etcd.close();
  await rm(folder, { recursive: true, force: true });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Of the etcd alone in the same round: a machine's speed changes by a half from minute to minute. */
function shares(name: string): readonly number[] {
  return (rates.get(name) ?? []).map((rate, i) => (100 * rate) / (rates.get("alone")?.[i] ?? Number.NaN));
}

for (const [name, least] of [
  ["handlers", 90],
  ["services", 60],
  [called, 0],
] as const) {
  const percent = median(shares(name));
  const all = shares(name).map((share) => share.toFixed(0));
  console.log(
    `64 callers with ${name}: ${percent.toFixed(0)} % of the puts/s alone (${least === 0 ? "no limit" : `limit: ${least} %`}; rounds: ${all.join(", ")})`,
  );
  if (percent < least) {
    console.log("beyond the limit");
    process.exitCode = 1;
  }
}
