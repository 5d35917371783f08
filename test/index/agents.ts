import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { startAgent, type Agent, type AgentDeps, type AgentOptions } from "../../src/index.ts";
import { etcdBinary } from "../support/etcd.ts";
import { freePorts } from "../support/ports.ts";

/** Options of one host on free ports, with a prefix that stays until the test is over. */
export async function host(
  hostname: string,
  more: Omit<AgentOptions, "clientUrls"> = {},
): Promise<AgentOptions & { readonly clientUrls: readonly [string] }> {
  const [client, server] = await freePorts(2);
  const prefix = await mkdtemp(join(tmpdir(), `quorate-index-${hostname}-`));
  onTestFinished(() => rm(prefix, { recursive: true, force: true, maxRetries: 5 }));
  return {
    hostname,
    clientUrls: [`http://127.0.0.1:${client}`],
    serverUrls: [`http://127.0.0.1:${server}`],
    prefix,
    idealClusterSize: 3,
    sessionTtlMs: 2_000,
    etcdBin: etcdBinary(),
    ...more,
  };
}

/** An agent that is stopped, at the latest, when the test is over. */
export function start(options: AgentOptions, deps: AgentDeps = {}): Agent {
  const agent = startAgent(options, deps);
  onTestFinished(async () => {
    agent.hurry();
    await agent.exited;
  });
  return agent;
}
