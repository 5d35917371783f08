import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type Config, type Etcd, newConfig, startEtcd, type StartEtcdOptions } from "../../src/embed/index.ts";
import { etcdBinary } from "./etcd.ts";
import { temporaryFolder } from "./etcd-server.ts";

/** A configuration of one etcd alone, on free ports, in a folder of its own. Elections are short, so that tests are. */
export async function aloneConfig(changes: Partial<Config> = {}): Promise<Config> {
  return Object.assign(newConfig(), {
    dir: join(await temporaryFolder(), "data"),
    lcUrls: ["http://127.0.0.1:0"],
    acUrls: ["http://127.0.0.1:0"],
    lpUrls: ["http://127.0.0.1:0"],
    apUrls: ["http://127.0.0.1:0"],
    initialCluster: "default=http://127.0.0.1:0",
    tickMs: 20,
    electionMs: 200,
    // Its log is for who debugs the test.
    logOutputs: ["/dev/null"],
    ...changes,
  });
}

/** Starts an etcd that is stopped, at the latest, when the test is over. */
export async function started(config: Config, options: StartEtcdOptions = {}): Promise<Etcd> {
  const etcd = await startEtcd(config, { etcdBin: etcdBinary(), ...options });
  onTestFinished(() => etcd.close());
  return etcd;
}
