import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** The files of an agent that has its certificates made, under its prefix: for itself alone. */
export interface CertificateFolder {
  readonly path: string;
  readonly clients: Side;
  readonly peers: Side;
  /** What opens the authorities, and is told to who joins. */
  readonly secret: string;
  /** The authorities, sealed with it. */
  readonly authorities: string;
}

interface Side {
  readonly certFile: string;
  readonly keyFile: string;
  readonly trustedCaFile: string;
}

export function certificateFolder(prefix: string): CertificateFolder {
  const path = join(prefix, "tls");
  const side = (name: string): Side => ({
    certFile: join(path, `${name}.pem`),
    keyFile: join(path, `${name}-key.pem`),
    trustedCaFile: join(path, `${name}-ca.pem`),
  });
  return {
    path,
    clients: side("clients"),
    peers: side("peers"),
    secret: join(path, "secret"),
    authorities: join(path, "authorities.json"),
  };
}

/** Undefined where there is none. */
export async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Whole, on disk, and for nobody else, or as it was before. */
export async function writeSecretly(folder: CertificateFolder, file: string, text: string): Promise<void> {
  await mkdir(folder.path, { recursive: true, mode: 0o700 });
  const temporary = `${file}.new`;
  await rm(temporary, { force: true });
  const handle = await open(temporary, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}
