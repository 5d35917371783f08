import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { messageOf, QuorateError } from "../errors.ts";
import { readTls, type TlsFiles } from "./tls.ts";

/** etcd's metrics are some 100 KB; whatever answers with more is not etcd. */
const mostBytes = 4 * 1024 * 1024;

interface Asking {
  /** Reads behind "Cannot". */
  readonly what: string;
  readonly tls?: TlsFiles | undefined;
  /** A unix socket to ask at. */
  readonly socket?: string | undefined;
  /** One that leads there. */
  readonly stream?: Duplex;
}

/** One GET of `/metrics`. @throws QuorateError UNREACHABLE; the signal's reason */
export async function fetchMetrics(endpoint: string, asking: Asking, signal: AbortSignal): Promise<string> {
  const { what, tls = {}, socket, stream } = asking;
  const url = new URL("/metrics", endpoint);
  const failure = (state: string, cause?: unknown): QuorateError =>
    new QuorateError("UNREACHABLE", `Cannot ${what}: ${state}`, {
      retryable: true,
      cause,
      data: { endpoint: url.origin, outcome: "none" },
    });
  const isSecure = url.protocol === "https:";
  const texts = !isSecure
    ? {}
    : await readTls(tls).catch((error: unknown) => {
        throw failure(`a file for TLS cannot be read: ${messageOf(error)}`, error);
      });
  signal.throwIfAborted();
  return await new Promise((resolve, reject) => {
    const fail = (state: string, cause?: unknown): void => {
      request.destroy();
      reject(failure(state, cause));
    };
    const abort = (): void => {
      request.destroy();
      reject(signal.reason as Error);
    };
    const make = isSecure ? httpsRequest : httpRequest;
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const onStream =
      stream &&
      (() =>
        isSecure ? connectTls({ ...texts, socket: stream, host, ...(isIP(host) === 0 ? { servername: host } : {}) }) : stream);
    const at = socket === undefined ? {} : { socketPath: socket };
    const how = onStream === undefined ? { ...texts, ...at, agent: false } : { createConnection: onStream };
    const request = make(url, how, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size > mostBytes) fail(`it answers with more than ${mostBytes} bytes`);
      });
      response.on("error", (error) => {
        fail("the answer broke off", error);
      });
      response.on("end", () => {
        signal.removeEventListener("abort", abort);
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString("utf8"));
        else fail(`it answers with HTTP status ${response.statusCode ?? 0}`);
      });
    });
    request.on("error", (error) => {
      signal.removeEventListener("abort", abort);
      fail("it does not answer", error);
    });
    signal.addEventListener("abort", abort, { once: true });
    request.end();
  });
}
