import { ConfigError } from "./error.ts";

/**
 * "name=url,name=url" as members with their peer URLs. A name may come several times, with one URL each.
 *
 * @throws ConfigError InvalidInitialCluster
 */
export function initialMembers(text: string): ReadonlyMap<string, readonly string[]> {
  const members = new Map<string, string[]>();
  for (const one of text.split(",").map((part) => part.trim())) {
    if (one === "") continue;
    const [, name = "", url = ""] = /^([^=]*)=(.*)$/.exec(one) ?? [];
    if (name === "" || url === "") {
      throw new ConfigError(
        "InvalidInitialCluster",
        `Cannot read ${JSON.stringify(one)} as a member: it is not written as name=url`,
        {
          field: "initialCluster",
        },
      );
    }
    members.set(name, [...(members.get(name) ?? []), url]);
  }
  return members;
}
