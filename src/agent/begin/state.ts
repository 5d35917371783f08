import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { access, chmod, constants, mkdir, mkdtemp, open, readFile, rename, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { dirname, join } from "node:path";
import { z } from "zod";
import { QuorateError, messageOf } from "../../errors.ts";
import { quote } from "../../keys.ts";
import { startsSchema } from "./crashes.ts";
import { heldSchema } from "./expect.ts";

/** What an agent keeps on disk beside its etcd's data: who it is, and which cluster it belongs to. */
const stateSchema = z.object({
  schema: z.literal(1),
  hostname: z.string(),
  /** For the life of the prefix. */
  identity: z.string(),
  /** For the life of the data folder: a new one whenever that starts anew. */
  instance: z.string(),
  /** The cluster it belongs to; absent before it has joined or founded one. */
  clusterId: z.string().optional(),
  /** The seat its data folder belongs to. */
  seat: z.object({ memberId: z.string(), token: z.string() }).optional(),
  /** Whether its server started with etcd's own strict check last: the cluster's policy is not known before anybody is asked. */
  strictReconfigCheck: z.boolean().optional(),
  /** Hosts that hold the data, as it was known when this agent ended: to be started before or with it. */
  startFirst: z.array(z.string()).optional(),
  /** Client URLs that served last. */
  endpoints: z.array(z.string()),
  /** The files that its agent reaches them with, for programs of this host; absent where they speak plain http. */
  tls: z.object({ caFile: z.string().optional(), certFile: z.string().optional(), keyFile: z.string().optional() }).optional(),
  /** Whom it logs in as, and where the password is. */
  login: z.object({ user: z.string(), password: z.object({ file: z.string() }) }).optional(),
  /** The unix socket that its server is behind, where it has no network. */
  socket: z.string().optional(),
  /** The machine it was made on; absent where that has no name. */
  machine: z.string().max(100).optional(),
  /** What it holds of an agreement on who founds a cluster, until it has one. */
  expecting: heldSchema.optional(),
  /** Starts of this agent that no orderly end has followed. */
  starts: startsSchema.optional(),
});
export type AgentState = z.infer<typeof stateSchema>;

/** The folder of one agent: locked while this object lives. Disposing of it unlocks; a temporary prefix is removed. */
export interface Prefix extends AsyncDisposable {
  readonly folder: string;
  readonly dataDir: string;
  readonly state: AgentState;
  /** Changes the state, on disk first by an atomic rename. Calls are carried out in order. */
  save(change: { [K in keyof AgentState]?: AgentState[K] | undefined }): Promise<void>;
}

class LockedFolder implements Prefix {
  readonly folder: string;
  readonly dataDir: string;
  readonly #temporary: boolean;
  readonly #lock: Server;
  #state: AgentState;
  #saving: Promise<void> = Promise.resolve();

  private constructor(folder: string, temporary: boolean, lock: Server, state: AgentState) {
    this.folder = folder;
    this.dataDir = join(folder, "server");
    this.#temporary = temporary;
    this.#lock = lock;
    this.#state = state;
  }

  /**
   * Makes the folder (0700) where it is missing, locks it, and reads its state.
   *
   * @throws QuorateError PREFIX_UNUSABLE (cannot be made or written, or holds another host's state), PREFIX_IN_USE.
   */
  static async open(this: void, folder: string | undefined, temporaryRoot: string, hostname: string): Promise<Prefix> {
    let path = folder ?? temporaryRoot;
    try {
      if (folder === undefined) path = await mkdtemp(temporaryRoot);
      await makeFolder(path);
      await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
      if (folder === undefined) await chmod(path, 0o700);
    } catch (cause) {
      throw new QuorateError("PREFIX_UNUSABLE", `Cannot use the prefix ${path}: it cannot be written`, {
        cause,
        hint: "choose another with --prefix=/absolute/folder, or --tmp-prefix for a trial",
        data: { option: "prefix" },
      });
    }
    const lock = await lockFolder(path);
    try {
      const state = await readState(join(path, "state.json"), hostname);
      const prefix = new LockedFolder(path, folder === undefined, lock, state ?? freshState(hostname, randomUUID));
      if (!state) await prefix.save({});
      return prefix;
    } catch (error) {
      await unlock(lock);
      throw error;
    }
  }

  get state(): AgentState {
    return this.#state;
  }

  save(change: { [K in keyof AgentState]?: AgentState[K] | undefined }): Promise<void> {
    const saved = this.#saving.then(async () => {
      const next = stateSchema.parse({ ...this.#state, ...change });
      await writeState(join(this.folder, "state.json"), next);
      this.#state = next;
    });
    // A disk that was full once must not fail every later save.
    this.#saving = saved.catch(() => undefined);
    return saved;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#saving;
    await unlock(this.#lock);
    if (this.#temporary) await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

export const Prefix = { open: LockedFolder.open };

/** Node's own recursive mkdir never returns where the file system denies that the parent it has just seen exists, as /proc does. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || existsSync(dirname(path))) throw error;
    await makeFolder(dirname(path));
    await mkdir(path, { mode: 0o700 });
  }
}

/** For programs of this host: what the cluster is reached with. */
export async function noteFiles(
  prefix: Prefix,
  files: { readonly [K in "tls" | "login" | "socket"]: AgentState[K] },
): Promise<void> {
  const { tls, login, socket } = prefix.state;
  if (JSON.stringify([tls, login, socket]) !== JSON.stringify([files.tls, files.login, files.socket])) await prefix.save(files);
}

export function freshState(hostname: string, newId: () => string): AgentState {
  return { schema: 1, hostname, identity: newId(), instance: newId(), endpoints: [] };
}

async function readState(file: string, hostname: string): Promise<AgentState | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new QuorateError("PREFIX_UNUSABLE", `Cannot read ${file}`, {
      cause,
      hint: "give the agent's user the right to read it",
    });
  }
  let state: AgentState;
  try {
    state = stateSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new QuorateError("PREFIX_UNUSABLE", `Cannot use ${file}: it is damaged`, {
      cause: cause instanceof SyntaxError ? cause : new Error(messageOf(cause)),
      hint: "move the prefix aside and start again: the agent then joins as a new one",
    });
  }
  if (state.hostname !== hostname) {
    throw new QuorateError(
      "PREFIX_UNUSABLE",
      `Cannot use the state in ${file}: it belongs to host ${quote(state.hostname)}, not ${quote(hostname)}`,
      {
        hint: `start with --hostname=${state.hostname}, or with another --prefix`,
      },
    );
  }
  return state;
}

async function writeState(file: string, state: AgentState): Promise<void> {
  const next = `${file}.next`;
  const handle = await open(next, "w", 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(state, undefined, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(next, file);
  // A rename survives a power cut once its folder is on disk too.
  const folder = await open(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** A lock that cannot outlive its process: a unix socket in the abstract namespace, named by the folder; there is no file to go stale. */
async function lockFolder(folder: string): Promise<Server> {
  const name = `\0quorate-prefix:${await identityOf(folder)}`;
  // Anyone on this host may connect, and must neither keep it open nor make it fail.
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(name, resolve);
    });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE") throw cause;
    throw new QuorateError("PREFIX_IN_USE", `Cannot use the prefix ${folder}: another agent of this machine uses it`, {
      hint: "for a second agent on this host add --tmp-prefix (or another --prefix), --hostname, --client-urls and --server-urls",
    });
  }
  server.unref();
  return server;
}

async function unlock(lock: Server): Promise<void> {
  await new Promise((resolve) => lock.close(resolve));
}

/** Device and inode: the same folder under any name. */
async function identityOf(folder: string): Promise<string> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const { dev, ino } = await handle.stat({ bigint: true });
    return `${dev}:${ino}`;
  } finally {
    await handle.close();
  }
}
