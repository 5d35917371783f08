import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { startEtcd } from "../support/etcd-process.ts";
import { temporaryFolder } from "../support/etcd-server.ts";
import { Process } from "../support/process.ts";
import { typeErrors } from "../support/typescript.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const built = {
  skipLibCheck: false,
  paths: { "quorate/mgmt": ["./dist/mgmt/index.d.ts"], "quorate/world": ["./dist/world/index.d.ts"] },
};

test("the program of docs/MGMT.md runs where quorate is installed, says hello, and ends by itself", async () => {
  await using etcd = await startEtcd(1);
  const folder = await temporaryFolder();
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules", "quorate"), "dir");
  const page = await readFile(join(root, "docs/MGMT.md"), "utf8");
  const [, program] = /^```ts\n(.*?)^```/ms.exec(page)!;
  await writeFile(join(folder, "pasted.mjs"), program!.replace("http://127.0.0.1:2379", etcd.urls[0]!));
  const env = { ...process.env, HOME: folder };
  const pasted = new Process("the program of docs/MGMT.md", [process.execPath, join(folder, "pasted.mjs")], env);
  onTestFinished(async () => {
    await pasted.kill();
  });
  const { code, stdout, stderr } = await pasted.end(20_000);
  expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: "", stdout: "hello\n" });
});

test("a strict program with the built typings compiles, and so do the typings themselves", () => {
  const program = `
    import { DefaultMaxTxnOps, WorldError, connect } from "quorate/mgmt";
    import type { ConnectOptions, MgmtWorld, ResExport, ResOutput } from "quorate/mgmt";
    import { openWorld } from "quorate/world";

    const options: ConnectOptions = { seeds: ["http://127.0.0.1:2379"], hostname: "h1", read: "session" };
    const mgmt: MgmtWorld = await connect(options);
    const again: MgmtWorld = await connect({ world: await openWorld(options) });
    const list: ResExport[] = [{ kind: "host", name: "web1", data: String(DefaultMaxTxnOps) }];
    const unchanged: boolean = await mgmt.resExport(list, { lease: "session" });
    for await (const { revision } of mgmt.resWatch("host")) {
      const found: readonly ResOutput[] = await mgmt.resCollect([{ kind: "host" }], { read: { atLeast: revision } });
      if (unchanged || found.length > 0) break;
    }
    const text: string = await mgmt.strGet("motd").catch((error: unknown) => {
      if (mgmt.strIsNotExist(error) && error instanceof WorldError && error.code === "NOT_EXIST") return "";
      throw error;
    });
    for await (const { members } of mgmt.watchMembers()) console.log(text, members[0]?.role);
    await again.cleanup();
  `;
  const wrong = `
    import { connect } from "quorate/mgmt";
    const mgmt = await connect({ seeds: ["http://127.0.0.1:2379"] });
    await mgmt.addDeploy("1", "", "", "data");
  `;
  const errors = typeErrors({ "program.ts": program, "wrong.ts": wrong }, built);
  expect(errors).toEqual([expect.stringMatching(/^wrong\.ts:4: .*'string' is not assignable to .*'number'/)]);
});
