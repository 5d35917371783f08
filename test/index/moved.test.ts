import { cp, rename } from "node:fs/promises";
import { expect, test } from "vitest";
import { thisMachine, type Machine } from "../../src/agent/machine.ts";
import { host, start } from "./agents.ts";

const machine = (id: string): Machine => ({ ...thisMachine, id: () => id });

test(
  "a copy of an agent's folder on another machine is refused; moved there and told so, it goes on as the same member",
  { timeout: 60_000 },
  async () => {
    const here = await host("h1", { idealClusterSize: 1 });
    const first = start(here, { machine: machine("here") });
    await first.ready;
    const { memberId, clusterId } = first.status();
    const there = await host("h1");
    await first.stop();
    const [from, to] = [here.prefix ?? "", there.prefix ?? ""];
    await cp(from, to, { recursive: true });

    const copy = { ...there, clientUrls: here.clientUrls, serverUrls: here.serverUrls ?? [] };
    expect(await start(copy, { machine: machine("there") }).exited).toMatchObject({
      how: "failed",
      exitCode: 6,
      error: { code: "REFUSED", message: expect.stringContaining("made on another machine") as string },
    });

    await rename(from, `${from}-gone`);
    const moved = start({ ...copy, moved: true }, { machine: machine("there") });
    await moved.ready;
    expect(moved.status()).toMatchObject({ memberId, clusterId });
    await moved.stop();
    await rename(`${from}-gone`, from);
    const again = start(copy, { machine: machine("there") });
    await again.ready;
    expect(again.status().memberId).toBe(memberId);
  },
);
