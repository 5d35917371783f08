import { homedir, userInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { sshGiven } from "../../src/cli/options-ssh.ts";
import { nameOf, parseLogin, sshRoute } from "../../src/ssh/index.ts";
import { placeOf } from "../../src/ssh/chain.ts";

describe("a route", () => {
  test("goes through the jumps in their order, and ends at the host", () => {
    const route = sshRoute({ host: "inner", user: "me", jump: ["you@outer:2222", { host: "middle", port: 23 }] });
    expect(route.map(nameOf)).toEqual(["you@outer:2222", `${userInfo().username}@middle:23`, "me@inner"]);
  });

  test("shares identity, agent and known hosts with the jumps, and neither user, port nor host key", () => {
    const [outer] = sshRoute({
      host: "inner",
      port: 23,
      user: "me",
      identity: "~/.ssh/own",
      agent: "/run/agent",
      knownHosts: ["/a", "/b"],
      hostKey: "SHA256:biH7x5wEx+2m5VRBRd7f51WB6rbqrkroZguLE8hobUQ",
      jump: "outer",
    });
    expect(outer).toEqual({
      host: "outer",
      port: 22,
      user: userInfo().username,
      identities: [`${homedir()}/.ssh/own`],
      usual: false,
      agent: "/run/agent",
      knownHosts: ["/a", "/b"],
    });
  });

  test("holds no secret, so that a feeder may be started with it", () => {
    expect(JSON.parse(JSON.stringify(sshRoute({ host: "gate", jump: "outer" })))).toEqual(
      sshRoute({ host: "gate", jump: "outer" }),
    );
  });

  test.each([
    [{ host: "" }, /its host is "", which is none/],
    [{ host: "me@gate" }, /its host is "me@gate", which is none/],
    [{ host: "gate", port: 0 }, /its port is 0/],
    [{ host: "gate", user: "" }, /its user is no name/],
    [{ host: "gate", hostKey: "MD5:00:11" }, /neither like SHA256/],
    [{ host: "gate", jump: "a b" }, /"a b" is not of the form/],
    [{ host: "gate", jump: { host: "" } }, /of jump, its host/],
  ])("%j is refused in words", (options, message) => {
    expect(() => sshRoute(options)).toThrow(message);
  });
});

describe("--ssh-url", () => {
  test("takes user, host and port, and numbers of IPv6", () => {
    expect(parseLogin("ssh://me@gate.example.org:2222", "x")).toEqual({ host: "gate.example.org", user: "me", port: 2222 });
    expect(parseLogin("ssh://gate/", "x")).toEqual({ host: "gate" });
    expect(parseLogin("ssh://me@[2001:db8::1]:23", "x")).toEqual({ host: "2001:db8::1", user: "me", port: 23 });
    expect(() => parseLogin("ssh://gate/path", "x")).toThrow("is not of the form ssh://USER@HOST:PORT");
    expect(() => parseLogin("http://gate", "x")).toThrow("is not of the form ssh://USER@HOST:PORT");
  });

  test("comes with what ssh has as -J, -i and its files; every flag is a variable too", () => {
    const env = { QUORATE_SSH_URL: "ssh://me@gate", QUORATE_SSH_JUMP: "a,b@c:23", SSH_AUTH_SOCK: "/run/agent" };
    expect(sshGiven({}, env)).toEqual({
      host: "gate",
      user: "me",
      jump: [{ host: "a" }, { host: "c", user: "b", port: 23 }],
      agent: "/run/agent",
    });
    expect(sshGiven({ "ssh-identity": ["/id"] }, env)).toMatchObject({ identity: ["/id"] });
    expect(sshGiven({ "ssh-identity": ["/id"] }, env)).not.toHaveProperty("agent");
  });

  test("is missed where only another flag of ssh is typed", () => {
    expect(() => sshGiven({ "ssh-jump": ["a"] }, {})).toThrow("Cannot use --ssh-jump: there is no --ssh-url");
    expect(sshGiven({}, { QUORATE_SSH_JUMP: "a" })).toBeUndefined();
  });
});

test("an endpoint without a port has etcd's, and not ssh's", () => {
  expect(placeOf("http://etcd1")).toEqual({ host: "etcd1", port: 2379 });
  expect(placeOf("https://etcd1:80")).toEqual({ host: "etcd1", port: 80 });
  expect(placeOf("http://[2001:db8::1]:23790")).toEqual({ host: "2001:db8::1", port: 23790 });
});
