import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import { configFromFile, type Config } from "../../../src/embed/index.ts";
import { EtcdClient, wiresTo } from "../../../src/etcd/index.ts";
import { newAuthority } from "../../support/certificates.ts";
import { etcdAtLeast } from "../../support/etcd.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";
import { started } from "../../support/start-etcd.ts";
import { ofBootServers, ofK3s, ofLargeCluster, sample, type Paths } from "../config/shipped.ts";

/** The same on ports that are free, and a log that nobody reads: all else is the file's. */
function elsewhere(config: Config): Config {
  const free = (urls: readonly string[]): string[] =>
    urls.map((url) => url.replace(/:\d+$/, ":0").replace("localhost", "127.0.0.1"));
  const peers = free(config.apUrls);
  return Object.assign(config, {
    lcUrls: free(config.lcUrls),
    acUrls: free(config.acUrls),
    lpUrls: free(config.lpUrls),
    apUrls: peers,
    initialCluster: `${config.name}=${peers[0] ?? ""}`,
    listenMetricsUrls: [],
    ...(config.listenClientHttpUrls === undefined ? {} : { listenClientHttpUrls: [] }),
    logOutputs: ["/dev/null"],
  });
}

test.each<[string, (paths: Paths) => string, boolean]>([
  ["etcd's own sample", () => sample, etcdAtLeast(3, 5)],
  ["k3s's", ofK3s, etcdAtLeast(3, 5)],
  ["that of servers that boot a data centre", ofBootServers, etcdAtLeast(3, 5)],
  ["that of a chart for a large cluster", ofLargeCluster, true],
])("%s loads, validates and boots", async (_, textOf, isKnown) => {
  const folder = await temporaryFolder();
  const authority = await newAuthority();
  const { certFile: cert, keyFile: key } = await authority.issue("member");
  const paths = { dir: join(folder, "data"), ca: authority.certFile, cert, key };
  const file = join(folder, "etcd.conf.yml");
  await writeFile(file, textOf(paths));
  const config = elsewhere(await configFromFile(file));
  if (config.dir === "") config.dir = paths.dir;
  config.validate();
  if (!isKnown) {
    // It says so before anything starts.
    await expect(started(config)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    return;
  }
  const etcd = await started(config);
  await etcd.server.ready;
  const tls = { caFile: paths.ca, certFile: cert, keyFile: key };
  const client = EtcdClient.create({ endpoints: etcd.clients, clock, wires: wiresTo({ tls }) });
  onTestFinished(() => client.close());
  await client.put("/a", "1");
  expect((await client.get("/a")).entry?.value).toBe("1");
});
