import { expect, onTestFinished, test } from "vitest";
import { Batch } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { clientOf, proxyTo } from "./follower.ts";

test("no more than two requests of a batch are unanswered at a time, however many writes wait; then all are written, each once", async () => {
  await using etcd = await startEtcd(1);
  const [url = ""] = etcd.urls;
  const proxy = await proxyTo(url);
  const direct = clientOf([url]);
  const batch = new Batch(clientOf([proxy.url]), { timeoutMs: 20_000 });
  onTestFinished(() => batch.close());
  await batch.put("/flight/warm", "1");
  const counted = async (name: string): Promise<number> => {
    const text = await direct.metrics(url);
    return [...text.matchAll(new RegExp(`^grpc_server_${name}_total\\{[^}]*grpc_method="Txn"[^}]*\\} (\\d+)$`, "gm"))].reduce(
      (sum, [, value]) => sum + Number(value),
      0,
    );
  };
  const before = await counted("handled");
  proxy.stall("down");
  const keys = Array.from({ length: 1_000 }, (_, i) => `/flight/${i}`);
  const writing = Promise.all(keys.map((key) => batch.put(key, "1")));
  await eventually("two were carried out", async () => (await counted("handled")) === before + 2);
  const { revision } = await direct.get("/flight/warm");
  // A third would have a new revision by now: what is asked here is asked after it.
  for (let i = 0; i < 20; i++) expect((await direct.get("/flight/warm")).revision).toBe(revision);
  expect(await counted("handled")).toBe(before + 2);
  proxy.heal();
  const written = await writing;
  expect(written.every(({ succeeded }) => succeeded)).toBe(true);
  const { entries } = await direct.range({ start: "/flight/", end: "/flight0" });
  expect(entries.length).toBe(1_001);
  expect(entries.every(({ version }) => version === 1)).toBe(true);
  // 127 to a request, beside its marker.
  expect(new Set(written.map((one) => one.revision)).size).toBeLessThanOrEqual(Math.ceil(1_000 / 100) + 2);
});
