import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { chunkBytes } from "./engine/types.ts";
import type { Content } from "./engine/types.ts";

/** The bytes of a local file in pieces as trees have them. Links are not followed. */
export async function* piecesOf(path: string, signal?: AbortSignal): AsyncGenerator<Buffer, undefined> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    // One that grows meanwhile goes on with larger pieces.
    const { size } = await handle.stat();
    let most = Math.min(chunkBytes, size + 1);
    for (;;) {
      signal?.throwIfAborted();
      let piece = Buffer.allocUnsafe(most);
      let length = 0;
      while (length < chunkBytes) {
        if (length === most) piece = Buffer.concat([piece], (most = chunkBytes));
        const { bytesRead } = await handle.read(piece, length, most - length);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
      if (length > 0) yield piece.subarray(0, length);
      if (length < chunkBytes) return undefined;
    }
  } finally {
    await handle.close();
  }
}

export async function contentOf(path: string, signal?: AbortSignal): Promise<Content> {
  const chunks: string[] = [];
  let size = 0;
  for await (const piece of piecesOf(path, signal)) {
    chunks.push(createHash("sha256").update(piece).digest("hex"));
    size += piece.byteLength;
  }
  return { size, chunks };
}

export function isSameContent(a: Content, b: Content): boolean {
  return a.size === b.size && a.chunks.every((chunk, n) => chunk === b.chunks[n]);
}
