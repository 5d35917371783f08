import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import fc from "fast-check";
import { test } from "vitest";
import { methodOf, protobuf } from "../../src/etcd/messages.ts";
import { Malformed } from "../../src/etcd/protobuf-cursor.ts";

interface TheirMethod {
  readonly path: string;
  readonly requestSerialize: (value: object) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => object;
  readonly responseSerialize: (value: object) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => object;
  readonly requestType: { readonly type: TheirType };
  readonly responseType: { readonly type: TheirType };
}
interface TheirType {
  readonly name: string;
  readonly field: readonly TheirField[];
}
interface TheirField {
  readonly name: string;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
  readonly oneofIndex?: number;
  readonly proto3Optional?: boolean;
}

const fromEtcd3 = createRequire(createRequire(import.meta.url).resolve("etcd3"));
const { loadSync } = fromEtcd3("@grpc/proto-loader") as {
  loadSync: (
    path: string,
    options: object,
  ) => Record<string, Record<string, TheirMethod> & { type?: TheirType & { value?: { name: string }[] } }>;
};
const protoPath = fromEtcd3.resolve("../proto/rpc.proto");
// As etcd3 itself loads them, but without a property for each oneof that says which it is.
const theirs = loadSync(protoPath, { keepCase: true, longs: String, enums: String, defaults: true });

const textOf = (...names: readonly string[]): string =>
  names
    .map((name) => readFileSync(protoPath.replace("rpc.proto", `${name}.proto`), "utf8"))
    .join("\n")
    .replace(/\/\/.*$/gm, "");
const definitions = textOf("rpc", "kv");
const enums = new Map(
  [...textOf("rpc", "kv", "auth").matchAll(/enum (\w+) \{([\s\S]*?)\}/g)].map(([, name, body]) => [
    name!,
    [...body!.matchAll(/(\w+) = \d+/g)].map(([, value]) => value!),
  ]),
);

const used: Readonly<Record<string, readonly string[]>> = {
  KV: ["range", "put", "deleteRange", "txn", "compact"],
  Watch: ["watch"],
  Lease: ["leaseGrant", "leaseRevoke", "leaseKeepAlive", "leaseTimeToLive", "leaseLeases"],
  Cluster: ["memberAdd", "memberRemove", "memberUpdate", "memberList", "memberPromote"],
  Maintenance: ["alarm", "status", "defragment", "hash", "hashKV", "snapshot", "moveLeader", "downgrade"],
  Auth: ["authenticate", "authEnable", "userAdd", "userChangePassword", "userGrantRole", "roleAdd", "roleGrantPermission"],
};
const methods = Object.entries(used).flatMap(([service, names]) =>
  names.map((name) => ({ service, name, theirs: theirs[`etcdserverpb.${service}`]![name[0]!.toUpperCase() + name.slice(1)]! })),
);

/** Any message of a type, as etcd3's types have it. */
function anyOf(typeName: string, depth: number): fc.Arbitrary<object> {
  const type = theirs[typeName]!.type!;
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  const oneofs = new Map<number, [string, fc.Arbitrary<unknown>][]>();
  for (const field of type.field) {
    const one = anyValue(field, typeName, depth);
    if (one === undefined) continue;
    if (field.oneofIndex !== undefined && typeName !== "" && isOneof(type, field)) {
      oneofs.set(field.oneofIndex, [...(oneofs.get(field.oneofIndex) ?? []), [field.name, one]]);
    } else fields[field.name] = field.label === "LABEL_REPEATED" ? fc.array(one, { maxLength: 3 }) : one;
  }
  const chosen = [...oneofs.values()].map((all) =>
    fc.oneof(fc.constant({}), ...all.map(([name, value]) => value.map((is) => ({ [name]: is })))),
  );
  return fc
    .tuple(fc.record(fields, { requiredKeys: [] }), ...chosen)
    .map((parts) => Object.assign({}, ...(parts as readonly object[])) as object);
}

/** proto-loader's description says neither whether a field without index 0 is part of one, nor leaves the index out elsewhere. */
function isOneof({ name }: TheirType, field: TheirField): boolean {
  const inOneof: Readonly<Record<string, readonly string[]>> = {
    Compare: ["version", "create_revision", "mod_revision", "value", "lease"],
  };
  if (["RequestOp", "ResponseOp", "WatchRequest"].includes(name)) return true;
  return inOneof[name]?.includes(field.name) ?? false;
}

function anyValue({ type, typeName }: TheirField, within: string, depth: number): fc.Arbitrary<unknown> | undefined {
  const resolved = typeName === "" ? undefined : [within, ...within.split(".").slice(0, -1), "etcdserverpb", "mvccpb", "authpb"];
  const full = resolved?.map((scope) => `${scope}.${typeName}`).find((name) => theirs[name] !== undefined) ?? typeName;
  switch (type) {
    case "TYPE_BYTES":
      return fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
    case "TYPE_STRING":
      return fc.string({ unit: "grapheme", maxLength: 40 });
    case "TYPE_BOOL":
      return fc.boolean();
    case "TYPE_UINT32":
      return fc.integer({ min: 0, max: 2 ** 32 - 1 });
    case "TYPE_INT64":
      return fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.bigInt({ min: -1n, max: 300n })).map(String);
    case "TYPE_UINT64":
      return fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 300n })).map(String);
    case "TYPE_ENUM":
      return fc.constantFrom(...enums.get(typeName.split(".").at(-1)!)!);
    default:
      return depth === 0 ? undefined : anyOf(full, depth - 1);
  }
}

test("every call that is used has the path etcd's own definition gives it", () => {
  for (const { service, name, theirs } of methods) assert.equal(methodOf(service, name).path, theirs.path);
});

for (const { service, name, theirs } of methods) {
  test(`${service}.${name} says and understands the same as a general protobuf library`, () => {
    const ours = methodOf(service, name);
    const request = `etcdserverpb.${theirs.requestType.type.name}`;
    const response = `etcdserverpb.${theirs.responseType.type.name}`;
    fc.assert(
      fc.property(anyOf(request, 3), anyOf(response, 3), (asked, answered) => {
        const sent = ours.serialize(asked);
        assert.deepEqual(theirs.requestDeserialize(sent), theirs.requestDeserialize(theirs.requestSerialize(asked)));
        assert.deepEqual(theirs.requestSerialize(theirs.requestDeserialize(sent)), sentInFull(theirs, asked));
        const received = theirs.responseSerialize(answered);
        assert.deepEqual(ours.deserialize(received), theirs.responseDeserialize(received));
        for (const cut of [1, 7]) {
          if (received.length <= cut) continue;
          // Whatever is left of it: an error or a message, and never an end of the process.
          try {
            ours.deserialize(received.subarray(0, -cut));
          } catch (error) {
            assert.ok(error instanceof Malformed, String(error));
          }
        }
      }),
      { numRuns: 100 },
    );
  });
}

function sentInFull({ requestSerialize, requestDeserialize }: TheirMethod, asked: object): Buffer {
  return requestSerialize(requestDeserialize(requestSerialize(asked)));
}

test("the table has every field of etcd's definitions", () => {
  const fields = [...definitions.matchAll(/^\s*message (\w+)\s*\{([\s\S]*?)^\}/gm)];
  assert.ok(fields.length > 60, `${fields.length}`);
  const table = readFileSync(new URL("../../src/etcd/messages.ts", import.meta.url), "utf8");
  for (const [, message, body] of fields) {
    if (message === undefined || body === undefined || /^(Auth(?!enticate)|LeaseCheckpoint)/.test(message)) continue;
    const line = new RegExp(`^ {2}${message}:\\s+"(.*)"`, "m").exec(table)?.[1];
    assert.ok(line !== undefined, `${message} is missing`);
    const flat = body.replace(/enum \w+ \{[\s\S]*?\}/g, "");
    const numbers = [...flat.matchAll(/^\s*(?:repeated )?[\w.]+ (\w+) = (\d+)/gm)].map(([, name, id]) => `${name}=${id}`);
    const known = line === "" ? [] : line.split(" ").map((one) => one.replace(/\??:[^=]*/, ""));
    assert.deepEqual(known.sort(), numbers.sort(), message);
  }
});

test("parts of a message that is larger than any before have their right lengths, and the next message too", () => {
  const large = Buffer.alloc(9 * 1024 * 1024, "x");
  for (const value of [large, Buffer.from("small"), large]) {
    const put = { request_put: { key: Buffer.from("k"), value } };
    const bytes = protobuf.encode("TxnRequest", { success: [put, { request_txn: { success: [put] } }, put] });
    const theirTxn = methods.find(({ name }) => name === "txn")!.theirs;
    const { success } = theirTxn.requestDeserialize(bytes) as {
      success: (typeof put & { request_txn?: { success: (typeof put)[] } })[];
    };
    const values = success.map(({ request_put: own, request_txn: nested }) => (nested?.success[0]!.request_put ?? own).value);
    assert.deepEqual(
      values.map((one) => one.equals(value)),
      [true, true, true],
    );
  }
});
