import type { Fleet } from "./agents.ts";

/** An event as `quorate events -o json` tells it. */
export interface ToldEvent {
  readonly step: string;
  readonly agent?: string;
  readonly what: string;
  readonly because: string;
}

/** All events, in order, as seen through one of the hosts. */
export async function eventsOf(fleet: Fleet, host: string): Promise<readonly ToldEvent[]> {
  const { clientUrl } = host.includes("://") ? { clientUrl: host } : await fleet.place(host);
  const { stdout, stderr } = await fleet.quorate("events", "-o", "json", `--endpoints=${clientUrl}`);
  if (stdout === "") throw new Error(`No events: ${stderr}`);
  return JSON.parse(stdout) as ToldEvent[];
}

/** The events of one step, by agent. */
export function agentsOf(told: readonly ToldEvent[], step: string): readonly string[] {
  return told.filter((event) => event.step === step).map(({ agent = "?" }) => agent);
}
