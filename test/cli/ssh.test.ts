import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { keysUnder } from "../../src/keys.ts";
import { quorate } from "../support/command.ts";
import { eventually } from "../support/eventually.ts";
import { Process } from "../support/process.ts";
import { freePorts } from "../support/ports.ts";
import { newKey, startSsh2, type TestSshd } from "../support/sshd.ts";

let etcd: TestCluster;
let gate: TestSshd;
let flags: readonly string[];
/** Only the gate knows that host. */
const far = "http://etcd1.far:2379";
beforeAll(async () => {
  etcd = await startEtcd(1, { flags: ["--advertise-client-urls", far] });
  const served = new URL(etcd.urls[0]!).host;
  gate = await startSsh2({ hosts: { "etcd1.far:2379": served, "127.0.0.1:2379": served } });
  const { user, port, identity, knownHosts } = gate.login;
  flags = ["--ssh-url", `ssh://${user}@127.0.0.1:${port}`, "--ssh-identity", identity, "--ssh-known-hosts", knownHosts];
});
afterAll(async () => {
  await gate[Symbol.asyncDispose]();
  await etcd.stop();
});

/** A command on the far endpoint, with what is to be different of the ssh flags. */
const there = (words: string, changes: readonly string[] = []) =>
  quorate([...words.split(" "), "--endpoints", far, ...flags, ...changes]);

describe("--ssh-url", () => {
  test("reaches a cluster that only that host sees, with every command that asks one", async () => {
    expect(await there("world str set motd hello")).toMatchObject({ code: 0 });
    expect(await there("world str get motd")).toMatchObject({ code: 0, out: "hello\n" });
    const members = await there("members -o json");
    expect(members.code).toBe(0);
    expect(members.out).toContain(far);
    const status = await there("status --endpoints-health -o json");
    expect(status.err).toBe("");
    expect(status.out).toContain(far);
    for (const words of ["size", "plan", "events", "policy get", "world strmap get address -o json", "world deploy ls"]) {
      const said = await there(words);
      expect(said.err, words).not.toMatch(/ssh|reach|answer/);
    }
  });

  test("without --endpoints means the etcd on that host, and is a variable too", async () => {
    const { user, port, identity, knownHosts } = gate.login;
    const env = {
      QUORATE_SSH_URL: `ssh://${user}@127.0.0.1:${port}`,
      QUORATE_SSH_IDENTITY: identity,
      QUORATE_SSH_KNOWN_HOSTS: knownHosts,
    };
    await there("world str set motd hello");
    expect(await quorate("world str get motd", { env })).toMatchObject({ code: 0, out: "hello\n" });
  });

  test("with a wrong host key ends with 6 and both fingerprints, and is told before anything else", async () => {
    const wrong = newKey();
    for (const words of ["members", "world str get motd"]) {
      const { code, err } = await there(words, ["--ssh-host-key", wrong.fingerprint]);
      expect(code).toBe(6);
      expect(err).toContain(
        `it shows the host key ${gate.hostKey.fingerprint} (ssh-ed25519), and its key is ${wrong.fingerprint}`,
      );
      expect(err).toContain("  hint: ");
    }
  });

  test("with a host that is not there ends with 3, with a key that is none with 6, and says so", async () => {
    const [port] = (await freePorts(1)) as [number];
    const gone = await there("members", ["--ssh-url", `ssh://me@127.0.0.1:${port}`]);
    expect(gone).toMatchObject({ code: 3 });
    expect(gone.err).toBe(`error: Cannot log in at me@127.0.0.1:${port}: it cannot be reached\n  cause: connection refused\n`);
    const keyless = await there("members", ["--ssh-identity", "/nowhere"]);
    expect(keyless).toMatchObject({ code: 6 });
    expect(keyless.err).toContain("/nowhere cannot be read: ENOENT");
  });

  test("an endpoint that nobody serves there is named as the far side names it", async () => {
    const [port] = (await freePorts(1)) as [number];
    const said = await quorate(["members", "--endpoints", `http://127.0.0.1:${port}`, ...flags]);
    expect(said.code).toBe(3);
    expect(said.err).toContain(`http://127.0.0.1:${port}`);
  });

  test("beside the prefix of an agent on this host is a contradiction", async () => {
    expect(await quorate(["world", "str", "get", "motd", "--prefix", "/nowhere", ...flags])).toMatchObject({ code: 2 });
    expect((await quorate("members --ssh-jump gate")).err).toContain("Cannot use --ssh-jump: there is no --ssh-url");
  });

  test("etcdctl goes that way by the variables, and no other way beside them", async () => {
    await there("world str set motd hello");
    const { user, port, identity, knownHosts } = gate.login;
    const env = {
      ...process.env,
      QUORATE_SSH_URL: `ssh://${user}@127.0.0.1:${port}`,
      QUORATE_SSH_IDENTITY: identity,
      QUORATE_SSH_KNOWN_HOSTS: knownHosts,
      QUORATE_ENDPOINTS: far,
    };
    const etcdctl = (...args: string[]) => new Process("etcdctl", [process.execPath, "bin/quorate.js", "etcdctl", ...args], env);
    const read = await etcdctl("get", "--print-value-only", keysUnder("/_mgmt").strings.str("motd")).end(30_000);
    expect(read).toMatchObject({ code: 0, stdout: "hello\n" });
    const past = await etcdctl("--endpoints", far, "get", "x").end(30_000);
    expect(past).toMatchObject({ code: 2 });
    expect(past.stderr).toContain("its own --endpoints would go past QUORATE_SSH_URL");
  });

  test("leaves nobody logged in", async () => {
    await eventually("all are gone", () => gate.sessions === 0);
  });
});
