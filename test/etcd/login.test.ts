import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient, Session, watchRange, type Login, type WatchNews } from "../../src/etcd/index.ts";
import { etcdctlBinary } from "../support/etcd.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";

const never = new AbortController().signal;
const reader: Login = { user: "reader", password: "r" };
const root: Login = { user: "root", password: "secret" };

let etcd: TestCluster;
let url: string;

beforeAll(async () => {
  // Tokens of one second: every pause of the tests outlives one. A login that is as cheap as can be: at the usual cost it takes a busy
  // machine longer than a call may take.
  etcd = await startEtcd(1, { flags: ["--auth-token-ttl", "1", "--log-level", "debug", "--bcrypt-cost", "4"] });
  url = etcd.urls[0]!;
  for (const command of [
    "user add root:secret",
    "user grant-role root root",
    "role add reads",
    "role grant-permission reads readwrite --prefix=true /open/",
    "user add reader:r",
    "user grant-role reader reads",
    "auth enable",
  ]) {
    execFileSync(etcdctlBinary(), ["--endpoints", url, ...command.split(" ")], { env: { ETCDCTL_API: "3" }, stdio: "pipe" });
  }
});
afterAll(() => etcd.stop());

function clientOf(login?: Login): EtcdClient {
  const client = EtcdClient.create({ endpoints: [url], clock, ...(login && { login }) });
  onTestFinished(() => client.close());
  return client;
}

/** Until etcd has forgotten every token of the client. */
async function expired(client: EtcdClient): Promise<void> {
  const { token } = (await client.caller.credentials?.pass()) ?? {};
  await forgotten(token);
}

async function forgotten(token: string | undefined): Promise<void> {
  await eventually("the token has expired", async () => {
    // Any use prolongs it: so the log is asked, not etcd.
    return etcd.nodes[0]?.lines.some((line) => line.includes("deleted a simple token") && line.includes(String(token)));
  });
}

test("without a login, or with a wrong one, a call is refused at once and says why", async () => {
  await expect(clientOf().get("/open/a")).rejects.toMatchObject({ code: "ETCD_REFUSED", data: { reason: "user name is empty" } });
  const wrong = clientOf({ user: "root", password: "x" });
  await expect(wrong.get("/open/a")).rejects.toMatchObject({
    code: "ETCD_REFUSED",
    message: "Cannot log in as root: etcd refused it: authentication failed, invalid user ID or password",
  });
});

test("an expired token is got again by reads, writes and txns, each of which is run once", async () => {
  const client = clientOf(root);
  await client.put("/open/count", "0");
  for (const [i, call] of [
    () => client.put("/open/count", "1"),
    () => client.txn({ then: [{ put: "/open/count", value: "2" }] }),
    () => client.get("/open/count"),
  ].entries()) {
    await expired(client);
    await call();
    expect((await client.get("/open/count")).entry?.version, `call ${i}`).toBe(Math.min(i + 2, 3));
  }
});

test("a token that expires before it is used, as on a machine that stands still, is got once more, and the call is run once", async () => {
  const client = clientOf(root);
  await client.put("/open/slow", "0");
  const credentials = client.caller.credentials!;
  const pass = credentials.pass.bind(credentials);
  let slow = 3;
  credentials.pass = async () => {
    const got = await pass();
    if (slow-- > 0) await forgotten(got.token);
    return got;
  };
  await client.put("/open/slow", "1", { timeoutMs: 30_000 });
  expect(slow).toBeLessThanOrEqual(0);
  expect((await client.get("/open/slow")).entry?.version).toBe(2);
});

test("a watch that is opened, and one that is opened anew, gets another token for one that has expired; the others stay", async () => {
  const client = clientOf(reader);
  const seen: string[] = [];
  const follow = (key: string): Promise<never> => {
    const stop = new AbortController();
    const over = watchRange(
      client,
      { start: key, end: `${key}~` },
      (news: WatchNews) => {
        if (news.kind === "snapshot") seen.push(`${key} snapshot`);
        if (news.kind === "changes") seen.push(...news.changes.map((change) => (change.type === "put" ? change.entry.key : "")));
      },
      { clock },
      stop.signal,
    );
    onTestFinished(async () => {
      stop.abort(new Error("over"));
      await over.catch(() => undefined);
    });
    over.catch(() => undefined);
    return over;
  };
  void follow("/open/a");
  await eventually("the first is there", () => seen.includes("/open/a snapshot"));
  await expired(client);
  void follow("/open/b");
  await eventually("the second is there", () => seen.includes("/open/b snapshot"));
  const admin = clientOf(root);
  await admin.put("/open/a1", "1");
  await admin.put("/open/b1", "1");
  await eventually("both are told", () => seen.includes("/open/a1") && seen.includes("/open/b1"));
  await expired(client);
  await etcd.nodes[0]?.kill();
  await etcd.nodes[0]?.restart();
  await eventually("written", () => admin.put("/open/a2", "1").catch(() => undefined));
  await admin.put("/open/b2", "1");
  await eventually("both are told after a restart", () => seen.includes("/open/a2") && seen.includes("/open/b2"));
  await expect(follow("/closed/")).rejects.toMatchObject({ code: "ETCD_REFUSED", data: { reason: "permission denied" } });
  await admin.put("/open/a3", "1");
  await eventually("the refused one disturbs nobody", () => seen.includes("/open/a3"));
});

test("a session outlives its token", async () => {
  const client = clientOf(root);
  await using session = await Session.open(client, { ttlMs: 6_000, clock }, never);
  await client.put("/open/session", "1", { lease: session.lease });
  await expired(client);
  await client.put("/open/session", "2", { lease: session.lease, session });
  const putMs = clock.nowMs();
  await eventually("its TTL has passed once more", () => clock.nowMs() - putMs > session.ttlMs);
  session.check();
  expect((await client.get("/open/session")).entry?.lease).toBe(session.lease);
});

test("where authentication is off a login changes nothing", async () => {
  await using open = await startEtcd(1);
  const client = EtcdClient.create({ endpoints: open.urls, clock, login: root });
  onTestFinished(() => client.close());
  await client.put("/a", "1");
  expect((await client.get("/a")).entry?.value).toBe("1");
});
