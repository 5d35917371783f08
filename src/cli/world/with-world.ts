import { QuorateError } from "../../errors.ts";
import { keysUnder } from "../../keys.ts";
import { openWorld, WorldError, type World } from "../../world/index.ts";
import { withCluster } from "../client.ts";
import { whyNoAnswer } from "../cluster.ts";
import { Interrupted } from "../interrupted.ts";
import type { Io } from "../io.ts";
import { plain } from "../output.ts";
import type { WorldSettings } from "./settings.ts";

export interface Opened {
  readonly world: World;
  /** Fires with `^C`. */
  readonly signal: AbortSignal;
}

/**
 * A World for the length of one command: it reads and writes at the cluster itself. Aborted by `^C`. What keys others have written badly
 * is a note.
 *
 * @throws QuorateError as every command that asks a cluster; WorldError
 */
export async function withWorld<T>(settings: WorldSettings, io: Io, use: (opened: Opened) => Promise<T>): Promise<T> {
  const ended = new AbortController();
  const end = (): void => {
    ended.abort(new Interrupted());
  };
  process.once("SIGINT", end);
  const { signal } = ended;
  let world: World | undefined;
  try {
    world = await open(settings);
    await world.ready({ signal });
    await assertAnswers(settings, world.status.endpoints);
    const result = await use({ world, signal });
    tellMalformed(world, io);
    return result;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    process.off("SIGINT", end);
    await world?.close();
  }
}

/** The same for a command that ends by `^C`, and well. */
export async function untilInterrupted(settings: WorldSettings, io: Io, use: (opened: Opened) => Promise<void>): Promise<number> {
  try {
    await withWorld(settings, io, use);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  }
  return 0;
}

async function open({ endpoints, tls, login, ssh, prefix, hostname, namespace }: WorldSettings): Promise<World> {
  // It says what is wrong with a namespace as the other commands do.
  keysUnder(namespace);
  try {
    return await openWorld({
      replica: false,
      namespace,
      ...(endpoints === undefined ? {} : { seeds: endpoints }),
      ...(tls === undefined ? {} : { tls }),
      ...(login === undefined ? {} : { user: login.user, passwordFile: login.password.file }),
      ...(ssh === undefined ? {} : { ssh }),
      ...(prefix === undefined ? {} : { prefix }),
      ...(hostname === undefined ? {} : { hostname }),
    });
  } catch (error) {
    if (!(error instanceof WorldError) || error.data["option"] !== "endpoints" || prefix === undefined) throw error;
    throw new QuorateError("INVALID_OPTION", `Cannot use --prefix: nothing in ${prefix} says where its agent's cluster is`, {
      hint: "name the folder that the agent runs with, as a user who may read it, or the cluster with --endpoints=http://HOST:PORT",
    });
  }
}

/** The World is patient, as its programs live long. A command says at once that nobody is there, or that there is no quorum. */
async function assertAnswers(settings: WorldSettings, endpoints: readonly string[]): Promise<void> {
  await withCluster({ ...settings, endpoints }, async ({ client, keys, signal }) => {
    try {
      await client.get(keys.cluster, { signal });
    } catch (error) {
      const why = await whyNoAnswer(client, endpoints, error, signal);
      // An etcd that refuses is there: the World has the words for that.
      if (!(why instanceof QuorateError) || why.code !== "ETCD_REFUSED") throw why;
    }
  });
}

function tellMalformed(world: World, io: Io): void {
  const { count, examples } = world.status.malformed;
  const [first] = examples;
  if (first === undefined) return;
  const keys = count === 1 ? "a key that nobody can read was" : `${count} keys that nobody can read were`;
  io.err(`note: ${keys} passed over, such as ${plain(first.key)}: ${plain(first.why)}\n`);
}
