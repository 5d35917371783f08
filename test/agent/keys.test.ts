import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { QuorateError } from "../../src/errors.ts";
import { decodeName, encodeName, endOf, isHostname, keysUnder, parseSize, parseUrls, quote, whyNotUrl } from "../../src/keys.ts";
import type { Family, KeyRange } from "../../src/keys.ts";

const keys = keysUnder("/_mgmt");
const families = Object.entries(keys).filter((entry): entry is [string, Family] => {
  const value: unknown = entry[1];
  return typeof value === "object" && value !== null && "nameIn" in value;
});
const singles = Object.entries(keys).filter(([name, value]) => typeof value === "string" && name !== "namespace") as [
  string,
  string,
][];
/** Any text etcd can hold as a key: no half of a surrogate pair. */
const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }).filter((text) => !/\p{Surrogate}/u.test(text));

function within(range: KeyRange, key: string): boolean {
  return (
    Buffer.compare(Buffer.from(key), Buffer.from(range.start)) >= 0 &&
    Buffer.compare(Buffer.from(key), Buffer.from(range.end)) < 0
  );
}

test("every name comes back from its key in every family, and its key is in the family's range", () => {
  expect(families.length).toBeGreaterThanOrEqual(10);
  fc.assert(
    fc.property(name, fc.constantFrom(...families), (host, [, family]) => {
      const key = family.key(host);
      expect(family.nameIn(key)).toBe(host);
      expect(within(family, key)).toBe(true);
      expect(key.slice(family.prefix.length)).not.toContain("/");
    }),
  );
});

test("host names stay readable in keys", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z0-9._-]{1,253}$/), (host) => {
      expect(encodeName(host)).toBe(host);
      expect(isHostname(host)).toBe(host !== "." && host !== "..");
    }),
  );
});

test("no text but the one that is written decodes to a name", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const decoded = decodeName(text);
      if (decoded !== undefined) expect(encodeName(decoded)).toBe(text);
    }),
  );
  for (const text of ["", "/", "a/b", "%", "%2", "%E0%A4%A", "%2f", "a b", "ä", "%61"])
    expect([text, decodeName(text)]).toEqual([text, undefined]);
});

test("no key belongs to two families, and no single key to any", () => {
  const some = families.map(([of, family]) => ({ of, key: family.key("h1") }));
  for (const { of, key } of [...some, ...singles.map(([of, key]) => ({ of, key }))]) {
    for (const [other, family] of families) {
      if (other === of) continue;
      expect([key, other, family.nameIn(key)]).toEqual([key, other, undefined]);
    }
  }
});

test("the control ranges hold nominations and Quorate's own keys, and neither events nor what a lease of 500 agents makes noisy", () => {
  const controls = (key: string): boolean => keys.control.some((range) => within(range, key));
  for (const key of [keys.nominated.key("h1"), keys.agents.key("h1"), keys.step, keys.plan, keys.seats.key("h1"), keys.policy]) {
    expect([key, controls(key)]).toEqual([key, true]);
  }
  const others = [keys.volunteer.key("h1"), keys.endpoints.key("h1"), keys.idealClusterSize, keys.events.key("1")];
  for (const key of [...others, "/_mgmt/strings/a"]) expect([key, controls(key)]).toEqual([key, false]);
});

test("the two ranges of a look hold every own key but the events", () => {
  const [before, after] = keys.ownWithoutEvents;
  const inLook = (key: string): boolean => within(before, key) || within(after, key);
  for (const [of, family] of families) {
    if (!family.prefix.startsWith("/_mgmt/quorate/")) continue;
    expect([of, inLook(family.key("h1"))]).toEqual([of, of !== "events"]);
  }
  for (const [of, key] of singles) if (key.startsWith("/_mgmt/quorate/")) expect([of, inLook(key)]).toEqual([of, true]);
});

test("the keys mgmt knows are where mgmt looks for them", () => {
  expect(keys.volunteer.key("h1")).toBe("/_mgmt/volunteer/h1");
  expect(keys.endpoints.key("h1")).toBe("/_mgmt/endpoints/h1");
  expect(keys.nominated.key("h1")).toBe("/_mgmt/nominated/h1");
  expect(keys.idealClusterSize).toBe("/_mgmt/chooser/dynamicsize/idealclustersize");
});

test("two namespaces share no key, also where one name begins with the other", () => {
  const longer = keysUnder("/_mgmt2");
  const deeper = keysUnder("/_mgmt/quorate/agents");
  for (const [of, family] of families) {
    expect([of, families.some(([, own]) => own.nameIn(longer[of as "agents"].key("h1")) !== undefined)]).toEqual([of, false]);
    expect([of, families.some(([, own]) => own.nameIn(deeper[of as "agents"].key("h1")) !== undefined)]).toEqual([of, false]);
    expect(family.end).toBe(endOf(family.prefix));
  }
});

test.each(["", "/", "mgmt", "/a/", "//a", "/a b", "/a\n", "/ä", `/${"x".repeat(200)}`])(
  "the namespace %j is refused",
  (namespace) => {
    expect(() => keysUnder(namespace)).toThrow(QuorateError);
  },
);

describe("parseSize()", () => {
  test.each([
    ["0", 0],
    ["1", 1],
    ["7", 7],
    ["1000", 1_000],
  ])("%j is %d", (text, size) => {
    expect(parseSize(text)).toEqual({ size });
  });

  test.each([
    "",
    " ",
    "01",
    "+3",
    "-1",
    "3.0",
    "3 ",
    "3\n",
    "1e3",
    "0x3",
    "३",
    "３",
    "1001",
    "9".repeat(400),
    "NaN",
    "Infinity",
    "null",
    "\u0000",
    "x".repeat(10_000),
  ])("%j is refused, in one short line", (text) => {
    const read = parseSize(text);
    expect(read).toHaveProperty("refused");
    if ("refused" in read) {
      expect(read.refused.length).toBeLessThan(420);
      expect(read.refused).not.toMatch(/[\n\u0000]/);
    }
  });

  test("whatever it is given, it reads a size from 0 to 1000 or refuses", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.integer().map(String)), (text) => {
        const read = parseSize(text);
        if ("size" in read) expect(String(read.size)).toBe(text);
      }),
    );
  });
});

describe("URLs of agents", () => {
  test.each([
    "http://h1:2380",
    "https://h1.example.org:1",
    "http://192.0.2.7:65535",
    "http://[2001:db8::1]:2380",
    "http://a_b-c.d:80",
  ])("%s is one", (url) => {
    expect(whyNotUrl(url)).toBeUndefined();
    expect(parseUrls(url)).toEqual({ urls: [url] });
  });

  test.each([
    "",
    "h1:2380",
    "http://h1",
    "http://:2380",
    "http://h:0",
    "http://h:00080",
    "http://2130706433:2380",
    "http://0x7f.1:2380",
    "http://127.1:2380",
    "http://h:65536",
    "http://h:99999999999",
    "http://h:-1",
    "http://h:+1",
    "http://h:1/",
    "http://h:1/path",
    "http://h:1?q",
    "http://h:1#f",
    "http://user@h:1",
    "http://user:password@h:1",
    "HTTP://h:1",
    "ftp://h:1",
    "unix://h:1",
    "file:///etc/passwd",
    "http://h:1 ",
    " http://h:1",
    "http://h:1\n",
    "http://h:1\r\nHost: x",
    "http://h\u0000:1",
    "http://hö:1",
    "http://h:１",
    "http://a%2fb:1",
    "http://[::1:2380",
    "http://[zz]:1",
    "http://[::1%25eth0]:1",
    "http://999.1.1.1:1",
    "http://h:1,http://h:2",
    "http:\\\\h:1",
    "javascript:alert(1)",
  ])("%j is none", (url) => {
    expect(whyNotUrl(url)).toBeTypeOf("string");
  });

  test("a list has at most eight, at most 4096 characters, and nothing between them", () => {
    const list = (n: number): string => Array.from({ length: n }, (_, i) => `http://h${i}:1`).join(",");
    expect(parseUrls(list(8))).toHaveProperty("urls.length", 8);
    expect(parseUrls(list(9))).toEqual({ refused: "there are 9 URLs, at most 8 are allowed" });
    expect(parseUrls("x".repeat(4_097))).toEqual({ refused: "the list of URLs has 4097 characters, at most 4096 are allowed" });
    for (const text of ["", ",", "http://h:1,", ",http://h:1", "http://h:1, http://h:2", "http://h:1;http://h:2"]) {
      expect([text, parseUrls(text)]).toEqual([text, { refused: expect.any(String) as string }]);
    }
  });

  test("whatever is accepted, a URL parser finds a host and a port in it and nothing else", () => {
    const hostile = fc.oneof(
      fc.webUrl(),
      fc.string().map((host) => `http://${host}:1`),
      fc.tuple(fc.domain(), fc.nat(70_000)).map(([host, port]) => `http://${host}:${port}`),
      fc.string(),
    );
    fc.assert(
      fc.property(hostile, (text) => {
        if (whyNotUrl(text) !== undefined) return;
        const { username, password, pathname, search, hash, hostname } = new URL(text);
        expect([username, password, pathname, search, hash]).toEqual(["", "", "/", "", ""]);
        expect(hostname).not.toBe("");
      }),
      { numRuns: 2_000 },
    );
  });

  test("a foreign value in a message is short and cannot move a cursor", () => {
    expect(quote("a\u001b[2J\n")).toBe('"a\\u001b[2J\\n"');
    expect(quote("x".repeat(1_000_000)).length).toBeLessThan(70);
  });
});

test.each(["", ".", "..", "a/b", "a b", "ä", "h1\n", "x".repeat(254)])("%j is no host name", (text) => {
  expect(isHostname(text)).toBe(false);
});

test("who says that it is converged comes back from its key, and nobody else's key is taken for one", () => {
  const { converged } = keys;
  expect(converged.key("h1")).toBe("/_mgmt/converged/h1");
  expect(converged.parse("/_mgmt/converged/h1/7c0de")).toEqual({ host: "h1", session: "7c0de" });
  const host = fc.stringMatching(/^[A-Za-z0-9._-]{1,253}$/).filter(isHostname);
  const session = fc.option(fc.stringMatching(/^[1-9a-f][0-9a-f]{0,15}$/), { nil: undefined });
  fc.assert(
    fc.property(host, session, (of, by) => {
      const key = converged.key(of, by);
      expect(converged.parse(key)).toEqual({ host: of, session: by });
      expect(within(converged, key)).toBe(true);
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const parsed = converged.parse(converged.start + text);
      if (parsed !== undefined) expect(converged.key(parsed.host, parsed.session)).toBe(converged.start + text);
    }),
  );
  for (const key of [
    "/_mgmt/converged/",
    "/_mgmt/converged/h 1",
    "/_mgmt/converged/h1/",
    "/_mgmt/converged/h1/0",
    "/_mgmt/strings/h1",
  ])
    expect([key, converged.parse(key)]).toEqual([key, undefined]);
});

test("a tree's head and its commits come back from their keys, and no replica follows its objects and pins", () => {
  const { fs } = keysUnder("/_mgmt");
  const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }).filter((text) => !/\p{Surrogate}|\ufffd/u.test(text));
  fc.assert(
    fc.property(name, fc.integer({ min: 1, max: 1e15 - 1 }), (of, generation) => {
      expect(fs.heads.nameIn(fs.heads.key(of))).toBe(of);
      const key = fs.commit(of, generation);
      expect(fs.parseCommit(key)).toEqual({ name: of, generation });
      expect(key >= fs.commits(of).start && key < fs.commits(of).end).toBe(true);
      expect(fs.heads.nameIn(key)).toBeUndefined();
      expect(fs.parseCommit(fs.heads.key(of))).toBeUndefined();
    }),
  );
  expect([fs.commit("a", 9), fs.commit("a", 10), fs.commit("a", 100)].sort()).toEqual([9, 10, 100].map((n) => fs.commit("a", n)));
  for (const key of ["a", "a/", "a/1", `a/${"0".repeat(15)}`, `a/b/${"1".repeat(15)}`]) {
    expect(fs.parseCommit(fs.log.start + key)).toBeUndefined();
  }
  const { start, end } = keysUnder("/_mgmt").aroundWorld;
  for (const key of [fs.objects.key("1"), fs.pins.key("1")]) expect(key < start || key >= end).toBe(true);
});
