import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isRefused, readRecord, short, writeRecord, type RecordKind, type RecordOf } from "../../../src/agent/control/records.ts";
import { QuorateError } from "../../../src/errors.ts";

const id = fc.stringMatching(/^[0-9a-f]{1,16}$/);
const uuid = fc.uuid();
const text = fc.oneof(fc.string({ unit: "binary", maxLength: 1_000 }), fc.constant("\u0000".repeat(1_000)));
const host = fc.string({ unit: "binary", maxLength: 253 });
const whole = fc.integer();
const schema = fc.constant(1 as const);

/** Everything each record may be. `requiredKeys` leaves the others out now and then. */
const records: { readonly [K in RecordKind]: fc.Arbitrary<RecordOf<K>> } = {
  marker: fc.record(
    { schema, clusterId: id, foundedBy: text, predecessors: fc.array(id, { maxLength: 20 }) },
    { requiredKeys: ["schema", "clusterId", "foundedBy"] },
  ),
  agentRecord: fc.record(
    {
      schema,
      identity: uuid,
      instance: uuid,
      quorate: text,
      etcd: text,
      zone: text,
      priority: whole,
      volunteering: fc.boolean(),
      server: fc.constantFrom("none", "starting", "serving", "failed", "lost-data"),
      problem: text,
      member: id,
      proof: text,
      flags: fc.record({ maxSeats: fc.integer({ min: 1, max: 15 }), evenVoters: fc.boolean() }, { requiredKeys: [] }),
    },
    { requiredKeys: ["schema", "identity", "instance", "quorate", "zone", "priority", "volunteering", "server", "proof"] },
  ),
  seat: fc.record(
    { schema, instance: uuid, member: id, role: fc.constantFrom("learner", "voter"), standby: fc.boolean() },
    { requiredKeys: ["schema", "instance", "role", "standby"] },
  ),
  step: fc.record(
    {
      schema,
      op: fc.constantFrom("add-learner", "promote", "remove"),
      agent: text,
      member: id,
      peerUrls: fc.array(text, { maxLength: 8 }),
      leaderRevision: whole,
      passOver: fc.boolean(),
    },
    { requiredKeys: ["schema", "op", "leaderRevision"] },
  ),
  closing: fc.record({ schema, by: host }),
  closed: fc.record({ schema, host, formerSize: fc.integer({ min: 1, max: 1_000 }) }),
  planRecord: fc.record(
    {
      schema,
      leader: text,
      ideal: whole,
      closing: fc.boolean(),
      sizeRefused: text,
      kind: fc.constantFrom("step", "waiting", "settled"),
      because: text,
      failureTolerance: whole,
      blockedBy: text,
      next: text,
      held: text,
      unfit: fc.array(fc.record({ agent: fc.constant("h".repeat(253)), reason: text }), { maxLength: 20, size: "max" }),
      voters: whole,
      learners: whole,
      notices: fc.array(text, { maxLength: 20, size: "max" }),
    },
    { requiredKeys: ["schema", "leader", "ideal", "kind", "because", "voters", "learners", "notices"] },
  ),
  event: fc.record(
    {
      schema,
      step: fc.constantFrom("lead", "size", "policy", "leave", "pass-over", "nominate", "promote", "remove"),
      agent: text,
      member: text,
      what: text,
      because: text,
      leader: text,
      leaderRevision: whole,
      at: fc.constant("2026-01-01T00:00:00.000Z"),
      facts: fc.record({
        ideal: whole,
        members: fc.array(
          fc.record({ name: host, role: fc.constantFrom("learner", "voter"), health: fc.constantFrom("healthy", "gone") }),
          { maxLength: 40 },
        ),
        spares: fc.array(host, { maxLength: 20 }),
        toleranceBefore: whole,
        toleranceAfter: whole,
      }),
    },
    { requiredKeys: ["schema", "step", "what", "because", "leader", "leaderRevision"] },
  ),
  nonce: fc.record({ nonce: fc.stringMatching(/^[0-9a-f]{32}$/) }),
  reason: fc.record({ reason: text }),
  policy: fc.record({
    schema,
    maxSeats: fc.integer({ min: 1, max: 15 }),
    standbys: fc.constantFrom(0, 1),
    evenVoters: fc.boolean(),
    strictReconfigCheck: fc.boolean(),
    stabilizationMs: fc.integer({ min: 0, max: 86_400_000 }),
    nomineeTimeoutMs: fc.integer({ min: 1_000, max: 86_400_000 }),
    stallTimeoutMs: fc.integer({ min: 1_000, max: 86_400_000 }),
    restartGraceMs: fc.integer({ min: 2_000, max: 86_400_000 }),
    chooser: fc.stringMatching(/^[A-Za-z0-9._-]{1,100}$/),
  }),
};
const kinds = Object.keys(records) as RecordKind[];

/** One good value of each, to spoil. */
const good: { readonly [K in RecordKind]: RecordOf<K> } = {
  marker: { schema: 1, clusterId: "abc", foundedBy: "h1" },
  agentRecord: {
    schema: 1,
    identity: "00000000-0000-4000-8000-000000000000",
    instance: "00000000-0000-4000-8000-000000000001",
    quorate: "0.1.0",
    zone: "",
    priority: 0,
    volunteering: true,
    server: "none",
    proof: "x",
  },
  seat: { schema: 1, instance: "00000000-0000-4000-8000-000000000001", role: "learner", standby: false },
  step: { schema: 1, op: "promote", leaderRevision: 7 },
  closing: { schema: 1, by: "box" },
  closed: { schema: 1, host: "h1", formerSize: 3 },
  planRecord: { schema: 1, leader: "h1", ideal: 3, kind: "settled", because: "x", voters: 3, learners: 0, notices: [] },
  event: { schema: 1, step: "promote", what: "promoted h3 to voter", because: "x", leader: "h1", leaderRevision: 7 },
  nonce: { nonce: "0".repeat(32) },
  reason: { reason: "x" },
  policy: {
    schema: 1,
    maxSeats: 7,
    standbys: 0,
    evenVoters: false,
    strictReconfigCheck: false,
    stabilizationMs: 0,
    nomineeTimeoutMs: 60_000,
    stallTimeoutMs: 60_000,
    restartGraceMs: 300_000,
    chooser: "dynamicsize",
  },
};

describe.each(kinds)("%s", (kind) => {
  test("what is written can be read, whatever is in it", () => {
    fc.assert(
      fc.property(records[kind], (record) => {
        const read = readRecord(kind, writeRecord(kind, record));
        expect(isRefused(read)).toBe(false);
        expect(read).toEqual(JSON.parse(JSON.stringify(record)));
      }),
      { numRuns: 50 },
    );
  });

  test("a field that a later version adds is passed over, also one called refused or __proto__", () => {
    const value = writeRecord(kind, good[kind]).replace("{", '{"refused":"no","later":[1],"__proto__":{"admin":true},');
    const read = readRecord(kind, value);
    expect(read).toEqual(good[kind]);
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
    expect("admin" in read).toBe(false);
  });

  test("each field that is missing or of another type is named in the reason", () => {
    const record = good[kind] as Readonly<Record<string, unknown>>;
    for (const field of Object.keys(record)) {
      for (const wrong of [undefined, null, {}, [[]], Number.MAX_VALUE, -0.5, "\u0000wrong".repeat(400)]) {
        const read = readRecord(kind, JSON.stringify({ ...record, [field]: wrong }));
        expect([field, wrong, read]).toEqual([
          field,
          wrong,
          { refused: expect.stringMatching(new RegExp(`^${field}\\b`)) as string },
        ]);
      }
    }
  });

  test.each([
    ["nothing", ""],
    ["no JSON", "{"],
    ["text behind the JSON", "{} {}"],
    ["null", "null"],
    ["a number", "1e999"],
    ["a string", '"x"'],
    ["a list", "[]"],
    ["an empty object", "{}"],
    ["binary", "\u0000\uFFFD\u0001"],
    ["JSON as deep as a value can be", "[".repeat(80_000) + "]".repeat(80_000)],
    ["objects as deep as a value can be", '{"a":'.repeat(26_000) + "1" + "}".repeat(26_000)],
    ["a megabyte", JSON.stringify({ ...good[kind], junk: "x".repeat(1_048_576) })],
    ["another schema", JSON.stringify({ ...good[kind], schema: 2, nonce: 5, reason: 5 })],
  ])("%s is refused with a short reason, never thrown", (_what, value) => {
    const read = readRecord(kind, value);
    expect(read).toEqual({ refused: expect.any(String) as string });
    if (isRefused(read)) expect(read.refused.length).toBeLessThan(500);
  });

  test("any text is either a record or refused", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string({ unit: "binary" })), (value) => {
        const read = readRecord(kind, value);
        if (!isRefused(read)) expect(readRecord(kind, writeRecord(kind, read))).toEqual(read);
      }),
    );
  });

  test("what is no record is not written", () => {
    expect(() => writeRecord(kind, {} as never)).toThrow(QuorateError);
  });
});

test("a text is cut to what a record may hold", () => {
  expect(short("x".repeat(1_000))).toHaveLength(1_000);
  expect(short("x".repeat(1_001))).toHaveLength(1_000);
  expect(short("x".repeat(1_001))).toMatch(/x…$/);
  expect(isRefused(readRecord("reason", writeRecord("reason", { reason: short("\u0001".repeat(5_000)) })))).toBe(false);
});
