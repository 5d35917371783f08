// One request by http or https, for programs in a network of their own: fetch() shows no certificate of a client.
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

/** Of each origin. */
const tokens = new Map();

/** @typedef {{ user: string, password: string }} Login */
/** @typedef {{ caFile?: string, certFile?: string, keyFile?: string }} Files for https */
/**
 * @typedef {object} How
 * @property {string} [body]
 * @property {number} timeoutMs
 * @property {Files} [tls]
 * @property {import("node:http").Agent} [agent] default: a connection of its own
 */

/**
 * A GET, or a POST of `body`. Rejects where nobody answers in time.
 *
 * @param {string} url
 * @param {How & { login?: Login }} how `login`: of who asks an etcd, where that wants one
 * @returns {Promise<{ status: number, text: string }>}
 */
export async function ask(url, { login, ...how }) {
  if (login === undefined || how.body === undefined) return send(url, how);
  const { origin } = new URL(url);
  const isNew = !tokens.has(origin);
  if (isNew) await logIn(origin, login, how);
  const answer = await send(url, how, tokens.get(origin));
  if (answer.status === 200 || isNew || !/invalid auth token|user name is empty|permission denied/.test(answer.text))
    return answer;
  tokens.delete(origin);
  return ask(url, { login, ...how });
}

/**
 * @param {string} origin
 * @param {Login} login
 * @param {How} how
 */
async function logIn(origin, { user, password }, { timeoutMs, tls, agent }) {
  const body = JSON.stringify({ name: user, password });
  const { status, text } = await send(`${origin}/v3/auth/authenticate`, {
    timeoutMs,
    body,
    ...(tls && { tls }),
    ...(agent && { agent }),
  });
  if (status === 200) tokens.set(origin, JSON.parse(text).token);
  else if (!text.includes("authentication is not enabled")) throw new Error(`${origin} lets nobody log in: ${text}`);
}

/**
 * @param {string} url
 * @param {How} how
 * @param {string} [token]
 * @returns {Promise<{ status: number, text: string }>}
 */
function send(url, { body, timeoutMs, tls = {}, agent }, token) {
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
        agent: agent ?? false,
        headers: { ...(agent === undefined && { connection: "close" }), ...(token !== undefined && { authorization: token }) },
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
