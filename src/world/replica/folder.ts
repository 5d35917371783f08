import { createHash, randomBytes } from "node:crypto";
import { constants, readFileSync } from "node:fs";
import { access, chmod, chown, mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { messageOf, QuorateError } from "../../errors.ts";
import { nameOf } from "../../ssh/index.ts";
import type { SshRoute } from "../../ssh/index.ts";
import { isSeal } from "./seal.ts";
import type { Seal } from "./seal.ts";

/** What lies beside the file: what it is of, and where its cluster can be found. */
export interface FolderRecord {
  readonly namespace: string;
  readonly clusterId: string;
  readonly endpoints: readonly string[];
  /** See Meta. */
  readonly history: string;
  /** Name of the file in force. */
  readonly file: string;
  /** Clusters, in hex, that the present one was followed from: who still knows one of them means this one. */
  readonly predecessors: readonly string[];
  /** Of that file, where its feeder has ended in good order. */
  readonly seal?: Seal;
}

/** A unix socket's path has 107 bytes at most. */
const longestSocketPath = 100;

/** A file, or the lock file beside it. */
const ofName = /^(data-(\d+)-[0-9a-f]{8}\.mdb)(?:-lock)?$/;

/** The folder of one replica: its file, the record beside it, the lock and the socket of its feeder. */
export class ReplicaFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes the folder, for its owner alone or for a group too.
   *
   * @throws QuorateError PREFIX_UNUSABLE
   */
  async make(group: string | undefined): Promise<void> {
    try {
      await mkdir(this.path, { recursive: true, mode: 0o700 });
      if (group === undefined) return;
      await chown(this.path, -1, groupId(group));
      // What is made in it belongs to the group.
      await chmod(this.path, 0o2770);
    } catch (error) {
      const hint = group === undefined ? "Use another folder" : `Only root and members of ${group} may give it to that group`;
      throw new QuorateError("PREFIX_UNUSABLE", `Cannot use ${this.path} for the replica: ${codeOf(error)}`, {
        cause: error,
        hint,
        data: { folder: this.path },
      });
    }
  }

  /** Why this process may not use the folder; undefined where it may, or where there is none yet. */
  async whyNotUsable(): Promise<string | undefined> {
    try {
      await access(this.path, constants.R_OK | constants.W_OK | constants.X_OK);
      return undefined;
    } catch (error) {
      return codeOf(error) === "ENOENT" ? undefined : `${this.path} may not be read by this user (${codeOf(error)})`;
    }
  }

  /** Undefined where there is none, or none that can be understood. */
  async record(): Promise<FolderRecord | undefined> {
    try {
      const {
        namespace,
        clusterId,
        endpoints,
        history,
        file,
        predecessors = [],
        seal,
      } = JSON.parse(await readFile(this.#recordPath, "utf8")) as Omit<FolderRecord, "predecessors"> & Partial<FolderRecord>;
      const sound =
        [namespace, clusterId, history, file].every((text) => typeof text === "string") && ofName.exec(file)?.[1] === file;
      if (!sound || !Array.isArray(endpoints) || !Array.isArray(predecessors)) return undefined;
      return { namespace, clusterId, endpoints, history, file, predecessors, ...(isSeal(seal) ? { seal } : {}) };
    } catch {
      return undefined;
    }
  }

  /** Whole or as it was before. */
  async writeRecord(record: FolderRecord, mode: number): Promise<void> {
    const temporary = `${this.#recordPath}.new`;
    await writeFile(temporary, `${JSON.stringify(record)}\n`, { mode });
    await rename(temporary, this.#recordPath);
  }

  /** The next name of a file, behind all there are. Never one that was used before: who has that one open would take it for the same. */
  async nextFile(): Promise<string> {
    const numbers = (await readdir(this.path)).map((name) => Number(ofName.exec(name)?.[2] ?? 0));
    return `data-${Math.max(0, ...numbers) + 1}-${randomBytes(4).toString("hex")}.mdb`;
  }

  /** Removes every file but one. Who has one open keeps what it holds. */
  async removeFiles(but: string | undefined): Promise<void> {
    for (const name of await readdir(this.path)) {
      const file = ofName.exec(name)?.[1];
      if (file !== undefined && file !== but) await rm(join(this.path, name), { force: true });
    }
  }

  filePath(file: string): string {
    return join(this.path, file);
  }

  get lockPath(): string {
    return join(this.path, "feeder.lock");
  }

  /** Where the feeder listens. `release` once the socket is bound or connected. */
  async socketPath(): Promise<{ readonly path: string; readonly release: () => Promise<void> }> {
    const path = join(this.path, "feeder.sock");
    if (Buffer.byteLength(path) <= longestSocketPath) return { path, release: async () => undefined };
    const handle: FileHandle = await open(this.path, constants.O_RDONLY | constants.O_DIRECTORY);
    return { path: `/proc/self/fd/${handle.fd}/feeder.sock`, release: () => handle.close() };
  }

  get #recordPath(): string {
    return join(this.path, "replica.json");
  }
}

/** Where the programs of this user keep their replicas that have no other folder. */
export function ownFolders(): string {
  return join(homedir(), ".cache", "quorate", "world");
}

/** What is copied, and from where it is seen: the same address is another one behind another host. */
interface Meant {
  readonly namespace: string;
  readonly ssh: SshRoute | undefined;
}

/** What the name of a folder there ends with. */
export function ownSuffix({ namespace, ssh = [] }: Meant): string {
  const hash = createHash("sha256").update(namespace);
  for (const hop of ssh) hash.update(`\n${nameOf(hop)}`);
  return `-${hash.digest("hex").slice(0, 12)}`;
}

/** The one of that cluster, hex. */
export function ownFolder(clusterId: string, meant: Meant): ReplicaFolder {
  return new ReplicaFolder(join(ownFolders(), `${clusterId}${ownSuffix(meant)}`));
}

/** The cluster that is meant by `asked` in the folder of that record: the one it was followed to, where that has happened. */
export function presentCluster(asked: string | undefined, record: FolderRecord | undefined): string | undefined {
  if (asked === undefined) return record?.clusterId;
  return record?.predecessors.includes(asked) === true ? record.clusterId : asked;
}

/** @throws QuorateError INVALID_OPTION */
export function groupId(group: string): number {
  if (/^\d+$/.test(group)) return Number(group);
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((text) => text.startsWith(`${group}:`));
  const id = Number(line?.split(":")[2]);
  if (line === undefined || !Number.isInteger(id)) {
    const data = { option: "worldGroup" };
    throw new QuorateError("INVALID_OPTION", `Cannot use the group ${JSON.stringify(group)}: there is none of that name`, {
      data,
    });
  }
  return id;
}

/** Changes with every start of the machine; undefined where nobody can tell. */
export function bootId(path = "/proc/sys/kernel/random/boot_id"): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : messageOf(error);
}
