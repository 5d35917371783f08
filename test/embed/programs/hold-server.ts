// Starts a server and holds it until it is killed. Arguments: the options as JSON, without `boot`.
import { systemClock } from "../../../src/clock.ts";
import { EtcdServer, type EtcdServerOptions } from "../../../src/embed/index.ts";

const options = JSON.parse(process.argv[2] ?? "") as EtcdServerOptions;
const initialCluster = async () => [{ name: options.name, peerUrls: options.advertisePeerUrls }];
const boot = { state: "new" as const, token: "held", initialCluster };
const server = await EtcdServer.start({ ...options, boot }, { clock: systemClock }, new AbortController().signal);
process.stdout.write(`${server.pid}\n`);
