import { describe, expect, test } from "vitest";
import { agentsOf, parseProcfile, writeProcfile } from "../../src/cli/up/procfile.ts";

describe("a Procfile", () => {
  test("has a command for each name; empty lines and remarks are passed over", () => {
    const text = "# etcd's own\n\n etcd1: etcd --name infra1 --enable-pprof\n#etcd2: etcd\nproxy : sh -c 'a; b'  \r\n";
    expect(parseProcfile(text, "Procfile")).toEqual([
      { name: "etcd1", command: "etcd --name infra1 --enable-pprof" },
      { name: "proxy", command: "sh -c 'a; b'" },
    ]);
  });

  test.each([
    ["etcd1 etcd", 'line 2: "etcd1 etcd" is no NAME: COMMAND'],
    ["a: etcd\na: etcd", "line 3: there is another a"],
    ["a:", 'line 2: "a:" is no NAME: COMMAND'],
  ])("%j is refused", (text, message) => {
    expect(() => parseProcfile(`# first\n${text}`, "Procfile")).toThrow(message);
  });

  test("is read as it was written, and names agents that found a cluster together", () => {
    const procs = agentsOf({ size: 2, folder: "/tmp/it's here", token: "t", state: "new", firstPort: 4000 });
    expect(parseProcfile(writeProcfile(procs), "Procfile")).toEqual(procs);
    expect(procs[1]!.command).toBe(
      "quorate run --hostname=h2 --client-urls=http://127.0.0.1:4002 --server-urls=http://127.0.0.1:4003 " +
        `--prefix='/tmp/it'\\''s here/h2' --ideal-cluster-size=2 ` +
        "--initial-cluster=h1=http://127.0.0.1:4001,h2=http://127.0.0.1:4003 --initial-cluster-state=new --initial-cluster-token=t",
    );
  });
});
