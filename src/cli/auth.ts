import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { systemClock } from "../clock.ts";
import { messageOf, QuorateError } from "../errors.ts";
import { endOf, type Keys } from "../keys.ts";
import { batchMarkers, EtcdClient, reasonOf, type Rpcs } from "../etcd/index.ts";
import { withCluster, type Cluster } from "./client.ts";
import { lookAtCluster } from "./cluster.ts";
import type { Io } from "./io.ts";
import type { ClientSettings } from "./options.ts";
import { plain } from "./output.ts";
import { reachOf } from "./reach.ts";
import { wayBy } from "./way.ts";

/** Whom people, agents and programs log in as: each with the file of its password in the folder. */
const users = { root: "root", agent: "quorate-agent", world: "quorate-world" } as const;
const worldRole = "quorate-world";
const timeoutMs = 10_000;

/**
 * `quorate auth init`: users and roles, and then authentication itself, once every agent logs in. What is there already stays, so that it can be
 * run again.
 */
export async function init(settings: ClientSettings & { readonly passwords: string | undefined }, io: Io): Promise<number> {
  if (settings.passwords === undefined) {
    throw new QuorateError(
      "INVALID_OPTION",
      "Cannot set authentication up: --passwords=DIR must name a folder for the passwords",
      {
        hint: "a password that is not in it yet is made; keep the folder where only you can read it",
      },
    );
  }
  const folder = resolve(settings.passwords);
  return withCluster(settings, async (cluster) => {
    const { keys } = cluster;
    const passwords = await passwordsIn(folder);
    await makeRole(cluster, worldRole, worldPermissions(keys));
    await makeUser(cluster, users.root, passwords.root, "root");
    // etcd lets nobody change members who has not this role.
    await makeUser(cluster, users.agent, passwords.agent, "root");
    await makeUser(cluster, users.world, passwords.world, worldRole);
    await assertAgentsLogIn(cluster, folder);
    await ask(cluster, "turn authentication on", ({ auth }) => auth.authEnable());
    await assertLogins(settings, cluster, folder);
    io.out(
      [
        `authentication is on: who does not log in is refused`,
        `people    --user=${users.root} --password-file=${plain(join(folder, "root"))}`,
        `agents    --user=${users.agent} --password-file=${plain(join(folder, "agent"))}`,
        `programs  --user=${users.world} --password-file=${plain(join(folder, "world"))}, which may use the World under ${keys.namespace}`,
        "",
      ].join("\n"),
    );
    return 0;
  });
}

type Passwords = Readonly<Record<keyof typeof users, string>>;

/** @throws QuorateError INVALID_OPTION */
async function passwordsIn(folder: string): Promise<Passwords> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const found: Partial<Record<keyof typeof users, string>> = {};
    for (const who of ["root", "agent", "world"] as const) found[who] = await passwordIn(join(folder, who));
    return found as Passwords;
  } catch (error) {
    if (error instanceof QuorateError) throw error;
    throw new QuorateError("INVALID_OPTION", `Cannot use --passwords: ${messageOf(error)}`, { cause: error });
  }
}

async function passwordIn(file: string): Promise<string> {
  const made = randomBytes(24).toString("base64url");
  try {
    await writeFile(file, `${made}\n`, { mode: 0o600, flag: "wx" });
    return made;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const password = (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  if (password === "") throw new QuorateError("INVALID_OPTION", `Cannot use --passwords: ${file} is empty`);
  return password;
}

interface Permission {
  readonly permType: "Read" | "Readwrite";
  readonly start: string;
  readonly end: string;
}

/** What programs need: all of the namespace to read, and what the World owns to write. Seats and who leads are not theirs. */
function worldPermissions(keys: Keys): readonly Permission[] {
  const { namespace, world, fs, idealClusterSize } = keys;
  const under = (prefix: string): { readonly start: string; readonly end: string } => ({ start: prefix, end: endOf(prefix) });
  const blobs = fs.objects.prefix.slice(0, -"objects/".length);
  const written = [...world, under(blobs), { start: idealClusterSize, end: "" }, under(batchMarkers)];
  return [
    { permType: "Read", ...under(`${namespace}/`) },
    ...written.map((range) => ({ permType: "Readwrite" as const, ...range })),
  ];
}

async function makeRole(cluster: Cluster, name: string, permissions: readonly Permission[]): Promise<void> {
  await unlessThere(ask(cluster, `make the role ${name}`, ({ auth }) => auth.roleAdd({ name })));
  for (const { permType, start, end } of permissions) {
    const perm = { permType, key: Buffer.from(start), range_end: Buffer.from(end) };
    await ask(cluster, `grant ${start} to ${name}`, ({ auth }) => auth.roleGrantPermission({ name, perm }));
  }
}

/** One that is there has that password from now on: nobody has logged in by it yet. */
async function makeUser(cluster: Cluster, name: string, password: string, role: string): Promise<void> {
  const isNew = await unlessThere(ask(cluster, `make the user ${name}`, ({ auth }) => auth.userAdd({ name, password })));
  if (!isNew) await ask(cluster, `set the password of ${name}`, ({ auth }) => auth.userChangePassword({ name, password }));
  if (role === "root") await unlessThere(ask(cluster, "make the role root", ({ auth }) => auth.roleAdd({ name: "root" })));
  await ask(cluster, `give ${name} the role ${role}`, ({ auth }) => auth.userGrantRole({ user: name, role }));
}

/** False where it was there already. */
async function unlessThere(asked: Promise<unknown>): Promise<boolean> {
  try {
    await asked;
    return true;
  } catch (error) {
    if (reasonOf(error).includes("already exists")) return false;
    throw error;
  }
}

async function ask<T>({ client, signal }: Cluster, what: string, call: (rpcs: Rpcs) => Promise<T>): Promise<T> {
  try {
    return await client.caller.run({ what, repeatable: true, writes: true }, { signal, timeoutMs }, call);
  } catch (error) {
    if (!/user name is empty|user name not found|permission denied/.test(reasonOf(error))) throw error;
    throw new QuorateError("REFUSED", `Cannot ${what}: authentication is on already`, {
      cause: error,
      hint: "users and roles are changed with `quorate etcdctl user` and `role`, as root",
    });
  }
}

/** An agent that does not log in would lose its keys, and its seat with them. @throws QuorateError REFUSED */
async function assertAgentsLogIn({ client, keys, signal }: Cluster, folder: string): Promise<void> {
  const { hosts } = await lookAtCluster(client, keys, signal);
  const without = hosts
    .filter((host) => host.agent !== undefined && host.agent.user !== users.agent)
    .map(({ name }) => name)
    .toSorted();
  if (without.length === 0) return;
  throw new QuorateError("REFUSED", `Cannot turn authentication on: ${without.join(", ")} would be shut out`, {
    hint: `start each again with --user=${users.agent} --password-file=FILE, where FILE holds what ${join(folder, "agent")} does; then run this again`,
    data: { agents: without },
  });
}

/** @throws QuorateError FAILED */
async function assertLogins(settings: ClientSettings, { client, keys, signal }: Cluster, folder: string): Promise<void> {
  const { tls, socket } = await reachOf(settings);
  for (const who of ["root", "agent", "world"] as const) {
    const way = await wayBy({ ssh: settings.ssh, tls, socket }, signal);
    await using own = EtcdClient.create({
      endpoints: client.endpoints.urls(),
      clock: systemClock,
      ...way,
      login: { user: users[who], password: { file: join(folder, who) } },
    });
    await own.get(keys.cluster, { signal, timeoutMs });
  }
}
