import { createToken } from "../agent/begin/registry.ts";
import { systemClock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { Io } from "./io.ts";
import type { Format } from "./options.ts";
import { encode } from "./output.ts";

/** `quorate discovery create`: makes a token, and prints what agents are to be told. */
export async function create(
  settings: { readonly size: number | undefined; readonly url: string | undefined; readonly output: Format },
  io: Io,
  signal: AbortSignal,
): Promise<number> {
  const { size, url, output } = settings;
  if (size === undefined || size < 1 || size > 15)
    throw new QuorateError("INVALID_OPTION", "Cannot make a token: --size must say how many hosts found the cluster, 1 to 15");
  if (url === undefined || !URL.canParse(url))
    throw new QuorateError("INVALID_OPTION", "Cannot make a token: --url must be a client URL of the etcd to make it in");
  const made = await createToken(url, size, systemClock, signal);
  const flags =
    made.kind === "v2"
      ? [`--discovery=${made.url}`]
      : [`--discovery-endpoints=${made.endpoints.join(",")}`, `--discovery-token=${made.token}`];
  if (output !== "table") {
    io.out(encode({ ...made, size, flags }, output));
    return 0;
  }
  io.out(made.kind === "v2" ? `${made.url}\n` : `${flags.join(" ")}\n`);
  io.err(`start ${size} hosts with: quorate run ${flags.join(" ")}\n`);
  return 0;
}
