import { expect, test } from "vitest";
import { inWords, report } from "../../src/cli/report.ts";
import { QuorateError } from "../../src/errors.ts";

test("an error is told as what, why with the endpoint, and what to do", () => {
  const cause = new QuorateError("UNREACHABLE", "connection refused", { data: { endpoint: "http://127.0.0.1:2379" } });
  const error = new QuorateError("UNREACHABLE", "Cannot reach the cluster: the endpoint does not answer", {
    cause,
    hint: "quorate run",
  });
  expect(report(error)).toEqual({
    text: "error: Cannot reach the cluster: the endpoint does not answer\n  cause: connection refused (http://127.0.0.1:2379)\n  hint: quorate run\n",
    exitCode: 3,
  });
});

test("the endpoint is named once, whoever knows it", () => {
  const data = { endpoint: "http://a:1" };
  const told = (cause: Error | undefined): string => report(new QuorateError("DENIED", "Cannot read it", { cause, data })).text;
  expect(told(undefined)).toBe("error: Cannot read it\n  cause: at http://a:1\n");
  expect(told(new QuorateError("ETCD_REFUSED", "no such user", { data }))).toBe(
    "error: Cannot read it\n  cause: no such user (http://a:1)\n",
  );
});

test("causes side by side are a line each", () => {
  const cause = new AggregateError([new Error("http://a:1: refused"), new Error("http://b:1: no answer")]);
  expect(report(new QuorateError("NO_QUORUM", "Cannot read the cluster", { cause })).text).toBe(
    "error: Cannot read the cluster\n  cause: http://a:1: refused\n  cause: http://b:1: no answer\n",
  );
});

test("an option of the library is named by its flag", () => {
  const error = new QuorateError("INVALID_OPTION", "Cannot use option clientUrls: it listens on every address", {
    data: { option: "clientUrls" },
  });
  expect(report(error)).toEqual({ text: "error: Cannot use --client-urls: it listens on every address\n", exitCode: 2 });
});

test("an error of the etcd store, which is a plain one with a code of ours, keeps code and hint", () => {
  const error = Object.assign(new Error("Cannot find an etcd"), { code: "NO_ETCD", hint: "quorate etcd install" });
  expect(report(error)).toEqual({ text: "error: Cannot find an etcd\n  hint: quorate etcd install\n", exitCode: 7 });
});

test("anything else is a bug and shows its stack", () => {
  const { text, exitCode } = report(new TypeError("x is undefined"));
  expect(exitCode).toBe(1);
  expect(text).toContain("this is a bug in Quorate");
  expect(text).toContain("report.test.ts");
});

test("a foreign text cannot send escape sequences through an error", () => {
  expect(report(new QuorateError("FAILED", "Cannot read \u001b[31mred")).text).toBe("error: Cannot read ·[31mred\n");
});

test("what gRPC and Node say is put in words", () => {
  const refused =
    "14 UNAVAILABLE: No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: ";
  expect(inWords(refused)).toBe("connection refused");
  expect(inWords("14: No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: ")).toBe(
    "connection refused",
  );
  expect(inWords("Name resolution failed for target dns:h9: getaddrinfo ENOTFOUND h9")).toBe(
    "Name resolution failed for target dns:h9: no such host name: h9",
  );
  expect(inWords("etcdserver: no leader")).toBe("etcdserver: no leader");
});
