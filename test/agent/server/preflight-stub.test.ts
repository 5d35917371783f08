import { createServer, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import {
  fetchText,
  isProof,
  preflightPath,
  answerPreflights,
  type PreflightStub,
  proofOf,
  tryPeers,
  type PreflightAnswer,
} from "../../../src/agent/server/preflight-stub.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import { freePorts } from "../../support/ports.ts";

const never = new AbortController().signal;
const nonce = "0123456789abcdef0123456789abcdef";
const answer: PreflightAnswer = { hostname: "h1", proof: "p", etcd: "3.5.30", freeBytes: 1, unreachable: [] };

async function urls(n = 1): Promise<string[]> {
  return (await freePorts(n)).map((port) => `http://127.0.0.1:${port}`);
}

async function stub(
  listen: readonly string[],
  of = async (_nonce: string): Promise<PreflightAnswer> => answer,
): Promise<PreflightStub> {
  const opened = await answerPreflights(listen, of);
  onTestFinished(() => opened.close());
  return opened;
}

async function other(handle: Parameters<typeof createServer>[1]): Promise<string> {
  const server: Server = createServer(handle as never);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What comes back for these very bytes, until the connection ends. */
function raw(url: string, request: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ host: "127.0.0.1", port: Number(new URL(url).port) }, () => socket.end(request));
    socket.setEncoding("utf8").on("data", (part: string) => (text += part));
    socket.on("error", () => undefined).on("close", () => resolve(text));
  });
}

const ask = (url: string, path = `${preflightPath}?nonce=${nonce}`): Promise<string> =>
  fetchText(url + path, 1_000, clock, never);

describe("the stub", () => {
  test("answers the nonce on every URL, and the ports are free once it is closed", async () => {
    const listen = await urls(2);
    const asked: string[] = [];
    const opened = await stub(listen, async (given) => {
      asked.push(given);
      return answer;
    });
    for (const url of listen) expect(JSON.parse(await ask(url))).toEqual(answer);
    expect(asked).toEqual([nonce, nonce]);
    await opened.close();
    await opened.close();
    for (const url of listen) await expect(ask(url)).rejects.toThrow(/ECONNREFUSED/);
    await stub(listen);
  });

  test("closing does not wait for a caller that keeps its connection open", async () => {
    const [url] = (await urls()) as [string];
    const opened = await stub([url], () => new Promise(() => undefined));
    const hanging = ask(url).catch((error: unknown) => error);
    await clock.sleep(50, never);
    await opened.close();
    expect(await hanging).toBeInstanceOf(Error);
  });

  test.each([
    "/",
    "/version",
    preflightPath,
    `${preflightPath}?nonce=`,
    `${preflightPath}?nonce=${nonce}0`,
    `${preflightPath}?nonce=${nonce.toUpperCase()}`,
    `${preflightPath}/?nonce=${nonce}`,
    `${preflightPath}?x=1&nonce=${nonce}`,
  ])("says nothing to GET %s", async (path) => {
    const [url] = (await urls()) as [string];
    await stub([url], () => Promise.reject(new Error("not to be asked")));
    await expect(ask(url, path)).rejects.toThrow("it answered 404");
  });

  test("outlives whatever bytes arrive: a request line that is no URL once ended the whole agent", async () => {
    const [url] = (await urls()) as [string];
    await stub([url]);
    const hostile = ["//", "http://", "*", "/%", "//[", "http://a:b:c/", `/${"x".repeat(20_000)}`, "\u0000"];
    for (const target of hostile) expect(await raw(url, `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)).not.toContain("200 OK");
    for (const bytes of ["", "\r\n\r\n", "GET", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "\u0016\u0003\u0001"])
      await raw(url, bytes);
    expect(await raw(url, `POST ${preflightPath}?nonce=${nonce} HTTP/1.1\r\nHost: x\r\n\r\n`)).toContain("404");
    expect(JSON.parse(await ask(url))).toEqual(answer);
  });

  test("an answer that fails is a 500, and the next one is answered", async () => {
    const [url] = (await urls()) as [string];
    let fails = true;
    await stub([url], () => (fails ? Promise.reject(new Error("an old nonce")) : Promise.resolve(answer)));
    await expect(ask(url)).rejects.toThrow("it answered 500");
    fails = false;
    expect(JSON.parse(await ask(url))).toEqual(answer);
  });

  test("where one URL is taken it opens none", async () => {
    const [free, taken] = (await urls(2)) as [string, string];
    await stub([taken]);
    await expect(answerPreflights([free, taken], async () => answer)).rejects.toMatchObject({ code: "EADDRINUSE" });
    await stub([free]);
  });
});

test("a proof fits one secret and one nonce, and is compared in full", () => {
  const proof = proofOf("secret", nonce);
  expect(proof).toMatch(/^[0-9a-f]{64}$/);
  expect(isProof("secret", nonce, proof)).toBe(true);
  for (const wrong of [
    "",
    proof.slice(1),
    `${proof}0`,
    "ä".repeat(32),
    proofOf("other", nonce),
    proofOf("secret", `${nonce}0`),
  ]) {
    expect(isProof("secret", nonce, wrong)).toBe(false);
  }
});

describe("fetchText()", () => {
  test("gives up on a server that never answers, one that never ends, and one that answers without end", async () => {
    const silent = await other(() => undefined);
    await expect(fetchText(silent, 100, clock, never)).rejects.toThrow("no answer within 100 ms");
    const slow = await other((_request, response) => response.write("x"));
    await expect(fetchText(slow, 100, clock, never)).rejects.toThrow("no answer within 100 ms");
    const endless = await other((_request, response) => {
      response.on("error", () => undefined);
      const more = (): void => {
        if (!response.destroyed) response.write("x".repeat(16_384), more);
      };
      more();
    });
    await expect(fetchText(endless, 2_000, clock, never)).rejects.toThrow("the answer is too long");
  });

  test("follows no redirect", async () => {
    const target = await other((_request, response) => response.end("secret"));
    const redirecting = await other((_request, response) => response.writeHead(302, { location: target }).end());
    await expect(fetchText(redirecting, 1_000, clock, never)).rejects.toThrow("it answered 302");
  });

  test("ends with its signal", async () => {
    const silent = await other(() => undefined);
    const own = new AbortController();
    const asked = fetchText(silent, 5_000, clock, own.signal);
    own.abort(new Error("no more"));
    await expect(asked).rejects.toThrow("no more");
  });
});

test("tryPeers() names the voters that do not answer, are no etcd, or are this host itself", async () => {
  await using etcd = await startEtcd(1);
  const peer = etcd.nodes[0]?.peerUrl ?? "";
  const [closed, own] = (await urls(2)) as [string, string];
  const web = await other((_request, response) => response.end("hello"));
  expect(await tryPeers([peer], [own], clock, never)).toEqual([]);
  const problems = await tryPeers([peer, closed, web, own], [own], clock, never);
  expect(problems).toHaveLength(3);
  expect(problems[0]).toContain(`${closed} cannot be reached: `);
  expect(problems[1]).toContain(web);
  expect(problems[2]).toContain(`${own} is the server URL of this very host`);
});
