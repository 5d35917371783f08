import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { issue, newAuthority, newKey, publicKeyOf } from "../../../src/agent/authority/issue.ts";
import { newSecret, seal, unseal } from "../../../src/agent/authority/sealed.ts";
import { fits, hashOf, newToken, readToken, tokenRecord, writeToken } from "../../../src/agent/authority/token.ts";

const now = new Date();
const holder = { hostname: "h1", hosts: ["h1.example", "127.0.0.1", "::1"] };

describe("a certificate that an authority issues", () => {
  test("is its host's by every name and address, and good for both sides of a connection", async () => {
    const authority = await newAuthority("ours", now);
    const key = newKey();
    const text = await issue(authority, publicKeyOf(key), holder, now);
    const cert = new X509Certificate(text);
    // A common name would be whom etcd takes the host for.
    expect(cert.subject).toBe("OU=h1");
    expect(cert.verify(new X509Certificate(authority.cert).publicKey)).toBe(true);
    expect([cert.checkHost("h1.example"), cert.checkIP("127.0.0.1"), cert.checkHost("h2.example")]).toEqual([
      "h1.example",
      "127.0.0.1",
      undefined,
    ]);
    const both = { cert: text, key, ca: authority.cert };
    const server = createServer({ ...both, requestCert: true, rejectUnauthorized: true }, (socket) => socket.end("hello"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = connect({ ...both, host: "127.0.0.1", port: (server.address() as AddressInfo).port });
    const [said] = (await once(client, "data")) as [Buffer];
    expect(said.toString()).toBe("hello");
    server.close();
  });

  test("of another authority of the same name is not trusted", async () => {
    const [ours, theirs] = [await newAuthority("ours", now), await newAuthority("ours", now)];
    const cert = new X509Certificate(await issue(theirs, publicKeyOf(newKey()), holder, now));
    expect(cert.verify(new X509Certificate(ours.cert).publicKey)).toBe(false);
  });

  test.each(["", "garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])(
    "is none for the key %j",
    async (key) => {
      const authority = await newAuthority("ours", now);
      await expect(issue(authority, key, holder, now)).rejects.toThrow();
    },
  );
});

describe("sealed authorities", () => {
  const pair = { cert: "certificate", key: "key" };
  const what = { clients: pair, peers: { cert: "c", key: "k" } };

  test("are opened by their secret and by no other, and show nothing of it", () => {
    const secret = newSecret();
    const text = seal(what, secret);
    expect(unseal(text, secret)).toEqual(what);
    expect(unseal(text, newSecret())).toBeUndefined();
    expect(text).not.toContain(secret);
    expect(text).not.toContain("certificate");
    expect(seal(what, secret)).not.toBe(text);
  });

  test("that somebody has changed are none", () => {
    const secret = newSecret();
    const text = seal(what, secret);
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom("A", "z", "9", '"', "{"), (at, by) => {
        const changed = text.slice(0, at) + by + text.slice(at + 1);
        // The last bits of a text in base64 may stand for nothing.
        expect([undefined, JSON.stringify(what)]).toContain(
          unseal(changed, secret) === undefined ? undefined : JSON.stringify(unseal(changed, secret)),
        );
      }),
    );
    fc.assert(
      fc.property(fc.string(), (junk) => {
        expect(unseal(junk, secret)).toBeUndefined();
      }),
    );
  });
});

describe("a join token", () => {
  test("is one word that says all of it again", () => {
    const token = newToken("a certificate", ["https://h1:2381", "https://[::1]:2381"]);
    const text = writeToken(token);
    expect(text).toMatch(/^quorate-join-[A-Za-z0-9_-]+$/);
    expect(readToken(`${text}\n`)).toEqual(token);
  });

  test("that is not whole, or none, is refused without being repeated", () => {
    const text = writeToken(newToken("ca", ["https://h1:1"]));
    for (const wrong of ["", "secret", text.slice(0, -10), text.slice(5), writeToken(newToken("ca", ["http://h1:1"]))]) {
      const failed = ((): unknown => {
        try {
          return readToken(wrong);
        } catch (error) {
          return error;
        }
      })();
      expect(failed).toMatchObject({ code: "INVALID_OPTION" });
      if (wrong.length > 5) expect(String(failed)).not.toContain(wrong.slice(0, 20));
    }
    fc.assert(
      fc.property(fc.string(), (junk) => {
        expect(() => readToken(junk)).toThrow("no token");
      }),
    );
  });

  test("is kept as a hash, which fits its secret alone", () => {
    const { secret } = newToken("ca", ["https://h1:1"]);
    const record = { schema: 1, purpose: "join", hash: hashOf(secret) } as const;
    const kept = tokenRecord(JSON.stringify(record))!;
    expect(kept).toEqual(record);
    expect(JSON.stringify(kept)).not.toContain(secret);
    expect([fits(kept, secret), fits(kept, newSecret()), fits(kept, "")]).toEqual([true, false, false]);
    fc.assert(
      fc.property(fc.string(), (junk) => {
        expect(tokenRecord(junk)).toBeUndefined();
      }),
    );
  });
});
