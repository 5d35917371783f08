// Feeds one replica, for whoever has it open on this host: one process, whoever needs it, until its last user has gone. Its only
// argument says which, as JSON. What it says goes to feeder.log in the folder.
import { open } from "node:fs/promises";
import { tryFlock } from "../../system-tools.ts";
import { feederExit } from "./feeder-settings.ts";
import type { FeederSettings } from "./feeder-settings.ts";
import { ReplicaFolder } from "./folder.ts";
import type { Estate } from "./generations.ts";
import { probe } from "./programs.ts";
import { copySealed } from "./seal.ts";

// Whoever started it may be gone: nothing is to end it but its last user.
process.on("SIGHUP", () => undefined);
process.on("SIGINT", () => undefined);
const left = new AbortController();
process.on("SIGTERM", () => {
  left.abort();
});

const settings = JSON.parse(process.argv[2] ?? "") as FeederSettings;
const folder = new ReplicaFolder(settings.folder);
const lock = await open(folder.lockPath, "a+", settings.group === undefined ? 0o600 : 0o660);
// Whatever the umask is: whoever may use the folder may feed it. It may be another user's already.
if (settings.group !== undefined) await lock.chmod(0o660).catch(() => undefined);
const flocked = await tryFlock(lock.fd);
if (flocked === "held") process.exitCode = feederExit.another;
else if (typeof flocked === "object") throw new Error(`${folder.lockPath} cannot be locked: flock ends with ${flocked.status}`);
else {
  const found = await estate();
  // The wire takes longer to load than a file to be judged: both at once.
  const { feed } = await import("./feeder.ts");
  await feed(settings, folder, found, left.signal);
}
await lock.close();

async function estate(): Promise<Estate | undefined> {
  const record = await folder.record();
  if (record === undefined || settings.distrust !== undefined) return undefined;
  const name = await folder.nextFile();
  const { seal } = record;
  if (seal !== undefined && copySealed(folder.filePath(record.file), folder.filePath(name), seal)) {
    return { record, name, verdict: Promise.resolve({ meta: seal.meta }) };
  }
  return { record, name, verdict: probe(folder.filePath(record.file), folder.filePath(name)) };
}
