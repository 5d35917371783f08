import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { installFromApt } from "../../src/embed/store-apt.mjs";
import { storeFolder } from "../../src/embed/store-files.mjs";
import { archives, mirrorsOf, parseDeb822, parseOneLine, readSources } from "../../src/embed/store-sources.mjs";

const [debian, ubuntu] = archives;
if (debian === undefined || ubuntu === undefined) throw new Error("no archives");

describe("the machine's apt sources", () => {
  test("one line each: options, comments and other kinds of lines", () => {
    const text = `
# deb http://mirror.example.org/debian trixie main
deb http://mirror.example.org/debian trixie main contrib # the base
deb [arch=amd64 signed-by=/usr/share/keyrings/d.gpg] https://mirror.example/debian/ trixie-updates main
deb-src http://mirror.example.org/debian trixie main
deb cdrom:[Debian GNU/Linux 13]/ trixie main
deb https://packages.example/flat ./
`;
    expect(parseOneLine(text)).toEqual([
      { uri: "http://mirror.example.org/debian", suites: ["trixie"], components: ["main", "contrib"], signedBy: undefined },
      {
        uri: "https://mirror.example/debian/",
        suites: ["trixie-updates"],
        components: ["main"],
        signedBy: "/usr/share/keyrings/d.gpg",
      },
    ]);
  });

  test("deb822: several values, a disabled entry, a key within", () => {
    const text = `# Types: deb
Types: deb deb-src
URIs: http://archive.example.org/ubuntu/
Suites: noble
 noble-updates
Components: main universe
Signed-By: /a.gpg /b.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb
URIs: https://key.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQ
 -----END PGP PUBLIC KEY BLOCK-----
`;
    expect(parseDeb822(text)).toEqual([
      {
        uri: "http://archive.example.org/ubuntu/",
        suites: ["noble", "noble-updates"],
        components: ["main", "universe"],
        signedBy: "/a.gpg,/b.gpg",
      },
      {
        uri: "https://key.example/debian",
        suites: ["trixie"],
        components: ["main"],
        signedBy: "\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ\n-----END PGP PUBLIC KEY BLOCK-----",
      },
    ]);
  });

  test("a mirror is told from security archives, foreign repositories and other distributions", () => {
    const sources = parseOneLine(`
deb http://security.example.org/debian-security bookworm-security main
deb [signed-by=/docker.asc] https://download.docker.com/linux/debian bookworm stable
deb https://apt.postgresql.example/pub/repos/apt bookworm-pgdg main
deb https://packages.example.org/node_20.x nodistro main
deb mirror+file:/etc/apt/mirrors/debian.list bookworm main
deb http://proxy.example:3142/debian bookworm main
deb http://proxy.example:3142/debian bookworm-updates main
deb http://ports.example.org/ubuntu-ports noble main universe
`);
    expect(mirrorsOf(debian, sources).map(({ uri }) => uri)).toEqual([
      "http://proxy.example:3142/debian",
      "mirror+file:/etc/apt/mirrors/debian.list",
    ]);
    expect(mirrorsOf(ubuntu, sources).map(({ uri }) => uri)).toEqual(["http://ports.example.org/ubuntu-ports"]);
  });

  test("a machine without apt has no sources", () => {
    expect(readSources("/nowhere")).toEqual([]);
  });
});

describe.skipIf(!existsSync("/usr/bin/apt-get"))("a fetch that must fail", () => {
  let root: string;
  let env: NodeJS.ProcessEnv;
  let server: Server | undefined;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "quorate-apt-"));
    mkdirSync(join(root, "etc"));
    env = { ...process.env, XDG_CACHE_HOME: join(root, "cache") };
  });

  afterEach(() => {
    server?.close();
    server = undefined;
    rmSync(root, { recursive: true, force: true });
  });

  async function refusalOf(uri: string, signal?: AbortSignal): Promise<unknown> {
    writeFileSync(join(root, "etc/sources.list"), `deb ${uri} trixie main\n`);
    const refused = await installFromApt({ env, etc: join(root, "etc"), log: () => undefined, signal }).catch(
      (error: unknown) => error,
    );
    expect(readdirSync(storeFolder(env)), "nothing is left").toEqual([]);
    return refused;
  }

  /** A mirror of our own that has these files for every suite, and nothing else. */
  async function mirror(files: Readonly<Record<string, string>>): Promise<string> {
    const listening = createServer((request, response) => {
      const text = files[request.url?.split("/").at(-1) ?? ""];
      response.writeHead(text === undefined ? 404 : 200).end(text);
    });
    server = listening;
    await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(listening.address() as AddressInfo).port}/debian`;
  }

  test("a mirror that cannot be reached is named, and asked once only, whatever digits its port has", async () => {
    const port = 404;
    const uri = `http://127.0.0.1:${port}/debian`;
    expect(await refusalOf(uri)).toMatchObject({
      code: "NO_ETCD",
      message: `Cannot fetch etcd from debian forky: ${uri} cannot be reached`,
      hint: "check the network and apt's proxy setting",
    });
  });

  test("a mirror without a valid signature is not trusted", async () => {
    const release = "Origin: Debian\nSuite: testing\nCodename: forky\nComponents: main\nDate: Mon, 01 Jan 2024 00:00:00 UTC\n";
    const forged = `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${release}-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n`;
    const refused = "its signature cannot be verified with the keys of this machine";
    const unsigned = await mirror({ Release: release });
    expect(await refusalOf(unsigned)).toMatchObject({ code: "NO_ETCD", message: expect.stringContaining(refused) as string });
    server?.close();
    const signed = await mirror({ InRelease: forged });
    expect(await refusalOf(signed)).toMatchObject({ code: "NO_ETCD", message: expect.stringContaining(refused) as string });
  });

  test("a mirror without the suite says so", async () => {
    const uri = await mirror({});
    expect(await refusalOf(uri)).toMatchObject({
      code: "NO_ETCD",
      message: `Cannot fetch etcd from debian forky: ${uri} has no such suite`,
    });
  });

  test("sources that name no archive say so", async () => {
    writeFileSync(join(root, "etc/sources.list"), "deb https://packages.example.org/node_20.x nodistro main\n");
    await expect(installFromApt({ env, etc: join(root, "etc"), log: () => undefined })).rejects.toThrow(
      "the apt sources of this machine name no mirror of Debian or Ubuntu",
    );
  });

  test("an abort ends it and leaves nothing", async () => {
    const stop = new AbortController();
    const silent = createServer(() => stop.abort(new Error("stopped")));
    server = silent;
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const uri = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/debian`;
    expect(await refusalOf(uri, stop.signal)).toMatchObject({ message: "stopped" });
    silent.closeAllConnections();
  });
});
