import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { messageOf, QuorateError } from "../../errors.ts";
import type { Io } from "../io.ts";

/** A value as it was typed; `-` is all of standard input, exactly. @throws QuorateError INVALID_VALUE, INVALID_OPTION */
export async function valueFrom(typed: string, io: Io): Promise<string> {
  return typed === "-" ? standardInput(io) : typed;
}

/** The text of a file, `-` for standard input. @throws QuorateError INVALID_VALUE, INVALID_OPTION */
export async function textFrom(file: string, io: Io): Promise<string> {
  if (file === "-") return standardInput(io);
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new QuorateError("INVALID_OPTION", `Cannot read ${file}: ${messageOf(error)}`);
  }
  return textOf(bytes, file);
}

async function standardInput(io: Io): Promise<string> {
  if (io.input === undefined) throw new QuorateError("INVALID_OPTION", "Cannot read standard input: there is none");
  return textOf(await io.input(), "standard input");
}

function textOf(bytes: Uint8Array, from: string): string {
  if (isUtf8(bytes)) return Buffer.from(bytes).toString("utf8");
  throw new QuorateError("INVALID_VALUE", `Cannot use ${from}: it is not UTF-8`, {
    hint: "values are text; encode other bytes, with base64 for example",
  });
}
