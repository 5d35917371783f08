import { isIPv6 } from "node:net";
import { endianness } from "node:os";
import { readdir, readFile, readlink } from "node:fs/promises";

/** One row of /proc/net/tcp or tcp6. */
export interface SocketRow {
  /** In hex as the kernel prints it: 8 digits for IPv4, 32 for IPv6, each group of 4 bytes in the machine's order. */
  readonly address: string;
  readonly port: number;
  readonly listening: boolean;
  readonly uid: number;
  /** 0: no process has it any more. */
  readonly inode: number;
}

/** Reads what the kernel prints. Lines that do not look like a row are passed over. */
export function parseSocketTable(text: string): SocketRow[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) \S+ \S+ \S+\s+(\d+)\s+\d+ (\d+)/.exec(line);
    if (!match) return [];
    const [, address = "", port = "", state, uid, inode] = match;
    return [{ address, port: parseInt(port, 16), listening: state === "0A", uid: Number(uid), inode: Number(inode) }];
  });
}

/**
 * The sockets of this network namespace that can keep one from listening on an address and port: listening ones first. An
 * outgoing connection counts, as its own end may have got that port.
 */
export async function socketsInTheWay(address: string, port: number): Promise<SocketRow[]> {
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map((path) => readFile(path, "utf8").catch(() => "")));
  const ours = hexAddress(address);
  const rows = tables
    .flatMap(parseSocketTable)
    .filter((row) => row.port === port && (row.address.endsWith(ours) || isAny(row.address) || isAny(ours)));
  return [...rows.filter((row) => row.listening), ...rows.filter((row) => !row.listening)];
}

function isAny(hex: string): boolean {
  return /^0+$/.test(hex);
}

/** An address as the kernel prints it in those tables. */
export function hexAddress(address: string): string {
  const bytes = isIPv6(address) ? bytesOf6(address) : address.split(".").map(Number);
  const groups = Array.from({ length: bytes.length / 4 }, (_, index) => bytes.slice(index * 4, index * 4 + 4));
  return groups
    .flatMap((group) => (endianness() === "LE" ? group.reverse() : group))
    .map((byte) => byte.toString(16).toUpperCase().padStart(2, "0"))
    .join("");
}

function bytesOf6(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const words = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const front = words(head);
  const back = words(tail ?? "");
  const middle = tail === undefined ? [] : Array.from({ length: 8 - front.length - back.length }, () => "0");
  return [...front, ...middle, ...back].flatMap((word) => [parseInt(word, 16) >> 8, parseInt(word, 16) & 255]);
}

export interface ProcessName {
  readonly pid: number;
  readonly process: string;
}

/** Processes that hold an open descriptor on `target`, as `readlink /proc/PID/fd/N` prints it. Only those we may look into. */
export async function processesWith(target: string): Promise<ProcessName[]> {
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      if (!(await hasOpen(pid, target))) return undefined;
      const process = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "?");
      return { pid: Number(pid), process: process.trim() };
    }),
  );
  return found.filter((one) => one !== undefined);
}

async function hasOpen(pid: string, target: string): Promise<boolean> {
  const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
  return links.includes(target);
}

/** Name of a user of this machine; the number where it has none. */
export async function userName(uid: number): Promise<string> {
  const passwd = await readFile("/etc/passwd", "utf8").catch(() => "");
  const row = passwd.split("\n").find((line) => line.split(":")[2] === String(uid));
  return row?.split(":")[0] ?? String(uid);
}
