import { afterAll, beforeAll, expect, test } from "vitest";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import { startProgram } from "../programs.ts";
import { commit, filesIn, neededBy, objectsIn, storesIn } from "./engine-fixture.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(async () => {
  await etcd.stop();
});

test("a program that is killed while it uploads or commits leaves the tree as it was or as it was to be, and nothing besides", async () => {
  const shared = storesIn(etcd);
  const store = shared.store();
  const engine = shared.engine();
  const files = 24;
  const killings = ["writing 3", "writing 20", "committing", "committed"];
  const names = killings.map((_, n) => `tree-${n}`);
  for (const name of names) await commit(engine.repository(name), { keep: name });
  await Promise.all(
    killings.map(async (at, n) => {
      const uri = `etcdfs:///fs/${names[n]}`;
      const options = {
        uri,
        files,
        seeds: etcd.urls,
        namespace: shared.namespace,
        replica: false,
        sessionTtl: 2,
        hostname: "h1",
      };
      const program = startProgram("fs-writer", options);
      await program.line(({ msg, n: file }) => at === (file === undefined ? msg : `${msg} ${Number(file)}`), 30_000);
      await program.kill();
    }),
  );
  const { pins, objects } = store.keys.fs;
  await eventually(
    "the leases of the killed have expired",
    async () => {
      const all = await Promise.all([pins, objects].map((range) => store.scan(range, { keysOnly: true })));
      return all.every(({ records }) => records.every(({ lease }) => lease === "0"));
    },
    20_000,
  );
  await engine.collect();
  const needed = new Set<string>();
  for (const [n, name] of names.entries()) {
    const repository = engine.repository(name);
    const found = Object.keys(await filesIn(repository.tree((await repository.head())!.root)));
    if (killings[n] === "committed") expect(found).toHaveLength(files + 1);
    else if (killings[n] !== "committing") expect(found).toEqual(["keep"]);
    else expect([1, files + 1]).toContain(found.length);
    for (const { root } of await repository.log()) for (const one of await neededBy(repository, root)) needed.add(one);
  }
  expect((await objectsIn(store)).sort()).toEqual([...needed].sort());
});
