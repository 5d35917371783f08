import { createServer } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";

const ports = Array.from({ length: 10 }, (_, i) => 2379 + i);
const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";

describe("the sequence of the README, word for word", () => {
  test("five agents grow to 3, to 5, and back, and fill even sizes with a learner", { timeout: 170_000 }, async ({ skip }) => {
    const fleet = await Fleet.open([], undefined, "plain");
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const { shared } = fleet.network;
    skip(shared !== undefined && (await areTaken(ports)), `one of the ports 2379 to 2388 is taken here, and ${shared}`);
    const run = async (line: string): Promise<AgentProcess> => {
      const [, , ...args] = line.split(" ");
      const hostname = args[args.indexOf("--hostname") + 1] ?? "";
      return fleet.agent(await fleet.place(hostname), args).ready();
    };
    /** Waits until the cluster is done, then returns the rows that etcdctl prints, one per member. */
    const grown = async (size: number, endpoint: string): Promise<string[]> => {
      const done = await fleet.quorate("size", "--wait", "--timeout=60s", `--endpoints=${endpoint}`);
      expect(done).toMatchObject({ code: 0, stderr: "" });
      const rows = (await fleet.etcdctl(endpoint, "member", "list")).trim().split("\n");
      expect(rows).toHaveLength(size);
      return rows;
    };

    const h1 = await run("quorate run --tmp-prefix --no-pgp --hostname h1 empty");
    const h2 = await run(
      "quorate run --tmp-prefix --no-pgp --hostname h2 --seeds=http://127.0.0.1:2379 --client-urls=http://127.0.0.1:2381 --server-urls=http://127.0.0.1:2382 empty",
    );
    const h3 = await run(
      "quorate run --tmp-prefix --no-pgp --hostname h3 --seeds=http://127.0.0.1:2379 --client-urls=http://127.0.0.1:2383 --server-urls=http://127.0.0.1:2384 empty",
    );
    await fleet.etcdctl("127.0.0.1:2379", "put", sizeKey, "3");
    const h4 = await run(
      "quorate run --tmp-prefix --no-pgp --hostname h4 --seeds=http://127.0.0.1:2379 --client-urls=http://127.0.0.1:2385 --server-urls=http://127.0.0.1:2386 empty",
    );
    const h5 = await run(
      "quorate run --tmp-prefix --no-pgp --hostname h5 --seeds=http://127.0.0.1:2379 --client-urls=http://127.0.0.1:2387 --server-urls=http://127.0.0.1:2388 empty",
    );
    const agents = [h1, h2, h3, h4, h5];
    expect(learners(await grown(3, "127.0.0.1:2379"))).toEqual([]);

    await fleet.etcdctl("127.0.0.1:2381", "put", sizeKey, "5");
    expect(learners(await grown(5, "127.0.0.1:2381"))).toEqual([]);

    await fleet.etcdctl("127.0.0.1:2381", "put", sizeKey, "3");
    const kept = await grown(3, "127.0.0.1:2381");
    expect(learners(kept)).toEqual([]);
    const seated = kept.map((row) => row.split(", ")[2]);
    const letGo = agents.filter((agent) => !seated.includes(agent.place.hostname));
    expect(letGo).toHaveLength(2);
    for (const agent of letGo) {
      await agent.line((line) => line.msg === "server state" && (line["server"] as { kind: string }).kind === "none");
      expect(agent.etcdPid()).toBeUndefined();
    }

    await fleet.etcdctl("127.0.0.1:2381", "put", sizeKey, "4");
    expect(learners(await grown(4, "127.0.0.1:2381"))).toHaveLength(1);
    const members = await fleet.quorate("members");
    expect(members.stdout.match(/learner \(standby: even size\)/g)).toHaveLength(1);
    const status = await fleet.quorate("status");
    expect(status.stdout).toContain("settled: 3 voters and 1 learner, can lose 1");
    expect(status.stdout).toContain("4 voters would survive no more losses than 3: the last seat is a learner");

    await fleet.etcdctl("127.0.0.1:2381", "put", sizeKey, "5");
    expect(learners(await grown(5, "127.0.0.1:2381"))).toEqual([]);
    await fleet.etcdctl("127.0.0.1:2381", "put", sizeKey, "2");
    const all = ports.filter((port) => port % 2 === 1).map((port) => `http://127.0.0.1:${port}`);
    expect(await fleet.quorate("size", "--wait", "--timeout=60s", `--endpoints=${all.join()}`)).toMatchObject({
      code: 0,
      stderr: "",
    });
    const two = JSON.parse((await fleet.quorate("members", "-o", "json", `--endpoints=${all.join()}`)).stdout) as Seat[];
    expect(two.map(({ role }) => role).sort()).toEqual(["learner (standby: even size)", "voter"]);
    // etcd lists its members through a voter only.
    const voter = two.find(({ role }) => role === "voter")?.clientUrls[0] ?? "";
    expect(learners(await grown(2, voter))).toHaveLength(1);
  });
});

interface Seat {
  readonly role: string;
  readonly clientUrls: readonly string[];
}

function learners(rows: readonly string[]): string[] {
  return rows.filter((row) => row.endsWith(", true"));
}

/** Whether somebody listens on one of these ports of this machine. */
async function areTaken(numbers: readonly number[]): Promise<boolean> {
  const taken = (port: number): Promise<boolean> =>
    new Promise((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(true));
      server.listen({ host: "127.0.0.1", port }, () => server.close(() => resolve(false)));
    });
  return (await Promise.all(numbers.map(taken))).includes(true);
}
