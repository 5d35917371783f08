import { findEtcd, installEtcd, installFromFile, listEtcds } from "../embed/store.mjs";
import { QuorateError } from "../errors.ts";
import type { Io } from "./io.ts";
import type { Format } from "./options.ts";
import { encode, painter, table } from "./output.ts";

/** `quorate etcd which`: the etcd that an agent would run. Nothing is downloaded. */
export async function which(
  settings: { readonly etcdBin: string | undefined; readonly output: Format },
  io: Io,
): Promise<number> {
  const etcd = await findEtcd({ etcdBin: settings.etcdBin, env: { ...io.env }, allowDownload: false });
  if (settings.output !== "table") {
    io.out(
      encode(
        {
          binary: etcd.binary,
          etcdctl: etcd.etcdctl ?? null,
          version: etcd.version.text,
          from: etcd.from,
          warning: etcd.warning ?? null,
        },
        settings.output,
      ),
    );
    return 0;
  }
  io.out(`${etcd.binary}\n`);
  io.err(`${etcd.version.text}, ${sources[etcd.from]}\n`);
  if (etcd.warning !== undefined) io.err(`warning: ${etcd.warning}\n`);
  return 0;
}

const sources = {
  given: "as given by --etcd-bin or QUORATE_ETCD_BIN",
  store: "from the managed store",
  path: "from PATH",
  download: "fetched into the managed store",
} as const;

/** `quorate etcd list`: what the managed store holds, newest first. */
export function list(settings: { readonly output: Format }, io: Io): number {
  const all = listEtcds({ ...io.env });
  if (settings.output !== "table") {
    io.out(
      encode(
        all.map((etcd) => ({ ...etcd, version: etcd.version.text, etcdctl: etcd.etcdctl ?? null })),
        settings.output,
      ),
    );
    return 0;
  }
  if (all.length === 0) {
    io.err("the managed store is empty; `quorate etcd install` fills it\n");
    return 0;
  }
  const rows = all.map((etcd) => [{ text: etcd.label, style: "bold" as const }, etcd.version.text, etcd.binary, etcd.source]);
  const columns = [{ title: "LABEL" }, { title: "VERSION" }, { title: "BINARY" }, { title: "SOURCE", spare: 1 }];
  io.out(`${table(columns, rows, painter(io.color), io.columns).join("\n")}\n`);
  return 0;
}

/** `quorate etcd install`: from a suite of this machine's distribution, or from a file whose sum is known. */
export async function install(
  settings: { readonly suite: string | undefined; readonly from: string | undefined; readonly sha256: string | undefined },
  io: Io,
): Promise<number> {
  const { suite, from, sha256 } = settings;
  const log = (line: string): void => {
    io.err(`${line}\n`);
  };
  if (from !== undefined && suite !== undefined) usage("--from and --suite exclude each other");
  if (from === undefined && sha256 !== undefined) usage("--sha256 belongs to --from");
  if (from !== undefined && sha256 === undefined) usage("--from needs --sha256, the sum that the publisher of the file names");
  const env = { ...io.env };
  const etcd =
    from !== undefined && sha256 !== undefined
      ? await installFromFile({ file: from, sha256, env })
      : await installEtcd({ suite, env, log });
  io.out(`${etcd.binary}\n`);
  return 0;
}

function usage(what: string): never {
  throw new QuorateError("INVALID_OPTION", `Cannot install etcd: ${what}`, {
    hint: "quorate etcd install [--suite NAME | --from FILE --sha256 SUM]",
  });
}
