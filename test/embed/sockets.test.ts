import assert from "node:assert/strict";
import { endianness } from "node:os";
import { test } from "vitest";
import { hexAddress, parseSocketTable, userName } from "../../src/embed/sockets.ts";

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 27154 1 0000000000000000 100 0 0 10 0
   1: 0100007F:D2A0 0100007F:094B 01 00000000:00000000 02:000002B1 00000000     0        0 29311 2 0000000000000000 20 4 30 10 -1
   2: 0100007F:D2A2 0100007F:094B 06 00000000:00000000 03:00000F21 00000000     0        0 0 3 0000000000000000
something else
`;

test("parseSocketTable() reads address, port, state, user and inode, and skips what is no row", () => {
  assert.deepEqual(parseSocketTable(table), [
    { address: "0100007F", port: 2379, listening: true, uid: 1001, inode: 27154 },
    { address: "0100007F", port: 53920, listening: false, uid: 0, inode: 29311 },
    { address: "0100007F", port: 53922, listening: false, uid: 0, inode: 0 },
  ]);
});

test.skipIf(endianness() !== "LE")("hexAddress() writes addresses as the kernel does", () => {
  assert.equal(hexAddress("127.0.0.1"), "0100007F");
  assert.equal(hexAddress("0.0.0.0"), "00000000");
  assert.equal(hexAddress("::"), "0".repeat(32));
  assert.equal(hexAddress("::1"), "00000000000000000000000001000000");
  assert.equal(hexAddress("2001:db8::1:2"), "B80D0120000000000000000002000100");
  assert.equal(hexAddress("fe80:0:0:0:1:2:3:4"), "000080FE000000000200010004000300");
});

test("userName() names users of this machine and falls back to the number", async () => {
  assert.equal(await userName(0), "root");
  assert.equal(await userName(3_999_999_999), "3999999999");
});
