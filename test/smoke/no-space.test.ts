import { expect, onTestFinished, test } from "vitest";
import { base64, Fleet, type AgentProcess } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";
import { slow } from "../support/full.ts";

const large = "x".repeat(700_000);
const refused = /database space exceeded/;

async function formed(): Promise<{ fleet: Fleet; agents: AgentProcess[] }> {
  const fleet = await Fleet.open(["--session-ttl=2s", "--quota-backend-bytes=16M"]);
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return { fleet, agents: await fleet.form(["h1", "h2", "h3"]) };
}

/** Writes until etcd has no space for it. */
async function fill(fleet: Fleet, at: string, keyOf: (i: number) => string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const said = await fleet.put(at, keyOf(i), large).catch((error: unknown) => error as Error);
    if (said === undefined) continue;
    expect(said.message).toMatch(refused);
    return;
  }
  throw new Error("The quota is not reached");
}

const writable = (fleet: Fleet, at: string) => (): Promise<boolean> =>
  fleet.put(at, "/after", "written").then(
    () => true,
    () => false,
  );

test(
  "NOSPACE from history is healed although the leader dies under it and nobody can be elected",
  { timeout: 90_000 },
  async () => {
    const { fleet, agents } = await formed();
    const members = await fleet.members("h1");
    const leader = (await fleet.plan("h1"))?.leader;
    const [dies] = agents.filter(({ place }) => place.hostname === leader);
    const [at = ""] = ["h1", "h2", "h3"].filter((host) => host !== leader);

    await fill(fleet, at, () => "/one");
    await dies?.kill();
    await eventually("etcd takes writes again", writable(fleet, at), 40_000);
    const rest = agents.filter((agent) => agent !== dies);
    await eventually("one agent of the two says that it made room", () => {
      const healers = rest.filter(({ lines }) => lines.some(({ msg }) => msg === "made room in etcd"));
      return healers.length === 1;
    });
    expect(await fleet.get(at, "/one")).toBe(large);

    await (await fleet.start(dies?.place.hostname ?? "", { seeds: [at] })).ready();
    await fleet.settled(3, [at]);
    expect(await fleet.members(at)).toEqual(members);
    const { clientUrl } = await fleet.place(at);
    const events = await fleet.quorate("events", `--endpoints=${clientUrl}`);
    expect(events.stdout).toMatch(/freed space \(1\d -> \d MiB\): forgot the history up to \d+, defragmented/);
    await eventually("status tells of no alarm any more", async () => {
      const { stdout } = await fleet.quorate("status", `--endpoints=${clientUrl}`);
      return !stdout.includes("no space left");
    });
  },
);

slow(
  "NOSPACE from keys is told, tried again at leisure and holds up no stop; once keys are deleted all is well by itself",
  { timeout: 240_000 },
  async () => {
    const { fleet, agents } = await formed();
    const members = await fleet.members("h1");
    const isToldBy = ({ lines }: AgentProcess): boolean =>
      lines.some(({ problem }) => typeof problem === "string" && problem.startsWith("etcd's space is used up: 1"));
    let written = 0;
    const teller = await eventually(
      "one says that the space is used up",
      async () => {
        // Defragmenting makes a little room the first time.
        await fleet.put("h1", `/many/${written}`, large).then(
          () => written++,
          (error: unknown) => expect((error as Error).message).toMatch(refused),
        );
        return agents.find(isToldBy);
      },
      110_000,
    );
    expect(written).toBeGreaterThan(15);
    const { clientUrl } = await fleet.place("h1");
    const { stdout } = await fleet.quorate("status", `--endpoints=${clientUrl}`);
    expect(stdout).toContain("etcd has no space left and refuses writes");
    expect(stdout).toContain("delete keys, or start all agents again with a larger --quota-backend-bytes");
    expect(stdout).toContain("no space left");

    const other = agents.find((agent) => agent !== teller && agent.place.hostname !== "h1") as AgentProcess;
    const { hostname } = other.place;
    other.signal("SIGTERM");
    expect((await other.end(20_000)).code).toBe(0);
    const again = await fleet.start(hostname, { seeds: ["h1"] });
    await again.line("continuing with own data");
    await again.line((line) => line.msg === "server state" && (line["server"] as { kind: string }).kind === "serving");
    expect(await fleet.members("h1")).toEqual(members);
    // Nobody asks etcd in a hurry for what it refuses.
    const complaints = agents.flatMap(({ lines }) => lines).filter(({ level, part }) => level >= 40 && part !== "server");
    expect(complaints.map(({ msg }) => msg).length).toBeLessThan(40);

    await fleet.ask("h1", "kv/deleterange", { key: base64("/many/"), range_end: base64("/many0") });
    await eventually("etcd takes writes again", writable(fleet, "h1"), 60_000);
    await again.ready(60_000);
    await fleet.settled(3, ["h1"], 60_000);
    expect(await fleet.members("h1")).toEqual(members);
  },
);
