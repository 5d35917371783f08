import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { chownSync, cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import ssh2 from "ssh2";
import type { Connection } from "ssh2";
import { findProgram } from "../../scripts/programs.mjs";
import type { SshLogin } from "../../src/ssh/index.ts";
import { eventually } from "./eventually.ts";
import { freePorts } from "./ports.ts";
import { childrenOf } from "./process.ts";

export type Key = ReturnType<typeof newKey>;

/** A host to log in at, on 127.0.0.1. */
export interface TestSshd extends AsyncDisposable {
  readonly kind: "openssh" | "ssh2";
  readonly port: number;
  /** How to log in, with a file of known hosts that has its key. */
  readonly login: SshLogin & { readonly identity: string; readonly knownHosts: string; readonly user: string };
  /** The file of `login` that may log in, and where else it may be used. */
  readonly hostKey: Key;
  /** How many are logged in, or on their way. */
  readonly sessions: number;
  /** Ends every connection without a word, as a host that loses its power does. */
  kill(): void;
}

export interface SshdOptions {
  /** `HOST:PORT` that it forwards to. Default: everything. */
  readonly permitOpen?: readonly string[];
  readonly forwarding?: boolean;
}

/** A new pair of keys: ours and the public one as files have them, and its fingerprint. */
export function newKey(): { readonly private: string; readonly public: string; readonly fingerprint: string } {
  let pair = ssh2.utils.generateKeyPairSync("ed25519");
  // Of some keys it writes what nobody can read: those whose numbers begin with a zero (ssh2 1.17).
  while (ssh2.utils.parseKey(pair.private) instanceof Error) pair = ssh2.utils.generateKeyPairSync("ed25519");
  const blob = Buffer.from(pair.public.split(" ")[1] ?? "", "base64");
  const fingerprint = `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=$/, "")}`;
  return { private: pair.private, public: pair.public.trim(), fingerprint };
}

/**
 * A real sshd as an unprivileged user, with keys of its own, or where that cannot be the server of the ssh2 package. What is in use
 * stands in `kind`.
 */
export async function startSshd(options: SshdOptions = {}): Promise<TestSshd> {
  const binary = findProgram("sshd");
  for (const usePam of binary === undefined ? [] : [false, true]) {
    const sshd = await startOpenSsh(binary!, usePam, options).catch(() => undefined);
    if (sshd !== undefined) return sshd;
  }
  return await startSsh2(options);
}

const leftovers = new Set<number>();
process.on("exit", () => {
  for (const pid of leftovers) killTree(pid);
});

async function startOpenSsh(binary: string, usePam: boolean, options: SshdOptions): Promise<TestSshd> {
  const [port] = (await freePorts(1)) as [number];
  const folder = mkdtempSync(join(tmpdir(), "quorate-sshd-"));
  const [hostKey, identity] = [newKey(), newKey()];
  const isRoot = process.getuid?.() === 0;
  const { uid, gid, user } = isRoot ? nobody() : { ...userInfo(), user: userInfo().username };
  await chmod(folder, 0o755);
  // Only this user may enter where it was unpacked, and it does not run as root.
  const own = join(folder, "sshd");
  if (binary !== "/usr/sbin/sshd") cpSync(dirname(binary), folder, { recursive: true });
  const lines = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${join(folder, "host")}`,
    `AuthorizedKeysFile ${join(folder, "authorized")}`,
    "StrictModes no",
    `UsePAM ${usePam ? "yes" : "no"}`,
    "PidFile none",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "MaxStartups 100",
    ...(options.forwarding === false ? ["AllowTcpForwarding no"] : []),
    ...(options.permitOpen === undefined ? [] : [`PermitOpen ${options.permitOpen.join(" ")}`]),
    // What newer versions are made of.
    ...["sshd-session", "sshd-auth"].flatMap((name) =>
      readdirSync(folder).includes(name)
        ? [`${name === "sshd-auth" ? "SshdAuthPath" : "SshdSessionPath"} ${join(folder, name)}`]
        : [],
    ),
  ];
  writeFileSync(join(folder, "config"), `${lines.join("\n")}\n`);
  writeFileSync(join(folder, "authorized"), `${identity.public}\n`);
  writeFileSync(join(folder, "host"), hostKey.private, { mode: 0o600 });
  if (isRoot) chownSync(join(folder, "host"), uid, gid);
  const child = spawn(binary === "/usr/sbin/sshd" ? binary : own, ["-D", "-e", "-f", join(folder, "config")], {
    stdio: ["ignore", "ignore", "ignore"],
    env: { ...process.env, LD_LIBRARY_PATH: folder },
    ...(isRoot ? { uid, gid } : {}),
  });
  const pid = child.pid ?? 0;
  if (pid > 0) leftovers.add(pid);
  const files = await filesOf(port, hostKey, identity);
  const stop = async (): Promise<void> => {
    killTree(pid);
    leftovers.delete(pid);
    if (pid > 0 && child.exitCode === null && child.signalCode === null)
      await new Promise((resolve) => child.once("exit", resolve));
    rmSync(folder, { recursive: true, force: true });
    await files.remove();
  };
  const sshd: TestSshd = {
    kind: "openssh",
    port,
    login: { host: "127.0.0.1", port, user, ...files.paths },
    hostKey,
    get sessions() {
      return childrenOf(pid).length;
    },
    kill: () => {
      // A login is a watchman, and a process below it that holds the connection.
      for (const session of childrenOf(pid)) killTree(session);
    },
    [Symbol.asyncDispose]: stop,
  };
  try {
    await listens(port, child);
    await logsIn(port, user, identity);
    await eventually("the first login is over", () => sshd.sessions === 0);
    return sshd;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The one of the package. `hosts`: what only it knows, `HOST:PORT` by `HOST:PORT`. */
export async function startSsh2(
  options: SshdOptions & { readonly hosts?: Readonly<Record<string, string>> } = {},
): Promise<TestSshd> {
  const [hostKey, identity] = [newKey(), newKey()];
  const user = userInfo().username;
  const connections = new Map<Connection, Socket | undefined>();
  const far = new Set<Socket>();
  const allowed = ssh2.utils.parseKey(identity.public);
  if (allowed instanceof Error) throw allowed;
  const server = new ssh2.Server({ hostKeys: [hostKey.private] }, (connection) => {
    connections.set(connection, undefined);
    connection.on("error", () => undefined);
    connection.once("close", () => connections.delete(connection));
    connection.on("authentication", (attempt) => {
      const isOurs =
        attempt.method === "publickey" &&
        attempt.username === user &&
        attempt.key.data.equals(allowed.getPublicSSH()) &&
        (attempt.signature === undefined || allowed.verify(attempt.blob!, attempt.signature, attempt.hashAlgo));
      if (isOurs) attempt.accept();
      else attempt.reject(["publickey"]);
    });
    connection.on("tcpip", (accept, reject, { destIP, destPort }) => {
      if (options.forwarding === false || options.permitOpen?.includes(`${destIP}:${destPort}`) === false) {
        refuse(connection, reject, 1, "open failed");
        return;
      }
      const meant = new URL(`tcp://${options.hosts?.[`${destIP}:${destPort}`] ?? `${destIP}:${destPort}`}`);
      const socket = connect({ host: meant.hostname, port: Number(meant.port), noDelay: true });
      far.add(socket);
      socket.once("close", () => far.delete(socket));
      socket.once("error", () => {
        refuse(connection, reject, 2, "Connection refused");
      });
      socket.once("connect", () => {
        const channel = accept();
        channel.on("error", () => undefined);
        channel.once("close", () => socket.destroy());
        socket.once("close", () => channel.close());
        channel.pipe(socket).pipe(channel);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const { port } = server.address() as { port: number };
  const files = await filesOf(port, hostKey, identity);
  const killAll = (): void => {
    for (const connection of connections.keys()) {
      (connection as unknown as { _sock: Socket })._sock.resetAndDestroy();
    }
    for (const socket of far) socket.destroy();
  };
  return {
    kind: "ssh2",
    port,
    login: { host: "127.0.0.1", port, user, ...files.paths },
    hostKey,
    get sessions() {
      return connections.size;
    },
    kill: killAll,
    [Symbol.asyncDispose]: async () => {
      killAll();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await files.remove();
    },
  };
}

async function filesOf(
  port: number,
  hostKey: Key,
  identity: Key,
): Promise<{ paths: { identity: string; knownHosts: string }; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "quorate-ssh-"));
  const paths = { identity: join(folder, "id"), knownHosts: join(folder, "known_hosts") };
  await writeFile(paths.identity, identity.private, { mode: 0o600 });
  await writeFile(paths.knownHosts, `[127.0.0.1]:${port} ${hostKey.public}\n`);
  return { paths, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** With a reason of RFC 4254, 5.1 (1: prohibited, 2: failed), and a text, of which the package lets a server say neither. */
function refuse(connection: Connection, reject: () => void, reason: number, text: string): void {
  type Fail = (channel: number, reason: number, text: string) => void;
  const { _protocol: protocol } = connection as unknown as { readonly _protocol: { channelOpenFail: Fail } };
  const fail = protocol.channelOpenFail.bind(protocol);
  protocol.channelOpenFail = (channel) => {
    fail(channel, reason, text);
  };
  reject();
  protocol.channelOpenFail = fail;
}

/** Whoever may log in there has a line of its own; without one nobody is known. */
function nobody(): { uid: number; gid: number; user: string } {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((text) => text.startsWith("nobody:"));
  const [user = "", , uid, gid] = line?.split(":") ?? [];
  if (user === "") throw new Error("There is no user nobody");
  return { uid: Number(uid), gid: Number(gid), user };
}

async function listens(port: number, child: ChildProcess): Promise<void> {
  let failed: Error | undefined;
  child.once("error", (error) => (failed = error));
  await eventually("sshd listens", async () => {
    if (failed !== undefined || child.exitCode !== null) throw failed ?? new Error(`sshd ended with ${child.exitCode}`);
    return await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
      socket.once("close", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  });
}

/** What an sshd without its user, its files or its passwords refuses. */
async function logsIn(port: number, username: string, identity: Key): Promise<void> {
  const client = new ssh2.Client();
  try {
    await new Promise<void>((resolve, reject) => {
      client.on("error", reject);
      client.once("ready", () => resolve());
      client.connect({ host: "127.0.0.1", port, username, privateKey: identity.private, readyTimeout: 10_000 });
    });
  } finally {
    client.end();
  }
}

function killTree(pid: number): void {
  if (pid === 0) return;
  kill(pid, "SIGSTOP");
  for (const child of childrenOf(pid)) killTree(child);
  kill(pid);
}

function kill(pid: number, signal: NodeJS.Signals = "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}
