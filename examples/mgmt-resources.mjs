// @ts-check
// mgmt's World, by mgmt's names: exports this host's address, and prints what all hosts have exported whenever that changes.
//   node examples/mgmt-resources.mjs [HOSTNAME [ADDRESS [SEED...]]]
import { hostname } from "node:os";
import { connect } from "quorate/mgmt";

const [, , host = hostname(), address = "127.0.0.1", ...seeds] = process.argv;
const end = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end.abort());

const mgmt = await connect({ hostname: host, seeds: seeds.length > 0 ? seeds : ["http://127.0.0.1:2379"] });
try {
  // True: it was so already. On the session, so that a host that dies is not collected for ever.
  const unchanged = await mgmt.resExport([{ kind: "host", name: host, data: address }], { lease: "session" });
  console.log(unchanged ? "nothing to export" : `exported ${host}`);
  for await (const _ of mgmt.resWatch("host", { signal: end.signal })) {
    const found = await mgmt.resCollect([{ kind: "host" }]);
    console.log(found.map(({ name, data }) => `${name}=${data}`).join(" "));
  }
} finally {
  await mgmt.cleanup();
}
