/**
 * What handlers and gRPC services of a program cost etcd's own clients: puts of 64 callers, in a process of their own, against the client URL
 * of an etcd alone, of one with handlers (connections are handed through) and of one with a gRPC service (each call is routed). In turns.
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
import { type Config, type Etcd, newConfig, startEtcd } from "../src/embed/index.ts";
import { etcdBinary } from "../test/support/etcd.ts";

const run = promisify(execFile);
const program = fileURLToPath(new URL("programs/callers.mjs", import.meta.url));
const rounds = Number(process.argv[process.argv.indexOf("--rounds") + 1] || 9) || 9;
const open = ["http://127.0.0.1:0"];

const ways: Readonly<Record<string, Partial<Config>>> = {
  alone: {},
  handlers: { userHandlers: { "/hello": (_request, response) => void response.end("hello") } },
  services: {
    serviceRegister: (server) => {
      const say = { path: "/bench.Echo/Say", requestStream: false, responseStream: false };
      const bytes = (said: Buffer): Buffer => said;
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
  },
};

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
] as const) {
  const percent = median(shares(name));
  const all = shares(name).map((share) => share.toFixed(0));
  console.log(
    `64 callers with ${name}: ${percent.toFixed(0)} % of the puts/s alone (limit: ${least} %; rounds: ${all.join(", ")})`,
  );
  if (percent < least) {
    console.log("beyond the limit");
    process.exitCode = 1;
  }
}
