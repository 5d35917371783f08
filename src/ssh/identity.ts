import { readFile } from "node:fs/promises";
import ssh2 from "ssh2";
import type { AnyAuthMethod } from "ssh2";
import { messageOf, QuorateError } from "../errors.ts";
import { fingerprint } from "./known-hosts.ts";
import { nameOf, type SshHop, type SshRoute } from "./options.ts";

/** What to log in with, and what it is called where nothing of it is accepted. */
export interface Identity {
  readonly methods: readonly AnyAuthMethod[];
  readonly names: readonly string[];
}

/** Looks whether there is something to log in with at each host. @throws QuorateError INVALID_OPTION */
export async function checkIdentities(route: SshRoute): Promise<void> {
  for (const hop of route) {
    try {
      await identityOf(hop);
    } catch (error) {
      if (!(error instanceof QuorateError)) throw error;
      throw new QuorateError("INVALID_OPTION", error.message, {
        ...(error.hint === undefined ? {} : { hint: error.hint }),
        data: { option: "ssh" },
      });
    }
  }
}

/** @throws QuorateError DENIED where there is nothing to log in with */
export async function identityOf(hop: SshHop): Promise<Identity> {
  const methods: AnyAuthMethod[] = [];
  const names: string[] = [];
  const { user: username, identities, agent, usual } = hop;
  for (const file of identities) {
    const found = await keyIn(file);
    if (typeof found === "string") {
      if (usual) continue;
      throw nothing(hop, `${file} ${found}`);
    }
    methods.push({ type: "publickey", username, key: found.key });
    names.push(`${file} (${found.fingerprint})`);
  }
  if (agent !== undefined) {
    methods.push({ type: "agent", username, agent });
    names.push(`the keys of the agent at ${agent}`);
  }
  if (methods.length === 0) throw nothing(hop, `none of ${identities.join(", ")} can be used without a passphrase`);
  return { methods, names };
}

/** Or why it is of no use. */
async function keyIn(file: string): Promise<{ readonly key: Buffer; readonly fingerprint: string } | string> {
  let key: Buffer;
  try {
    key = await readFile(file);
  } catch (error) {
    return `cannot be read: ${(error as NodeJS.ErrnoException).code ?? messageOf(error)}`;
  }
  const found: unknown = ssh2.utils.parseKey(key);
  const parsed = (Array.isArray(found) ? found[0] : found) as ReturnType<typeof ssh2.utils.parseKey>;
  if (parsed instanceof Error)
    return /encrypted|passphrase/i.test(parsed.message) ? "has a passphrase" : `is no private key: ${parsed.message}`;
  if (!parsed.isPrivateKey()) return "is a public key, not a private one";
  return { key, fingerprint: fingerprint(parsed.getPublicSSH()) };
}

function nothing(hop: SshHop, state: string): QuorateError {
  return new QuorateError("DENIED", `Cannot log in at ${nameOf(hop)}: ${state}`, {
    hint: "name a key file without a passphrase (identity, --ssh-identity), or an agent that has the key (agent, SSH_AUTH_SOCK)",
    data: { outcome: "none" },
  });
}
