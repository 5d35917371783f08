import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { QuorateError } from "../../src/errors.ts";
import {
  agentFlags,
  clientSettings,
  flagOf,
  parseBytes,
  parseDuration,
  runSettings,
  variableOf,
  type Flag,
  type Given,
} from "../../src/cli/options.ts";

const refusal = (given: Given, env: Record<string, string> = {}): string => {
  try {
    runSettings(given, env);
  } catch (error) {
    expect(error).toBeInstanceOf(QuorateError);
    expect((error as QuorateError).exitCode).toBe(2);
    return (error as QuorateError).message;
  }
  return "accepted";
};

describe("the options of run", () => {
  test("without flags and variables nothing is set, so that the defaults are the library's", () => {
    expect(runSettings({}, {})).toEqual({ agent: {}, leaveOnTerminate: false, logLevel: undefined, logFormat: undefined });
  });

  test("a flag wins over its variable, and a variable over the default", () => {
    const env = { QUORATE_HOSTNAME: "from-env", QUORATE_ZONE: "north" };
    expect(runSettings({ hostname: ["from-argv"] }, env).agent).toEqual({ hostname: "from-argv", zone: "north" });
  });

  test("an empty variable counts as none", () => {
    expect(runSettings({}, { QUORATE_SEEDS: "", QUORATE_TMP_PREFIX: "" }).agent).toEqual({});
  });

  test("lists are given by comma, by repetition, or both", () => {
    expect(runSettings({ seeds: ["http://a:1,http://b:1", " http://c:1"] }, {}).agent.seeds).toEqual([
      "http://a:1",
      "http://b:1",
      "http://c:1",
    ]);
    expect(runSettings({}, { QUORATE_SEEDS: "http://a:1, http://b:1," }).agent.seeds).toEqual(["http://a:1", "http://b:1"]);
  });

  test("--no-server says that there is none, also as a variable", () => {
    expect(runSettings({ "no-server": true }, {}).agent.server).toBe(false);
    expect(runSettings({}, { QUORATE_NO_SERVER: "yes" }).agent.server).toBe(false);
    expect(runSettings({}, { QUORATE_NO_SERVER: "0" }).agent.server).toBe(true);
  });

  test("durations and sizes have units", () => {
    expect(runSettings({ "session-ttl": ["3s"], "quota-backend-bytes": ["512M"] }, {}).agent).toEqual({
      sessionTtlMs: 3_000,
      quotaBackendBytes: 512 * 1024 ** 2,
    });
  });

  test("errors name the flag, or the variable where the value came from there", () => {
    expect(refusal({ priority: ["high"] })).toBe('Cannot use --priority: "high" is not a whole number');
    expect(refusal({}, { QUORATE_SESSION_TTL: "soon" })).toBe(
      'Cannot use QUORATE_SESSION_TTL: "soon" is not a duration like 10s, 500ms or 2m',
    );
    expect(refusal({}, { QUORATE_EVEN_VOTERS: "maybe" })).toBe(
      'Cannot use QUORATE_EVEN_VOTERS: "maybe" is neither true nor false',
    );
    expect(refusal({ "log-level": ["loud"] })).toContain("is not one of trace, debug, info");
  });

  test("every flag has a variable of its own", () => {
    const names = Object.values<Flag<unknown>>(agentFlags).map(variableOf);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^QUORATE_[A-Z_]+$/);
  });

  test("an option of the library is named by its flag", () => {
    expect(flagOf("advertiseServerUrls")).toBe("--advertise-server-urls");
    expect(flagOf("server")).toBe("--no-server");
    expect(flagOf("sessionTtlMs")).toBe("--session-ttl");
    expect(flagOf("logger")).toBeUndefined();
  });
});

describe("units", () => {
  test("a bare number of time is seconds", () => {
    expect(parseDuration("10")).toBe(10_000);
    expect(parseDuration("1.5s")).toBe(1_500);
    expect(parseDuration("250ms")).toBe(250);
    expect(parseDuration("2m")).toBe(120_000);
    expect(parseDuration("1h")).toBe(3_600_000);
  });

  test("bytes take binary units", () => {
    expect(parseBytes("4294967296")).toBe(4 * 1024 ** 3);
    expect(parseBytes("4GiB")).toBe(4 * 1024 ** 3);
    expect(parseBytes("16M")).toBe(16 * 1024 ** 2);
  });

  test("whatever text comes, a duration is a count of milliseconds or an error", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        let ms = 0;
        try {
          ms = parseDuration(text);
        } catch (error) {
          expect((error as Error).message).toContain("is not a duration");
        }
        expect(ms).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

describe("the options of commands that ask a cluster", () => {
  test("have defaults", () => {
    expect(clientSettings({}, {})).toEqual({ endpoints: ["http://127.0.0.1:2379"], namespace: "/_mgmt", output: "table" });
  });

  test("an endpoint may be written as etcdctl has it, without a scheme", () => {
    expect(clientSettings({ endpoints: ["127.0.0.1:2381,http://b:2379/"] }, {}).endpoints).toEqual([
      "http://127.0.0.1:2381",
      "http://b:2379",
    ]);
  });

  test("an unknown format is refused with the ones there are", () => {
    expect(() => clientSettings({ output: ["xml"] }, {})).toThrow('Cannot use --output: "xml" is not one of table, json, yaml');
  });
});
