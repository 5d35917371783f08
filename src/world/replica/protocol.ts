import type { Socket } from "node:net";

/** Why a whole listing took the place of what there was. */
export type RelistCause =
  "empty" | "damaged" | "reboot" | "format" | "cluster" | "restored" | "compacted" | "gap" | "oversize" | "audit" | "size";

export interface Relist {
  readonly cause: RelistCause;
  readonly why: string;
}

/** What a feeder tells each of its users when it greets them, and again whenever any of it changes. */
export interface FeederState {
  readonly kind: "state";
  readonly pid: number;
  /** Name of the file in the folder; undefined while there is none. */
  readonly file?: string;
  readonly clusterId?: string;
  readonly endpoints: readonly string[];
  /** Whether changes arrive at present. */
  readonly live: boolean;
  /** Why the cluster is out of reach. */
  readonly lost?: string;
  /** Whether this etcd can be asked for progress: without it no barrier can be met. Undefined until one was asked. */
  readonly progress?: boolean;
  readonly relists: Readonly<Partial<Record<RelistCause, number>>>;
  readonly lastRelist?: Relist;
  /** Why there is no copy, and will be none. */
  readonly refused?: string;
  /** Endpoints of another cluster that answered: they are not listened to. */
  readonly foreign?: string;
  /** Clusters, in hex, that the present one was followed from. */
  readonly predecessors: readonly string[];
  /** Keys too long for a file. */
  readonly skipped: number;
}

/** The file is at `file`; nothing more happened up to `revision`. */
export interface FeederPosition {
  readonly kind: "at";
  readonly revision: number;
  readonly file: number;
  /** When the cluster was last heard, in milliseconds since the machine's start. */
  readonly heardMs: number;
  /** What the feeder needed for its transactions so far. */
  readonly applied: { readonly transactions: number; readonly changes: number; readonly ms: number };
}

export type FromFeeder = FeederState | FeederPosition;

export type ToFeeder =
  | { readonly kind: "want"; readonly revision: number }
  | { readonly kind: "doubt"; readonly cause: "damaged" | "audit"; readonly file: string; readonly why: string };

/** A line is a message. What is no message ends the connection: only our own programs speak here. */
export function onMessages<T>(socket: Socket, handle: (message: T) => void): void {
  let rest = "";
  socket.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    try {
      for (const line of lines) handle(JSON.parse(line) as T);
      if (rest.length > 1024 * 1024) throw new RangeError("A message is too long");
    } catch (error) {
      socket.destroy(error instanceof Error ? error : undefined);
    }
  });
}

export function send(socket: Socket, message: FromFeeder | ToFeeder): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`);
}
