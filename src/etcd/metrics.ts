import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { QuorateError } from "../errors.ts";

/** etcd's metrics are some 100 KB; whatever answers with more is not etcd. */
const mostBytes = 4 * 1024 * 1024;

/** One GET of `/metrics`, on a stream that leads there where one is given. @throws QuorateError UNREACHABLE; the signal's reason */
export function fetchMetrics(endpoint: string, what: string, signal: AbortSignal, stream?: Duplex): Promise<string> {
  const url = new URL("/metrics", endpoint);
  return new Promise((resolve, reject) => {
    const fail = (state: string, cause?: unknown): void => {
      request.destroy();
      const data = { endpoint: url.origin, outcome: "none" };
      reject(new QuorateError("UNREACHABLE", `Cannot ${what}: ${state}`, { retryable: true, cause, data }));
    };
    const abort = (): void => {
      request.destroy();
      reject(signal.reason as Error);
    };
    const isSecure = url.protocol === "https:";
    const make = isSecure ? httpsRequest : httpRequest;
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const onStream =
      stream &&
      (() => (isSecure ? connectTls({ socket: stream, host, ...(isIP(host) === 0 ? { servername: host } : {}) }) : stream));
    const request = make(url, onStream === undefined ? { agent: false } : { createConnection: onStream }, (response) => {
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
