import type { Keys } from "../../keys.ts";
import { isRefused, readRecord, type SeatRecord } from "./records.ts";

/** A seat, as the leader wrote it last. */
export interface FormerSeat {
  readonly host: string;
  readonly record: SeatRecord;
}

/** More members than a cluster has in years. */
const most = 1_000;

/** Every seat this agent has heard of, by member id, also where its record was deleted since. A member id is never used again. */
export class FormerSeats {
  readonly #seats = new Map<string, FormerSeat>();
  readonly #family: Keys["seats"];

  constructor(family: Keys["seats"]) {
    this.#family = family;
  }

  /** Takes in any key that is written. */
  hear(key: string, value: string): void {
    const host = this.#family.nameIn(key);
    if (host === undefined) return;
    const record = readRecord("seat", value);
    if (isRefused(record) || record.member === undefined) return;
    this.#seats.delete(record.member);
    this.#seats.set(record.member, { host, record });
    if (this.#seats.size > most) for (const [oldest] of this.#seats) return void this.#seats.delete(oldest);
  }

  get(member: string): FormerSeat | undefined {
    return this.#seats.get(member);
  }
}
