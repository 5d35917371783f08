import type { Deploy, DeployTree, NewDeploy, World } from "../../world/index.ts";
import { QuorateError } from "../../errors.ts";
import { uriOf } from "../fs/settings.ts";
import type { Io } from "../io.ts";
import { encode } from "../output.ts";
import { printListWatch, type Shape } from "./follow.ts";
import { textFrom } from "./input.ts";
import { printTable, printValue, withNull } from "./print.ts";
import type { WorldSettings } from "./settings.ts";
import { untilInterrupted, withWorld } from "./with-world.ts";

/** `quorate world deploy add FILE`; `-` is standard input. */
export async function add(
  settings: WorldSettings,
  file: string,
  chain: Pick<NewDeploy, "id" | "hash" | "parent">,
  named: string | undefined,
  io: Io,
): Promise<number> {
  const payload = await textFrom(file, io);
  return withWorld(settings, io, async ({ world, signal }) => {
    const tree = named === undefined ? {} : { tree: await treeNow(world, uriOf(named), signal) };
    const { id, changed, revision } = await world.deploy.add({ ...chain, ...tree, payload }, { signal });
    if (settings.output !== "table") io.out(encode({ id, changed, revision }, settings.output));
    else io.out(`added deploy ${id} at revision ${revision}\n`);
    return 0;
  });
}

/** @throws QuorateError FAILED where nobody has written to it */
async function treeNow(world: World, uri: string, signal: AbortSignal): Promise<DeployTree> {
  const root = await world.fs(uri).root({ signal });
  if (root !== undefined) return { uri, root };
  throw new QuorateError("FAILED", `Cannot deploy ${uri}: there is nothing in it`, {
    hint: "`quorate fs sync FOLDER --tree NAME` writes it",
  });
}

/** `quorate world deploy get ID`: the payload itself. */
export async function get(settings: WorldSettings, typed: string, io: Io): Promise<number> {
  if (!/^[1-9][0-9]{0,14}$/.test(typed)) {
    throw new QuorateError("INVALID_OPTION", `Cannot read deploy ${JSON.stringify(typed)}: an id is a whole number from 1 on`);
  }
  const id = Number(typed);
  return withWorld(settings, io, async ({ world, signal }) => {
    const { deploy, revision } = await world.deploy.get(id, { signal });
    const { hash, tree, payload } = deploy ?? {};
    return printValue({ what: `deploy ${id}`, value: payload, end: "" }, { id, hash, tree, payload, revision }, settings, io);
  });
}

/** `quorate world deploy ls`: without payloads. */
export async function list(settings: WorldSettings, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const { deploys, revision } = await world.deploy.list({ signal });
    if (settings.output !== "table") io.out(encode(withNull({ deploys, revision }), settings.output));
    else if (deploys.length === 0) io.err("note: there are none yet\n");
    else printTable([{ title: "ID" }, { title: "HASH" }], deploys.map(shape.cells), io);
    return 0;
  });
}

const shape: Shape<Deploy> = { titles: ["ID", "HASH"], cells: ({ id, hash }) => [String(id), hash ?? ""] };

/** `quorate world deploy watch`: those that are there, then every change, until `^C`. */
export async function watch(settings: WorldSettings, io: Io): Promise<number> {
  return untilInterrupted(settings, io, async ({ world, signal }) => {
    await printListWatch(world.deploy.watch({ signal }), shape, settings, io);
  });
}

/** Thousands of deploys go fifty at a time. */
const manyMs = 60_000;

/** `quorate world deploy prune --keep N`. */
export async function prune(settings: WorldSettings, keep: number | undefined, io: Io): Promise<number> {
  if (keep === undefined || keep < 1) {
    throw new QuorateError("INVALID_OPTION", "Cannot prune the deploys: --keep has to say how many stay, 1 at least", {
      hint: "like `quorate world deploy prune --keep 10`; the newest always stays",
    });
  }
  return withWorld(settings, io, async ({ world, signal }) => {
    const { changed, deleted, revision } = await world.deploy.prune({ keep, timeoutMs: manyMs, signal });
    if (settings.output !== "table") io.out(encode({ changed, deleted, revision }, settings.output));
    else if (!changed) io.out(`nothing changed: there are no more than ${keep}\n`);
    else io.out(`deleted ${countOf(deleted)} at revision ${revision}\n`);
    return 0;
  });
}

function countOf(deleted: readonly number[]): string {
  const [first, last] = [deleted[0], deleted.at(-1)];
  return deleted.length === 1 ? `deploy ${first}` : `${deleted.length} deploys, ${first} to ${last},`;
}
