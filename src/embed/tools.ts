import { statusOf, systemTool } from "../system-tools.ts";

export { statusOf, systemPath, systemTool } from "../system-tools.ts";

let pdeathsig: Promise<string | undefined> | undefined;

/** `setpriv` if it can do `--pdeathsig` here (the one of busybox cannot). */
export function setprivWithDeathSignal(): Promise<string | undefined> {
  return (pdeathsig ??= (async () => {
    const setpriv = await systemTool("setpriv");
    if (setpriv === undefined) return undefined;
    return (await statusOf(setpriv, ["--pdeathsig", "KILL", "true"])) === 0 ? setpriv : undefined;
  })());
}
