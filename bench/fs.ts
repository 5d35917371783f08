/**
 * A tree of 2,000 files and 100 MB into etcd, beside the same bytes as bare puts of 256 KiB, four under way at a time; then the same tree
 * again with one file changed. What etcd received tells what was moved.
 *
 *   npm run bench -- fs [--rounds 3]
 *
 * Exits 1 unless the upload takes at most three times as long as the puts, and the second one moves no more than the changed file and
 * what is said of its folders.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as ClockModule from "../src/clock.ts";
import type * as Wire from "../src/etcd/index.ts";
import type * as World from "../src/world/index.ts";
import { startEtcd } from "../test/support/etcd-process.ts";

// What is measured is what a program gets: the built package.
const built = async <T>(path: string): Promise<T> => (await import(new URL(`../dist/${path}`, import.meta.url).href)) as T;
const { systemClock: clock } = await built<typeof ClockModule>("clock.js");
const { EtcdClient: Client, recordTxn } = await built<typeof Wire>("etcd/index.js");
const { openWorld } = await built<typeof World>("world/index.js");

const at = process.argv.indexOf("--rounds");
const rounds = at >= 0 ? Number(process.argv[at + 1]) : 3;
const [folders, filesInEach, fileBytes] = [20, 100, 50_000];
const allBytes = folders * filesInEach * fileBytes;
const pieceBytes = 256 * 1024;
const [mostTimes, mostBeside] = [3, 100_000];

/** Different in each round: what is there already is not sent. */
function contentOf(round: number, n: number): Buffer {
  const seed = createHash("sha256").update(`${round} ${n} ${seeds}`).digest();
  const parts: Buffer[] = [];
  for (let part = 0; part * 1_000 < fileBytes; part++)
    parts.push(createHash("shake256", { outputLength: 1_000 }).update(seed).update(`${part}`).digest());
  return Buffer.concat(parts).subarray(0, fileBytes);
}

const seeds = randomBytes(8).toString("hex");

async function timed(task: () => Promise<unknown>): Promise<number> {
  const fromMs = clock.nowMs();
  await task();
  return clock.nowMs() - fromMs;
}

/** Bytes that etcd has received from its clients. */
async function received(client: Wire.EtcdClient, url: string): Promise<number> {
  const text = await client.metrics(url);
  return Number(/^etcd_network_client_grpc_received_bytes_total (.*)$/m.exec(text)?.[1]);
}

async function bare(client: Wire.EtcdClient, round: number, all: Buffer): Promise<number> {
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < all.length) {
      const from = next;
      next += pieceBytes;
      const put = { put: `/bare/${round}/${from}`, value: all.subarray(from, from + pieceBytes) };
      await recordTxn(client, { when: [], then: [put] }, { what: "put", timeoutMs: 30_000 });
    }
  };
  return await timed(() => Promise.all(Array.from({ length: 4 }, run)));
}

const ms = (n: number): string => `${Math.round(n)} ms`.padStart(9);
const folder = await mkdtemp(join(tmpdir(), "quorate-bench-fs-"));
const etcd = await startEtcd(1, { flags: ["--quota-backend-bytes", `${8 * 2 ** 30}`] });
const url = etcd.urls[0]!;
const client = Client.create({ endpoints: [url], clock });
const world = await openWorld({ seeds: [url], replica: false, hostname: "bench" });
try {
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const all: Buffer[] = [];
    for (let n = 0; n < folders * filesInEach; n++) {
      const path = join(folder, `${Math.floor(n / filesInEach)}`);
      await mkdir(path, { recursive: true });
      all.push(contentOf(round, n));
      await writeFile(join(path, `${n}`), all.at(-1)!);
    }
    const fs = world.fs(`etcdfs:///fs/round-${round}`);
    const whole = Buffer.concat(all);
    const upload = (): Promise<number> => timed(() => fs.upload(folder, { mirror: true }));
    // In turn, each first every other time.
    const first = round % 2 === 0 ? await bare(client, round, whole) : await upload();
    const second = round % 2 === 0 ? await upload() : await bare(client, round, whole);
    const [bareMs, uploadMs] = round % 2 === 0 ? [first, second] : [second, first];
    ratios.push(uploadMs / bareMs);
    const mbPerSecond = (took: number): string => `${Math.round(allBytes / 1_000 / took)} MB/s`;
    console.log(
      `round ${round + 1}: bare puts ${ms(bareMs)} (${mbPerSecond(bareMs)}), upload ${ms(uploadMs)} (${mbPerSecond(uploadMs)}): ${(uploadMs / bareMs).toFixed(2)} times`,
    );
    await writeFile(join(folder, "3", "345"), contentOf(round, -1));
    const before = await received(client, url);
    let moved = 0;
    const again = await timed(async () => (moved = (await fs.upload(folder, { mirror: true })).moved));
    const bytes = (await received(client, url)) - before;
    const good = moved === fileBytes && bytes <= fileBytes + mostBeside;
    if (!good) process.exitCode = 1;
    console.log(
      `         again with one of ${folders * filesInEach} files changed ${ms(again)}: moved ${moved} bytes, etcd received ${bytes}  ${good ? "ok" : "MISSED"} (${fileBytes}, and ${mostBeside} beside it at most)`,
    );
  }
  const ratio = ratios.toSorted((a, b) => a - b)[Math.floor(ratios.length / 2)]!;
  const good = ratio <= mostTimes;
  if (!good) process.exitCode = 1;
  console.log(
    `upload of ${allBytes / 1e6} MB in ${folders * filesInEach} files to bare puts: ${ratio.toFixed(2)} times  ${good ? "ok" : "MISSED"} (${mostTimes} at most)`,
  );
} finally {
  await world.close();
  await client.close();
  await etcd.stop();
  await rm(folder, { recursive: true, force: true });
}
