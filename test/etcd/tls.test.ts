import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { checkTls, EtcdClient, wiresTo, watchRange, type TlsFiles, type WatchNews } from "../../src/etcd/index.ts";
import { newAuthority, type Authority, type Certificate } from "../support/certificates.ts";
import { temporaryFolder } from "../support/etcd-server.ts";
import { eventually } from "../support/eventually.ts";
import { aloneConfig, started } from "../support/start-etcd.ts";

const day = 24 * 60 * 60 * 1_000;
const yesterday = new Date(Date.now() - day);

/** The client URL of an etcd that shows that certificate, and takes nobody in whose own the authority has not signed. */
async function etcdWith({ certFile, keyFile }: Certificate, trusted: Authority | undefined): Promise<string> {
  const urls = ["https://127.0.0.1:0"];
  const config = await aloneConfig({ lcUrls: urls, acUrls: urls });
  Object.assign(config.clientTLSInfo, {
    certFile,
    keyFile,
    ...(trusted === undefined ? {} : { trustedCAFile: trusted.certFile, clientCertAuth: true }),
  });
  const etcd = await started(config);
  await etcd.server.ready;
  return etcd.clients[0]!;
}

function clientOf(url: string, tls: TlsFiles | undefined, refusedMs = 0): EtcdClient {
  const client = EtcdClient.create({ endpoints: [url], clock, wires: wiresTo({ tls }), refusedMs });
  onTestFinished(() => client.close());
  return client;
}

const filesOf = ({ certFile, keyFile }: Certificate, { certFile: caFile }: Certificate): Required<TlsFiles> => ({
  caFile,
  certFile,
  keyFile,
});

test("reads, writes, watches and metrics go over TLS, with a certificate on both sides", async () => {
  const ours = await newAuthority();
  const url = await etcdWith(await ours.issue("server"), ours);
  const client = clientOf(url, filesOf(await ours.issue("client"), ours));
  await client.put("/a", "1");
  expect((await client.get("/a")).entry?.value).toBe("1");
  const seen: WatchNews[] = [];
  const own = new AbortController();
  const watching = watchRange(client, { start: "/a", end: "/b" }, (news) => void seen.push(news), { clock }, own.signal);
  await eventually("the snapshot", () => seen.some(({ kind }) => kind === "snapshot"));
  await client.put("/a", "2");
  await eventually("the change", () => seen.some((news) => news.kind === "changes"));
  own.abort();
  await watching.catch(() => undefined);
  expect(await client.metrics(url)).toContain("etcd_server_has_leader 1");
});

describe("who is not trusted", () => {
  let ours: Authority;
  let strange: Authority;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "quorate-test-"));
    const folders = ["ours", "strange"].map((name) => join(folder, name));
    await Promise.all(folders.map((one) => mkdir(one)));
    ours = await newAuthority("ours", folders[0]);
    strange = await newAuthority("strange", folders[1]);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each([
    [
      "shows no certificate",
      () => Promise.resolve({ caFile: ours.certFile }),
      "does not accept the certificate it was shown, or was shown none",
    ],
    [
      "shows a stranger's",
      async () => filesOf(await strange.issue("client"), ours),
      "does not accept the certificate it was shown",
    ],
    [
      "shows an expired one",
      async () => filesOf(await ours.issue("late", undefined, { from: new Date(0), until: yesterday }), ours),
      "does not accept the certificate it was shown",
    ],
    [
      "trusts another authority of the same name",
      async () => filesOf(await ours.issue("client"), await newAuthority("ours", await mkdtemp(join(folder, "more-")))),
      "an authority that is not trusted here",
    ],
    [
      "trusts another authority",
      async () => filesOf(await ours.issue("client"), strange),
      "an authority that is not trusted here",
    ],
  ])("a client that %s is told so, and nothing was written", async (_, files, says) => {
    const url = await etcdWith(await ours.issue("server"), ours);
    const failed = await clientOf(url, await files())
      .put("/a", "1")
      .catch((error: unknown) => error);
    expect(failed).toMatchObject({
      code: "WRONG_CERTIFICATE",
      exitCode: 6,
      retryable: false,
      data: { endpoint: url, outcome: "none" },
    });
    expect(String(failed)).toContain(says);
  });

  test.each([
    [
      "has expired",
      () => ours.issue("old", undefined, { from: new Date(0), until: yesterday }),
      "shows a certificate that has expired",
    ],
    ["is another host's", () => ours.issue("other", ["other.example"]), "shows a certificate of another host"],
  ])("a server whose certificate %s is not spoken to", async (_, issue, says) => {
    const url = await etcdWith(await issue(), undefined);
    await expect(clientOf(url, { caFile: ours.certFile }).get("/a")).rejects.toThrow(says);
  });

  test("https at a server that does not speak TLS fails with a hint at that", async () => {
    const etcd = await started(await aloneConfig());
    await etcd.server.ready;
    const url = etcd.clients[0]!.replace("http:", "https:");
    await expect(clientOf(url, {}).get("/a", { timeoutMs: 500 })).rejects.toMatchObject({
      code: "UNREACHABLE",
      hint: "it hangs up on https: it may speak plain http, or be stopping",
    });
  });
});

test("files that are replaced count from the next connection on: nothing is started again", async () => {
  const [ours, strange] = [await newAuthority("ours"), await newAuthority("strange")];
  const folder = await temporaryFolder();
  const paths = { caFile: join(folder, "ca.pem"), certFile: join(folder, "cert.pem"), keyFile: join(folder, "key.pem") };
  const put = async (files: Required<TlsFiles>): Promise<void> => {
    for (const name of ["caFile", "certFile", "keyFile"] as const) await copyFile(files[name], paths[name]);
  };
  const url = await etcdWith(await ours.issue("server"), ours);
  const client = clientOf(url, paths);
  await put(filesOf(await strange.issue("client"), ours));
  await expect(client.get("/a")).rejects.toMatchObject({ code: "WRONG_CERTIFICATE" });
  await put(filesOf(await ours.issue("client"), ours));
  expect((await client.get("/a")).revision).toBe(1);
  // A connection that there is goes on; one that breaks is made anew with what is there then.
  await put(filesOf(await strange.issue("client"), ours));
  expect((await client.get("/a")).revision).toBe(1);
  client.endpoints.borrow(url).link.reset();
  await expect(client.get("/a")).rejects.toMatchObject({ code: "WRONG_CERTIFICATE" });
});

describe("checkTls()", () => {
  const names = { caFile: "ca", certFile: "cert", keyFile: "key" };

  test("files that can be used are no reason to throw", async () => {
    const ours = await newAuthority();
    await checkTls(filesOf(await ours.issue("leaf"), ours), names, new Date());
    await checkTls({}, names, new Date());
  });

  test.each<[string, (ours: Authority, leaf: Certificate) => Promise<[TlsFiles, Date?]>, RegExp]>([
    ["a certificate without key", async (_, { certFile }) => [{ certFile }], /Cannot use cert: it needs key beside it/],
    ["a key without certificate", async (_, { keyFile }) => [{ keyFile }], /Cannot use key: it needs cert beside it/],
    [
      "a file that is not there",
      async () => [{ caFile: "/nowhere/ca.pem" }],
      /Cannot use ca: \/nowhere\/ca.pem cannot be read: ENOENT/,
    ],
    [
      "a file that is no certificate",
      async (_, { keyFile }) => [{ caFile: keyFile }],
      /Cannot use ca: there is no certificate in /,
    ],
    [
      "the key of another certificate",
      async (ours, { certFile }) => [{ certFile, keyFile: (await ours.issue("other")).keyFile }],
      /Cannot use key: .* is no key of /,
    ],
    [
      "a certificate that has expired",
      async (ours, leaf) => [filesOf(leaf, ours), new Date(Date.now() + 800 * day)],
      /has expired at/,
    ],
    ["one that is not valid yet", async (ours, leaf) => [filesOf(leaf, ours), new Date(0)], /is valid from .* on only/],
  ])("%s is refused", async (_, make, says) => {
    const ours = await newAuthority();
    const [files, now = new Date()] = await make(ours, await ours.issue("leaf"));
    const failed = await checkTls(files, names, now).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "INVALID_OPTION" });
    expect(String(failed)).toMatch(says);
  });
});
