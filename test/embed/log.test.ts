import assert from "node:assert/strict";
import { pino } from "pino";
import { test } from "vitest";
import { LineSplitter, LogReading, parseLogLine, relog } from "../../src/embed/log.ts";

/** A reading of these lines. */
function read(...lines: string[]): LogReading {
  const reading = new LogReading();
  for (const line of lines) reading.read(line);
  return reading;
}

test("A line of etcd's log keeps level, message and fields; dpanic is an error, panic and fatal are fatal", () => {
  const line = (level: string): string =>
    `{"level":"${level}","ts":"2026-11-20T09:00:00.000Z","caller":"a.go:1","msg":"m","n":1}`;
  assert.deepEqual(parseLogLine(line("warn")), { level: "warn", msg: "m", fields: { caller: "a.go:1", n: 1 } });
  const levels = ["debug", "info", "warn", "error", "dpanic", "panic", "fatal", "new"].map(
    (level) => parseLogLine(line(level)).level,
  );
  assert.deepEqual(levels, ["debug", "info", "warn", "error", "error", "fatal", "fatal", "warn"]);
});

test("What is no JSON of etcd's is plain text: a warning, and fatal where it is a panic", () => {
  for (const line of ["[WARNING] Deprecated '--logger=capnslog' flag is set", "{", '{"level":1}', '{"msg":"m"}', "null"]) {
    assert.deepEqual(parseLogLine(line), { level: "warn", msg: line, fields: {} });
  }
  assert.equal(parseLogLine("panic: tocommit(9) is out of range [lastIndex(3)]").level, "fatal");
  assert.equal(parseLogLine("fatal error: out of memory").level, "fatal");
});

test("Why it ended: the first fatal line's error, else the first plain line, else the last message", () => {
  const info = '{"level":"info","msg":"closed etcd server"}';
  const fatal = '{"level":"fatal","msg":"discovery failed","error":"member count is unequal"}';
  assert.equal(read(info, fatal, "goroutine 1 [running]:").reason, "member count is unequal");
  assert.equal(read(info, "panic: a", "", "goroutine 1 [running]:", "panic: b").reason, "panic: a");
  assert.equal(read("flag provided but not defined: -x", "Usage:", "  etcd [flags]").reason, "flag provided but not defined: -x");
  assert.equal(read(info).reason, "closed etcd server");
  assert.equal(read().reason, "it wrote nothing");
});

test("Ids are those of the member itself; 0 stands for none", () => {
  const added = (local: string): string => `{"level":"info","msg":"added member","cluster-id":"0","local-member-id":"${local}"}`;
  const own =
    '{"level":"info","msg":"starting local member","local-member-id":"9be1e57646ce771","cluster-id":"6138a9fb3e9abe08"}';
  const other = '{"level":"info","msg":"added member","cluster-id":"6138a9fb3e9abe08","local-member-id":"1","added-peer-id":"2"}';
  const reading = read(added("0"), own, other);
  assert.deepEqual([reading.memberId, reading.clusterId], ["9be1e57646ce771", "6138a9fb3e9abe08"]);
});

test("It serves when the log of 3.4, 3.5 or TLS says so, not when listeners are only bound", () => {
  const says = (msg: string): boolean => read(`{"level":"info","msg":${JSON.stringify(msg)}}`).ready;
  assert.equal(says("ready to serve client requests"), true);
  assert.equal(says("serving client traffic insecurely; this is strongly discouraged!"), true);
  assert.equal(says("serving client traffic securely"), true);
  assert.equal(says("now serving peer/client/metrics"), false);
  assert.equal(says("serving peer traffic"), false);
});

test("Removed is what it says of itself, not what it hears of others", () => {
  const error = "the member has been permanently removed from the cluster";
  assert.equal(read(`{"level":"warn","msg":"rejected Raft message","error":"${error}"}`).removed, false);
  assert.equal(read('{"level":"warn","msg":"data-dir used by this member must be removed"}').removed, true);
});

test("The last 50 lines are kept, and lines may come in any pieces", () => {
  const reading = new LogReading();
  const splitter = new LineSplitter((line) => void reading.read(line));
  const text = Array.from({ length: 60 }, (_, index) => `line ${index} ünïcode`).join("\n");
  for (let at = 0; at < text.length; at += 7) splitter.write(text.slice(at, at + 7));
  splitter.end();
  assert.deepEqual(reading.lastLines, text.split("\n").slice(10));
});

test("A line without end does not fill our memory", () => {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => void lines.push(line));
  for (let i = 0; i < 100; i++) splitter.write("x".repeat(10_000));
  splitter.write("\nnext\n");
  assert.deepEqual(
    lines.map((line) => line.length),
    [64 * 1024, 4],
  );
});

test("Our log gets every line but the empty ones, with etcd's keys apart from ours", () => {
  const written: Record<string, unknown>[] = [];
  const log = pino(
    { base: null, timestamp: false },
    { write: (text: string) => void written.push(JSON.parse(text) as object as never) },
  );
  relog(log, parseLogLine('{"level":"error","msg":"m","name":"h1","time":"t","pid":1}'));
  relog(log, parseLogLine(""));
  relog(log, parseLogLine("plain"));
  assert.deepEqual(written, [
    { level: 50, etcd: { name: "h1", time: "t", pid: 1 }, msg: "m" },
    { level: 40, msg: "plain" },
  ]);
});
