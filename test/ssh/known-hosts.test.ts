import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { fingerprint, hostKeysOf, knownIn } from "../../src/ssh/known-hosts.ts";
import { sshRoute } from "../../src/ssh/options.ts";
import { newKey } from "../support/sshd.ts";

const [one, other] = [newKey(), newKey()];
const blobOf = (text: string): Buffer => Buffer.from(text.split(" ")[1] ?? "", "base64");

function found(text: string, host: string, port = 22): readonly string[] {
  return knownIn(text, host, port).map(({ blob, revoked }) => `${revoked ? "not " : ""}${fingerprint(blob)}`);
}

function hashed(name: string): string {
  const salt = Buffer.from("0123456789abcdef0123");
  const hash = createHmac("sha1", salt).update(name).digest("base64");
  return `|1|${salt.toString("base64")}|${hash}`;
}

describe("known_hosts", () => {
  test("a host is known by its name, whatever its case, and by no part of it", () => {
    const text = `# comment\n\ngate.example.org,192.0.2.1 ${one.public} me@here\nother ${other.public}\n`;
    expect(found(text, "Gate.Example.org")).toEqual([one.fingerprint]);
    expect(found(text, "192.0.2.1")).toEqual([one.fingerprint]);
    expect(found(text, "gate.example.or")).toEqual([]);
    expect(found(text, "gateXexample.org")).toEqual([]);
  });

  test("a host with another port is known by both; where that is not known, by its name alone, as with ssh", () => {
    const text = `[gate]:2222 ${one.public}\ngate ${other.public}\n`;
    expect(found(text, "gate", 2222)).toEqual([one.fingerprint]);
    expect(found(text, "gate", 22)).toEqual([other.fingerprint]);
    expect(found(text, "gate", 2223)).toEqual([other.fingerprint]);
  });

  test("a name that is hashed is found", () => {
    const text = `${hashed("gate")} ${one.public}\n${hashed("[gate]:2222")} ${other.public}`;
    expect(found(text, "gate")).toEqual([one.fingerprint]);
    expect(found(text, "gate", 2222)).toEqual([other.fingerprint]);
    expect(found(text, "gat")).toEqual([]);
  });

  test("patterns count, and one with ! takes a host out", () => {
    const text = `*.example.org,!bad.example.org,host? ${one.public}\n`;
    expect(found(text, "a.example.org")).toEqual([one.fingerprint]);
    expect(found(text, "host1")).toEqual([one.fingerprint]);
    expect(found(text, "host10")).toEqual([]);
    expect(found(text, "bad.example.org")).toEqual([]);
  });

  test("a key that is revoked is not accepted, though it is known elsewhere, and one that signs others is no host's", async () => {
    const text = `gate ${one.public}\n@revoked * ${one.public}\n@cert-authority * ${other.public}\n`;
    expect(found(text, "gate")).toEqual([one.fingerprint, `not ${one.fingerprint}`]);
    expect(found(`gate ssh-rsa ${other.public.split(" ")[1]}`, "gate"), "a key of another type than it says").toEqual([]);
  });
});

describe("the key of a host", () => {
  test("that is pinned, by fingerprint or whole, is the only one that is accepted", async () => {
    for (const hostKey of [one.fingerprint, `${one.fingerprint}=`, one.public]) {
      const [hop] = sshRoute({ host: "gate", hostKey });
      const keys = await hostKeysOf(hop!);
      expect(keys.accepts(blobOf(one.public))).toBe(true);
      expect(keys.accepts(blobOf(other.public))).toBe(false);
      expect(keys.known).toEqual([one.fingerprint]);
    }
  });

  test("is asked for in the kinds that are known of it first: a server with several would show another", async () => {
    const [hop] = sshRoute({ host: "gate", hostKey: "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=" });
    expect((await hostKeysOf(hop!)).algorithms.slice(0, 2)).toEqual(["ecdsa-sha2-nistp256", "ssh-ed25519"]);
  });

  test("is known to nobody where the files are not there", async () => {
    const [hop] = sshRoute({ host: "gate", knownHosts: "/nowhere/known_hosts" });
    const keys = await hostKeysOf(hop!);
    expect(keys.known).toEqual([]);
    expect(keys.accepts(blobOf(one.public))).toBe(false);
  });
});
