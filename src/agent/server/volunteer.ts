import type { Logger } from "pino";
import { Doorbell, firstOf, type Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import { parseUrls } from "../../keys.ts";
import type { ControlView } from "../control/control-view.ts";
import { isRefused, readRecord } from "../control/records.ts";
import type { Machine } from "../machine.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { proofOf, tryPeers, type PreflightAnswer } from "./preflight-stub.ts";

interface VolunteerDeps {
  readonly machine: Machine;
  readonly options: ResolvedOptions;
  readonly view: ControlView;
  readonly clock: Clock;
  readonly log: Logger;
  readonly folder: string;
  readonly etcdVersion: string;
  /** The server runs, or is being started: its ports are its own. */
  readonly portsInUse: () => boolean;
  /** What keeps this host from being proved; undefined when nothing does any more. */
  readonly onProblem: (problem: string | undefined) => void;
}

/** A nonce that nobody takes back is answered for this long. */
const longestMs = 15_000;

/** Answers pre-flights: while the leader's nonce for this host is there and its server is not, it listens on the server URLs. */
export class Volunteer {
  readonly #deps: VolunteerDeps;
  readonly #secret: string;
  #stub: Awaited<ReturnType<Machine["listen"]>> | undefined;
  #opening: Promise<void> | undefined;
  #answered = "";

  constructor(deps: VolunteerDeps, secret: string) {
    this.#deps = deps;
    this.#secret = secret;
  }

  /** Closes the listener; resolves when the ports are free. */
  async freePorts(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    const stub = this.#stub;
    this.#stub = undefined;
    await stub?.close();
  }

  async run(signal: AbortSignal): Promise<never> {
    const { view, clock, options } = this.#deps;
    const bell = new Doorbell();
    const own = options.keys.preflight.key(options.hostname);
    view.subscribe(bell, signal, (key) => key === own);
    let openUntilMs = 0;
    try {
      for (;;) {
        const nonce = this.#nonce();
        const wanted = nonce !== undefined && nonce !== this.#answered && !this.#deps.portsInUse();
        if (wanted && !this.#stub) {
          this.#answered = nonce;
          openUntilMs = clock.nowMs() + longestMs;
          this.#opening = this.#open(nonce, signal);
          await this.#opening.finally(() => {
            this.#opening = undefined;
          });
        } else if (this.#stub && (nonce !== this.#answered || clock.nowMs() >= openUntilMs)) {
          await this.freePorts();
          continue; // The next leader's nonce may be there already.
        }
        if (this.#stub) {
          await firstOf<void>(
            signal,
            (own) => bell.wait(own),
            (own) => clock.sleep(Math.max(0, openUntilMs - clock.nowMs()), own),
          );
        } else await bell.wait(signal);
      }
    } finally {
      await this.freePorts();
    }
  }

  #nonce(): string | undefined {
    const { view, options } = this.#deps;
    const entry = view.get(options.keys.preflight.key(options.hostname));
    if (!entry) return undefined;
    const record = readRecord("nonce", entry.value);
    return isRefused(record) ? undefined : record.nonce;
  }

  async #open(nonce: string, signal: AbortSignal): Promise<void> {
    const { machine, options, log, onProblem } = this.#deps;
    try {
      this.#stub = await machine.listen(options.serverUrls, (asked) =>
        asked === nonce ? this.#answer(nonce, signal) : Promise.reject(new Error("an old nonce")),
      );
      onProblem(undefined);
    } catch (error) {
      log.warn({ err: error }, "the server URL cannot be bound; no seat can be given to this host");
      onProblem(`its server URL cannot be bound: ${messageOf(error)}`);
    }
  }

  async #answer(nonce: string, signal: AbortSignal): Promise<PreflightAnswer> {
    const { machine, options, folder, clock, etcdVersion, view } = this.#deps;
    const peers: string[] = [];
    for (const [host, seat] of view.seats()) {
      if (seat.role !== "voter" || host === options.hostname) continue;
      const parsed = parseUrls(view.get(options.keys.nominated.key(host))?.value ?? "");
      if ("urls" in parsed) peers.push(...parsed.urls);
    }
    const [unreachable, freeBytes] = await Promise.all([
      tryPeers(peers, options.serverUrls, clock, signal, (...asked) => machine.fetchText(...asked)),
      machine.freeBytes(folder),
    ]);
    return {
      hostname: options.hostname,
      proof: proofOf(this.#secret, nonce),
      etcd: etcdVersion,
      freeBytes,
      unreachable,
    };
  }
}
