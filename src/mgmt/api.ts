import type {
  CallOptions,
  ExportOptions,
  DeleteOptions,
  Fs,
  Lease,
  Member,
  ReadMode,
  ReadOptions,
  Schedule,
  SchedulerOptions,
  Scheduling,
  WatchOptions as WorldWatchOptions,
  World,
  WorldOptions,
} from "../world/index.ts";

/** What mgmt's World is made with, and all that {@link openWorld} takes. */
export interface ConnectOptions extends WorldOptions {
  /** A World that is open already, like an agent's: it is used, and not closed by `cleanup`. Then none of `openWorld`'s options is given. */
  readonly world?: World;
  /** What the path of an `etcdfs://` URI has to be below. Default {@link MetadataPrefix}: `/fs`; another one is below that. */
  readonly metadataPrefix?: string;
  /**
   * Where mgmt keeps the data of file systems. Default {@link StoragePrefix}: `/storage`. Ours share what they have in common, and have one place
   * for it: this moves nothing, and is only looked at for being a path and none of the metadata's.
   */
  readonly storagePrefix?: string;
  /** What `memmapfs:///` is: the file system of a program for one host. Default: one in memory, which ends with the World. */
  readonly standaloneFs?: Fs;
  /** What `uri()` gives. Default: what `openWorld`'s `uri` says. */
  readonly getUri?: () => string;
  /** How fresh reads are. Default `linearizable`, as mgmt's are; every call may say otherwise. */
  readonly read?: ReadMode;
}

/** As those of any watch. */
export type WatchOptions = Pick<WorldWatchOptions<never>, "signal" | "settle">;

/**
 * What mgmt's watches are, a `chan error`: once at the start, when nothing can be missed any more, and then when something has changed. What has
 * changed is read: no linearizable read after it is older. Several changes that were not taken yet are one.
 *
 * ```ts
 * for await (const _ of mgmt.strWatch("motd")) {
 *   if (await mgmt.strGet("motd").then(() => true, (error) => !mgmt.strIsNotExist(error))) break;
 * }
 * ```
 *
 * Better than mgmt's: it goes on through lost connections, restarts and compactions, where mgmt's ends with the first error, and nobody who
 * is slow holds anything up. It completes by its signal and by `cleanup`, and throws WorldError DENIED, CLOSED or what is wrong with its arguments.
 */
export interface Changes extends AsyncIterable<Changed> {
  [Symbol.asyncIterator](): AsyncIterator<Changed, undefined>;
}

/** mgmt's is `nil`. */
export interface Changed {
  /** A read with `{ read: { atLeast: revision } }` has the change, and asks nobody where the replica has it. */
  readonly revision: number;
}

/** What is looked for. What is empty or missing fits anything; of the others all have to fit. */
export interface ResFilter {
  readonly kind?: string;
  readonly name?: string;
  /** That exported it. */
  readonly host?: string;
}

/** A resource that was exported, as it is collected. */
export interface ResOutput {
  readonly kind: string;
  readonly name: string;
  /** That exported it. */
  readonly host: string;
  readonly data: string;
}

/** Kind, name and host together are what a resource of this host is known by. */
export interface ResDelete {
  readonly kind: string;
  readonly name: string;
  /** The one host that may collect it. Empty, missing or `*`: everyone. */
  readonly host?: string;
}

/** A resource that is to be exported. */
export interface ResExport extends ResDelete {
  readonly data: string;
}

export interface MembersResult {
  /** Sorted by name. mgmt's have id, name and URLs. */
  readonly members: readonly Member[];
}

/** A part in a schedule, until it is shut down. */
export interface SchedulerResult extends AsyncDisposable {
  /**
   * The hosts that are scheduled, by rank, empty while nobody is, which mgmt does not tell: as it is with the first call, and then the next list that differs. It waits
   * for ever unless a `signal` or `timeoutMs` is given, also for what is not known yet.
   *
   * @throws WorldError CLOSED once it is shut down, where mgmt's has `ErrEndOfResults`
   */
  next(options?: CallOptions): Promise<readonly string[]>;
  /** Takes part no more, and has let go when it resolves. Idempotent. mgmt's returns before that. */
  shutdown(): Promise<void>;
  /** Ours beneath: `amIScheduled()` with a signal that fires before another host can begin, `update()`, contradictions. */
  readonly scheduling: Scheduling;
}

/** For what is written: mgmt's stays for ever. */
export interface SetOptions extends CallOptions {
  readonly lease?: Lease;
}

/**
 * The World of mgmt, function by function, over ours: what mgmt documents of each, and nothing is inverted. `options` are what ours has
 * besides; a context is `{ signal, timeoutMs }`, and without it a call ends after 5 s, where mgmt's waits for ever. Every call rejects with
 * WorldError and nothing else.
 *
 * Everywhere: a slash in a name is a part of it and never a level of the key; keys that nobody can read harm no call.
 */
export interface MgmtWorld extends AsyncDisposable {
  /** The identity of what is written in maps and exports. */
  readonly hostname: string;
  readonly namespace: string;
  /** The World beneath, for all that mgmt's has not. */
  readonly world: World;

  /**
   * Cleans up, and is the last to be called: watches complete, and the World is closed if `connect` opened it. Idempotent.
   *
   * Better than mgmt's, which waits for watches that nobody ends.
   */
  cleanup(): Promise<void>;

  /**
   * The string of that name.
   *
   * @throws WorldError NOT_EXIST where there is none: `strIsNotExist` tells that from a failure; and as every read
   */
  strGet(name: string, options?: ReadOptions): Promise<string>;
  /** Sets the string; what is there already is not written, and wakes nobody. mgmt's can overwrite what another host has set in a map. */
  strSet(name: string, value: string, options?: SetOptions): Promise<void>;
  /** Deletes the string. That there is none is no error. */
  strDel(name: string, options?: DeleteOptions): Promise<void>;
  /** When the string may have changed. */
  strWatch(name: string, options?: WatchOptions): Changes;
  /**
   * Whether that is what `strGet`, `idealClusterSizeGet` and `getDeploy` throw where there is none.
   *
   * Better than mgmt's, which knows its error by identity and so no wrapped one: one that has it as its `cause` is one.
   */
  strIsNotExist(error: unknown): boolean;

  /** The strings of all hosts that have set one under that name, by host. mgmt's fails for everybody where one key is malformed. */
  strMapGet(name: string, options?: ReadOptions): Promise<ReadonlyMap<string, string>>;
  /** Sets the string of the own host. With `lease: "session"` it vanishes with the host: mgmt's dead hosts stay for ever. */
  strMapSet(name: string, value: string, options?: SetOptions): Promise<void>;
  /** Deletes the string of the own host. That there is none is no error. */
  strMapDel(name: string, options?: DeleteOptions): Promise<void>;
  /** When a host's string may have changed. mgmt's also wakes for other names that begin alike. */
  strMapWatch(name: string, options?: WatchOptions): Changes;

  /**
   * What was exported to this host or to everyone, and fits one of the filters, all of one revision. Of no filter nothing fits.
   *
   * Better than mgmt's, which downloads the exports of the whole cluster: only what this host may have is read. Sorted by kind, name and host.
   */
  resCollect(filters: readonly ResFilter[], options?: ReadOptions): Promise<readonly ResOutput[]>;
  /**
   * Exports resources of this host. What was exported before stays, unless `{ mode: "replace" }` says otherwise; what is unchanged is not
   * written, and wakes nobody. None may be in the list twice.
   *
   * Better than mgmt's, whose answer was the inverse of this for a time, and which takes a round trip for each.
   *
   * @returns as mgmt documents it: **true where nothing had to be changed**, false where something was
   */
  resExport(list: readonly ResExport[], options?: ExportOptions): Promise<boolean>;
  /**
   * Deletes what this host has exported. That it is not there is no error. None may be in the list twice.
   *
   * @returns as mgmt documents it, and not as mgmt does it: **true where there was nothing to delete**, false where something was deleted
   */
  resDelete(list: readonly ResDelete[], options?: Omit<DeleteOptions, "ifRevision">): Promise<boolean>;
  /**
   * When something that `resCollect` gives may have changed: of one kind, or of all where that is empty.
   *
   * Better than mgmt's, which wakes for every kind, and not for what is exported to everyone in some of its versions.
   */
  resWatch(kind?: string, options?: WatchOptions): Changes;

  /**
   * Adds a deploy, atomically: no other may be of that id, and the one before it has to be there. Where `hash` is given it is kept with it, and
   * where `pHash` is given as well the deploy before has to have that hash. Both may be empty.
   *
   * Better than mgmt's: the error says which of these it was. Ids start at 1.
   *
   * @throws WorldError CONFLICT with `data.reason` `exists`, `gap` or `parent`; and as every write
   */
  addDeploy(id: number, hash: string, pHash: string, data: string, options?: CallOptions): Promise<void>;
  /**
   * The data of that deploy. Of id 0, which is what `getMaxDeployId` gives where there is none, it is empty, once the cluster was asked.
   *
   * Better than mgmt's: it reads that one, not all of them.
   *
   * @throws WorldError NOT_EXIST where there is none of that id; and as every read
   */
  getDeploy(id: number, options?: ReadOptions): Promise<string>;
  /** The data of all deploys there are, by id, ascending. `world.deploy.list` does without the data. */
  getDeploys(options?: ReadOptions): Promise<ReadonlyMap<number, string>>;
  /**
   * The id of the newest deploy, 0 where there is none. The next to be added is of that id and 1; whoever adds it second has CONFLICT, and asks
   * again. `world.deploy.add` without an id does all of that.
   *
   * Better than mgmt's: it reads no data.
   */
  getMaxDeployId(options?: ReadOptions): Promise<number>;
  /** When there may be a new deploy. mgmt's agent ends with the first error of it. */
  watchDeploy(options?: WatchOptions): Changes;

  /** The URI of the present file system: what `getUri` says. */
  uri(): string;
  /**
   * The file system of that URI, by default of `uri()`: `etcdfs://` and a path below `metadataPrefix` is one that all hosts share,
   * `memmapfs:///` the stand-alone one, `memory://NAME` and `file:///FOLDER` are of this World and of this machine. Nothing is asked before it is
   * used. It has the functions of `node:fs/promises`, with their error codes.
   *
   * Better than mgmt's, of whose two writers the last one wins and the other's files are gone: what both have changed is merged by path, several
   * changes are one `transaction`, files are not held in memory, and what nobody needs is deleted.
   *
   * @throws WorldError INVALID_OPTION where it is another scheme, or the wrong prefix
   */
  fs(uri?: string): Fs;

  /**
   * Takes part in the schedule of that namespace: hosts that do find one another, and one of them, which is elected, picks those that are
   * scheduled. mgmt's options are fields here: `strategy` (default `rr`), `maxCount` (default 1), `reuseLease`, `sessionTtl` in seconds,
   * `hostsFilter`; ours has more.
   *
   * Better than mgmt's: every host that takes part may be elected when the one that was is gone, the filter is heeded, options that contradict
   * those of the others are an error, a strategy is changed at once, and who is elected no more cannot publish.
   *
   * @throws WorldError CONFLICT with `data.reason` `options` or `taking-part`; and as every call
   */
  scheduler(namespace: string, options?: SchedulerOptions): Promise<SchedulerResult>;
  /**
   * Who is scheduled, without taking part: at once, and again when it has changed. As in mgmt `hosts` is empty where nobody is; `state` tells
   * that from what is not known.
   */
  scheduled(namespace: string, options?: WatchOptions): AsyncIterable<Schedule>;

  /**
   * The members of the etcd cluster: at once, and again when they have changed. etcd tells nobody: it is asked every
   * {@link MemberChangePollingInterval} ms, or every `everyMs`.
   *
   * Better than mgmt's, which sends them each time and ends with the first error: nothing is told where nothing has changed, it goes on while the
   * cluster is away, and it says who is voter, learner, healthy and raft leader.
   */
  watchMembers(options?: WatchOptions & { readonly everyMs?: number }): AsyncIterable<MembersResult>;

  /**
   * How many members the cluster is to have.
   *
   * @throws WorldError NOT_EXIST where nobody has said; INVALID_VALUE where it is no size; and as every read
   */
  idealClusterSizeGet(options?: CallOptions): Promise<number>;
  /**
   * Says how many members the cluster is to have. 0 shuts the whole cluster down, and has to be meant: `{ shutdown: true }`.
   *
   * @returns whether that changed it
   * @throws WorldError INVALID_VALUE beyond 0 to 1,000; and as every write
   */
  idealClusterSizeSet(size: number, options?: CallOptions & { readonly shutdown?: true }): Promise<boolean>;
  /** When that may have changed. */
  idealClusterSizeWatch(options?: WatchOptions): Changes;
}
