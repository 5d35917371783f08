// One request by http or https, for programs in a network of their own: fetch() shows no certificate of a client.
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

/**
 * A GET, or a POST of `body`. Rejects where nobody answers in time.
 *
 * @param {string} url
 * @param {object} how
 * @param {string} [how.body]
 * @param {number} how.timeoutMs
 * @param {{ caFile?: string, certFile?: string, keyFile?: string }} [how.tls] files for https
 * @param {import("node:http").Agent} [how.agent] default: a connection of its own
 * @returns {Promise<{ status: number, text: string }>}
 */
export function ask(url, { body, timeoutMs, tls = {}, agent }) {
  const isSecure = url.startsWith("https:");
  /** @param {string | undefined} file */
  const read = (file) => (file === undefined ? undefined : readFileSync(file));
  const files = isSecure ? { ca: read(tls.caFile), cert: read(tls.certFile), key: read(tls.keyFile) } : {};
  return new Promise((resolve, reject) => {
    const request = (isSecure ? httpsRequest : httpRequest)(
      url,
      {
        ...files,
        method: body === undefined ? "GET" : "POST",
        signal: AbortSignal.timeout(timeoutMs),
        // A connection that is kept may be met just as a server that is stopped, or has refused a large request, closes it.
        ...(agent === undefined ? { agent: false, headers: { connection: "close" } } : { agent }),
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (/** @type {string} */ part) => (text += part));
        response.on("error", reject);
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, text });
        });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}
