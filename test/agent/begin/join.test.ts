import { describe, expect, test } from "vitest";
import { beginning, whyNoSeedAnswers, whyUnreachable, type BeginInput } from "../../../src/agent/begin/join.ts";
import { resolveOptions } from "../../../src/agent/resolve.ts";
import { QuorateError } from "../../../src/errors.ts";

const nothing: BeginInput = { seeds: [], server: true, newCluster: false, data: "absent", state: { endpoints: [] } };
const seeds = ["http://s1:2379"];
const member = { clusterId: "c1", seat: { memberId: "aa" }, endpoints: ["http://h2:2379", "http://h3:2379"] };

function begins(input: Partial<BeginInput>): ReturnType<typeof beginning> | "refused" {
  try {
    return beginning({ ...nothing, ...input });
  } catch (error) {
    expect(error).toBeInstanceOf(QuorateError);
    expect(error).toMatchObject({ code: "REFUSED", exitCode: 6, hint: expect.stringContaining("--seeds") as string });
    return "refused";
  }
}

describe("beginning()", () => {
  test.each<[string, Partial<BeginInput>, ReturnType<typeof begins>]>([
    ["no seeds and no state: the first server", {}, { kind: "found" }],
    ["seeds: as a client", { seeds }, { kind: "join", through: seeds }],
    ["seeds, no server: as a client", { seeds, server: false }, { kind: "join", through: seeds }],
    [
      "a seat with data: from its own data, before any seed",
      { seeds, data: "has-data", state: member },
      { kind: "continue", memberId: "aa" },
    ],
    ["a seat with data, no seeds: the same", { data: "has-data", state: member }, { kind: "continue", memberId: "aa" }],
    ["a seat without data: never founds, asks whom it knew", { state: member }, { kind: "join", through: member.endpoints }],
    ["a seat with an empty folder: the same", { data: "empty", state: member }, { kind: "join", through: member.endpoints }],
    ["a seat with damaged data: the same", { data: "damaged", state: member }, { kind: "join", through: member.endpoints }],
    [
      "seeds and former endpoints: the seeds first, none twice",
      { seeds: [...seeds, "http://h2:2379"], state: member },
      { kind: "join", through: ["http://s1:2379", "http://h2:2379", "http://h3:2379"] },
    ],
    [
      "was a client of a cluster: asks it again, and does not found",
      { state: { clusterId: "c1", endpoints: ["http://h2:2379"] } },
      { kind: "join", through: ["http://h2:2379"] },
    ],
    ["belonged to a cluster and knows nobody", { state: { clusterId: "c1", endpoints: [] } }, "refused"],
    ["belonged to a cluster, lost its data and knows nobody", { state: { ...member, endpoints: [] } }, "refused"],
    ["the same, with a seed", { seeds, state: { ...member, endpoints: [] } }, { kind: "join", through: seeds }],
    [
      "a seat with data, but no server is wanted: as a client",
      { server: false, seeds, data: "has-data", state: member },
      {
        kind: "join",
        through: [...seeds, ...member.endpoints],
      },
    ],
    [
      "a founder that was killed before it knew its cluster: founds again, on the same data",
      { data: "has-data" },
      { kind: "found" },
    ],
    [
      "a new cluster is wanted: founds whatever was before",
      { newCluster: true, data: "has-data", state: member },
      { kind: "found" },
    ],
  ])("%s", (_what, input, expected) => {
    expect(begins(input)).toEqual(expected);
  });

  test("a host that knows who had the data last names them, where it knows nobody to ask", () => {
    const state = { clusterId: "c1", endpoints: [], startFirst: ["h2", "h3"] };
    expect(() => beginning({ ...nothing, state })).toThrow(
      expect.objectContaining({
        hint: expect.stringMatching(/^start h2 and h3, which had the data last; add --seeds=.*--new-cluster$/) as string,
      }),
    );
  });

  test("state of a cluster never founds, whatever else is so, unless a new cluster is asked for", () => {
    for (const given of [[], seeds]) {
      for (const server of [true, false]) {
        for (const data of ["absent", "empty", "has-data", "damaged"] as const) {
          for (const state of [member, { ...member, endpoints: [] }, { clusterId: "c1", endpoints: [] }]) {
            const begin = begins({ seeds: given, server, data, state });
            expect([given, server, data, state, begin === "refused" || begin.kind !== "found"]).toEqual([
              given,
              server,
              data,
              state,
              true,
            ]);
          }
        }
      }
    }
  });
});

describe("whyUnreachable()", () => {
  test.each([
    ["joins over the network and advertises a loopback address", { seeds: ["http://192.0.2.1:2379"] }, true],
    [
      "joins over the network and advertises an address of its own",
      { seeds: ["http://192.0.2.1:2379"], serverUrls: ["http://192.0.2.2:2380"] },
      false,
    ],
    ["joins on the same machine", { seeds: ["http://127.0.0.1:2379"], serverUrls: ["http://127.0.0.1:2382"] }, false],
    ["needs no seat", { seeds: ["http://192.0.2.1:2379"], server: false }, false],
    ["founds", {}, false],
  ])("an agent that %s", (_, options, warned) => {
    const why = whyUnreachable(resolveOptions({ hostname: "h2", insecure: true, ...options }));
    if (warned) expect(why).toContain("--server-urls=http://ADDRESS:2380");
    else expect(why).toBeUndefined();
  });
});

describe("whyNoSeedAnswers()", () => {
  test.each([
    [
      "itself, by what it advertises",
      { seeds: ["http://192.0.2.2:2379"], clientUrls: ["http://192.0.2.2:2379"] },
      "http://192.0.2.2:2379 is this agent itself: start exactly one agent without --seeds",
    ],
    [
      "itself, by what it listens on",
      {
        seeds: ["http://192.0.2.9:2379", "http://127.0.0.1:2379"],
        clientUrls: ["http://127.0.0.1:2379"],
        advertiseClientUrls: ["http://192.0.2.2:2379"],
      },
      "http://127.0.0.1:2379 is this agent itself: start exactly one agent without --seeds",
    ],
    ["another port of this machine", { seeds: ["http://127.0.0.1:2381"] }, "is an agent running there?"],
    [
      "another machine",
      { seeds: ["http://192.0.2.1:2379"] },
      /^is an agent running there, and reachable from here\? .* --client-urls=http:\/\/192\.0\.2\.1:2379 /,
    ],
  ])("where the seed is %s", (_, options, hint) => {
    expect(whyNoSeedAnswers(resolveOptions({ hostname: "h2", insecure: true, ...options }))).toEqual(
      typeof hint === "string" ? hint : expect.stringMatching(hint),
    );
  });
});
