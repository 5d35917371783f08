import { Buffer } from "node:buffer";
import type { FsFiles, FsHandle } from "../../../src/world/index.ts";

/** Notes what a call gives, or fails with. */
export type Note = <T>(act: () => Promise<T>) => Promise<T | undefined>;

/** A sentence, and what to do to see whether it holds. `fs` has "/f" with `hello`, "/d/x" with `x`, an empty "/e", and the link "/l" to `f`. */
export type Behaviour = readonly [string, (fs: FsFiles, note: Note) => Promise<void>];

const text = (fs: FsFiles, path: string) => () => fs.readFile(path, "utf8");

/** Opens it, and closes it whatever happens. */
async function opened(fs: FsFiles, path: string, flags: Parameters<FsFiles["open"]>[1], use: (h: FsHandle) => Promise<void>) {
  const handle = await fs.open(path, flags);
  try {
    await use(handle);
  } finally {
    await handle.close();
  }
}

/** Of a read: how many bytes, and the whole buffer. */
const reading =
  (h: FsHandle, size: number, ...more: (number | null)[]) =>
  async () => {
    const buffer = Buffer.alloc(size, ".");
    const [offset, length, position] = more;
    const { bytesRead } = await h.read(buffer, offset, length, position);
    return [bytesRead, buffer.toString()];
  };

const writing =
  (h: FsHandle, what: string, ...more: (number | null)[]) =>
  async () => {
    const [offset, length, position] = more;
    return (await h.write(Buffer.from(what), offset, length, position)).bytesWritten;
  };

const kindOf = (fs: FsFiles, path: string) => async () => {
  const stats = await fs.lstat(path);
  return stats.isFile() ? ["file", stats.size] : stats.isDirectory() ? ["folder"] : ["link", stats.size];
};

const permissions = (fs: FsFiles, path: string) => async () => (await fs.stat(path)).mode.toString(8);

const none = (act: () => Promise<unknown>) => async (): Promise<undefined> => {
  await act();
};

const reads: readonly Behaviour[] = [
  [
    "a read gives what there is, and 0 bytes at the end",
    async (fs, note) =>
      opened(fs, "/f", "r", async (h) => {
        await note(reading(h, 3));
        await note(reading(h, 3));
        await note(reading(h, 3));
        await note(reading(h, 3, 0, 3, 1));
        await note(reading(h, 3, 0, 3, 4));
        await note(reading(h, 3, 0, 3, 5));
        await note(reading(h, 3, 0, 3, 500));
      }),
  ],
  [
    "a read at a place leaves the handle where it is",
    async (fs, note) =>
      opened(fs, "/f", "r", async (h) => {
        await note(reading(h, 2));
        await note(reading(h, 2, 0, 2, 0));
        await note(reading(h, 2));
        await note(reading(h, 2, 0, 2, null));
      }),
  ],
  [
    "a read fills a part of the buffer only",
    async (fs, note) =>
      opened(fs, "/f", "r", async (h) => {
        await note(reading(h, 6, 2, 3));
        await note(reading(h, 6, 6, 0));
        await note(reading(h, 6, 4));
        await note(async () => {
          const buffer = Buffer.alloc(4, ".");
          const { bytesRead } = await h.read(buffer, { offset: 1, length: 2, position: 1 });
          return [bytesRead, buffer.toString()];
        });
      }),
  ],
  [
    "a read beyond its buffer is refused",
    async (fs, note) =>
      opened(fs, "/f", "r", async (h) => {
        await note(reading(h, 4, 0, 5, 0));
        await note(reading(h, 4, 5, 1, 0));
        await note(reading(h, 4, 2, 3, 0));
      }),
  ],
  [
    "negative offsets and lengths are refused, and a negative place is none",
    async (fs, note) =>
      opened(fs, "/f", "r+", async (h) => {
        await note(reading(h, 4, -1, 1, 0));
        await note(reading(h, 4, 0, -1, 0));
        await note(reading(h, 4, 0.5, 1, 0));
        await note(reading(h, 2, 0, 2, -1));
        await note(reading(h, 2, 0, 2, -7));
        await note(writing(h, "abc", -1, 1, 0));
        await note(writing(h, "abc", 0, -1, 0));
        await note(writing(h, "abc", 0, 4, 0));
        await note(writing(h, "abc", 4, 1, 0));
        await note(writing(h, "abc", 0, 1, -7));
        await h.sync();
        await note(text(fs, "/f"));
      }),
  ],
  [
    "an empty read and an empty write do nothing",
    async (fs, note) =>
      opened(fs, "/f", "r+", async (h) => {
        await note(reading(h, 4, 0, 0, 0));
        await note(reading(h, 0, 0, 0, 0));
        await note(writing(h, "", 0, 0, 0));
        await note(writing(h, "abc", 0, 0, 100));
        await note(async () => (await h.write("", 0)).bytesWritten);
        await h.sync();
        await note(text(fs, "/f"));
      }),
  ],
  [
    "a file is read whole from where the handle is",
    async (fs, note) =>
      opened(fs, "/f", "r", async (h) => {
        await note(reading(h, 2));
        await note(() => h.readFile("utf8"));
        await note(() => h.readFile({ encoding: "utf8" }));
        await note(async () => (await h.readFile()).length);
      }),
  ],
  [
    "a file comes as bytes, or as text where an encoding is given",
    async (fs, note) => {
      await note(async () => (await fs.readFile("/f")).toString("hex"));
      await note(() => fs.readFile("/f", "hex"));
      await note(() => fs.readFile("/f", { encoding: "base64" }));
      await note(async () => Buffer.isBuffer(await fs.readFile("/f", { encoding: null })));
      await note(async () => Buffer.isBuffer(await fs.readFile("/f", null)));
      await note(() => fs.readFile("/none", "utf8"));
      await note(() => fs.readFile("/d"));
      await note(() => fs.readFile("/f/x"));
      await note(() => fs.readFile("/f/"));
      await note(() => fs.readFile("/e/../f", "utf8"));
      await note(() => fs.readFile("/none/../f", "utf8"));
      await note(() => fs.readFile("/f/../f", "utf8"));
      await note(() => fs.readFile("//d///x", "utf8"));
      await note(() => fs.readFile("/d/./x", "utf8"));
      await note(() => fs.readFile("", "utf8"));
    },
  ],
  [
    "arguments that are none are said to be so",
    async (fs, note) => {
      const f = fs as unknown as Record<string, (...given: unknown[]) => Promise<unknown>>;
      await note(() => f["readFile"]!({}));
      await note(() => f["readFile"]!("/a\0b"));
      await note(() => f["readFile"]!("/f", { flag: "q" }));
      await note(() => f["writeFile"]!("/f", 7));
      await note(() => f["writeFile"]!("/f", "x", { flag: "rw" }));
      await note(() => f["open"]!("/f", "x"));
      await note(() => f["open"]!("/f", {}));
      await note(() => f["open"]!("/f", "r", -1));
      await note(() => f["mkdir"]!("/n", { mode: 0.5 }));
      await note(() => f["chmod"]!("/f", -1));
      await note(() => f["chmod"]!("/f", 2 ** 32));
      await note(() => f["truncate"]!("/f", 1.5));
      await note(() => f["truncate"]!("/f", "1"));
      await opened(fs, "/f", "r+", async (h) => {
        const of = h as unknown as Record<string, (...given: unknown[]) => Promise<unknown>>;
        await note(() => of["read"]!("x"));
        await note(() => of["write"]!(7));
        await note(() => of["write"]!({}));
        await note(() => of["writeFile"]!(7));
        await note(() => of["truncate"]!(1.5));
        await note(() => of["chmod"]!(-1));
      });
      await note(text(fs, "/f"));
    },
  ],
  [
    "a folder can be opened to read, and has no bytes",
    async (fs, note) => {
      await opened(fs, "/d", "r", async (h) => {
        await note(async () => (await h.stat()).isDirectory());
        await note(reading(h, 3));
        await note(() => h.readFile());
        await note(() => h.writeFile("x"));
      });
      for (const flags of ["r+", "w", "a", "wx", "a+"] as const) await note(none(() => fs.open("/d", flags)));
    },
  ],
  [
    "the names in a folder come in order; a file is no folder",
    async (fs, note) => {
      for (const name of ["b", "a", "B", "_", "10", "9", "ä"]) await fs.writeFile(`/e/${name}`, "");
      await note(async () => (await fs.readdir("/e")).sort());
      await note(() => fs.readdir("/f"));
      await note(() => fs.readdir("/none"));
      await note(() => fs.readdir("/f/x"));
      await note(() => fs.readdir("/d/"));
    },
  ],
  [
    "a folder tells what its entries are, also of those below it",
    async (fs, note) => {
      await fs.mkdir("/d/m/n", { recursive: true });
      await fs.symlink("x", "/d/m/n/link");
      await note(async () => (await fs.readdir("/", { recursive: true })).sort());
      const all = async (recursive: boolean) => {
        const found = await fs.readdir("/d", { withFileTypes: true, recursive });
        return found.map((one) => [one.name, one.isFile(), one.isDirectory(), one.isSymbolicLink()].join()).sort();
      };
      await note(() => all(false));
      await note(() => all(true));
    },
  ],
];

const writes: readonly Behaviour[] = [
  [
    "what is appended goes to the end, wherever it is said to go",
    async (fs, note) => {
      await opened(fs, "/f", "a", async (h) => {
        await note(writing(h, "one", 0, 3, 0));
        await note(async () => (await h.write("two", 1)).bytesWritten);
        await note(() => h.appendFile("three"));
        await note(() => h.writeFile("four"));
        await note(reading(h, 3));
      });
      await note(text(fs, "/f"));
      await note(() => fs.appendFile("/f", "five"));
      await note(() => fs.appendFile("/new", "made"));
      await note(() => fs.appendFile("/d", "x"));
      await note(() => fs.appendFile("/none/x", "x"));
      await note(text(fs, "/f"));
      await note(text(fs, "/new"));
    },
  ],
  [
    "a handle for appending and reading reads from the start, and writes at the end",
    async (fs, note) => {
      await opened(fs, "/f", "a+", async (h) => {
        await note(reading(h, 2));
        await note(() => h.writeFile("W"));
        await note(reading(h, 2));
        await note(reading(h, 9, 0, 9, 0));
        await note(writing(h, "X", 0, 1, 0));
        await note(reading(h, 2));
      });
      await note(text(fs, "/f"));
    },
  ],
  [
    "what is between the end and a write behind it becomes zeros",
    async (fs, note) => {
      await opened(fs, "/f", "r+", async (h) => {
        await note(writing(h, "end", 0, 3, 9));
        await note(reading(h, 14, 0, 14, 0));
        await note(async () => (await h.stat()).size);
        await note(reading(h, 2));
      });
      await note(() => fs.readFile("/f", "hex"));
      await opened(fs, "/sparse", "w", async (h) => {
        await note(writing(h, "x", 0, 1, 300_000));
      });
      await note(async () => {
        const bytes = await fs.readFile("/sparse");
        return [bytes.length, bytes.at(-1), bytes.subarray(0, -1).every((byte) => byte === 0)];
      });
    },
  ],
  [
    "a write in the middle changes what is there and nothing else, also across pieces of 256 KiB",
    async (fs, note) => {
      await fs.writeFile("/big", Buffer.alloc(700_000, "a"));
      await opened(fs, "/big", "r+", async (h) => {
        await note(writing(h, "b".repeat(1_000), 0, 1_000, 262_144 - 500));
        await note(reading(h, 6, 0, 6, 262_144 - 503));
        await note(reading(h, 6, 0, 6, 262_144 + 497));
        await note(writing(h, "c", 0, 1, 699_999));
      });
      const sum = async (): Promise<readonly unknown[]> => {
        const bytes = await fs.readFile("/big");
        const count = (letter: string) => bytes.filter((byte) => byte === letter.charCodeAt(0)).length;
        return [bytes.length, count("a"), count("b"), count("c"), bytes.indexOf("b"), bytes.lastIndexOf("b")];
      };
      await note(sum);
      await note(() => fs.truncate("/big", 262_145));
      await note(sum);
      await note(() => fs.truncate("/big", 262_144));
      await note(sum);
      await note(() => fs.truncate("/big", 600_000));
      await note(sum);
    },
  ],
  [
    "writes go on where the handle is",
    async (fs, note) => {
      await opened(fs, "/f", "r+", async (h) => {
        await note(writing(h, "HE"));
        await note(writing(h, "O", 0, 1, 4));
        await note(writing(h, "L"));
        await note(async () => (await h.write("zz", null, "utf8")).bytesWritten);
        await note(async () => (await h.write("4142", 0, "hex")).bytesWritten);
        await note(async () => (await h.write(Buffer.from("xyz"), { offset: 1, length: 1, position: 3 })).bytesWritten);
        await note(() => h.writeFile("rest"));
      });
      await note(text(fs, "/f"));
    },
  ],
  [
    "a handle for reading writes nothing, and one for writing reads nothing",
    async (fs, note) => {
      await opened(fs, "/f", "r", async (h) => {
        await note(writing(h, "x"));
        await note(() => h.writeFile("x"));
        await note(() => h.appendFile("x"));
        await note(() => h.truncate(1));
        await note(() => h.sync());
        await note(() => h.datasync());
      });
      await opened(fs, "/new", "w", async (h) => {
        await note(() => h.writeFile("hello"));
        await note(reading(h, 3, 0, 3, 0));
        await note(() => h.readFile());
      });
      await note(text(fs, "/f"));
      await note(text(fs, "/new"));
    },
  ],
  [
    "a handle that is closed does nothing any more",
    async (fs, note) => {
      const h = await fs.open("/f", "r+");
      await note(() => h.close());
      await note(() => h.close());
      await note(reading(h, 3));
      await note(writing(h, "x"));
      await note(() => h.readFile());
      await note(() => h.writeFile("x"));
      await note(() => h.appendFile("x"));
      await note(() => h.truncate());
      await note(none(() => h.stat()));
      await note(() => h.chmod(0o600));
      await note(() => h.sync());
      await note(() => h.datasync());
      await note(text(fs, "/f"));
    },
  ],
  [
    "what is made with x has to be new",
    async (fs, note) => {
      for (const flag of ["wx", "ax", "wx+", "ax+"] as const) {
        await note(none(() => fs.open("/f", flag)));
        await note(() => fs.writeFile("/f", "other", { flag }));
        await note(() => fs.writeFile(`/new-${flag}`, "mine", { flag }));
        await note(() => fs.writeFile("/d", "x", { flag }));
        await note(() => fs.writeFile("/l", "x", { flag }));
      }
      await note(() => fs.symlink("nowhere", "/dangling"));
      await note(() => fs.writeFile("/dangling", "x", { flag: "wx" }));
      await note(text(fs, "/f"));
      await note(text(fs, "/new-ax+"));
      await note(async () => (await fs.readdir("/")).sort());
    },
  ],
  [
    "opening to write empties a file at the latest when it is closed, opening to read and write does not",
    async (fs, note) => {
      await opened(fs, "/f", "r+", async () => undefined);
      await note(text(fs, "/f"));
      await opened(fs, "/f", "w", async (h) => {
        await note(async () => (await h.stat()).size);
      });
      await note(text(fs, "/f"));
      await note(none(() => fs.open("/none", "r")));
      await note(none(() => fs.open("/none", "r+")));
      await note(none(() => fs.open("/none/x", "w")));
      await note(none(() => fs.open("/f/x", "w")));
      await note(none(() => fs.open("/none/", "w")));
      await opened(fs, "/new", "w+", async (h) => {
        await note(() => h.writeFile("abc"));
        await note(reading(h, 3, 0, 3, 0));
      });
      await note(kindOf(fs, "/new"));
    },
  ],
  [
    "a file is cut off, or filled up with zeros",
    async (fs, note) => {
      await opened(fs, "/f", "r+", async (h) => {
        await note(() => h.truncate(3));
        await note(() => h.readFile("utf8"));
        await note(() => h.truncate(5));
        await note(reading(h, 7, 0, 7, 0));
        await note(() => h.truncate(-3));
        await note(async () => (await h.stat()).size);
        await note(() => h.truncate(2));
        await note(() => h.truncate(Number.MAX_SAFE_INTEGER));
      });
      await note(() => fs.readFile("/f", "hex"));
      await note(() => fs.truncate("/f", 1));
      await note(() => fs.truncate("/f"));
      await note(() => fs.truncate("/f", -5));
      await note(() => fs.truncate("/d", 1));
      await note(() => fs.truncate("/none", 1));
      await note(kindOf(fs, "/f"));
    },
  ],
  [
    "a file is replaced whole, also one that a link leads to",
    async (fs, note) => {
      await note(() => fs.writeFile("/f", "hi"));
      await note(text(fs, "/f"));
      await note(() => fs.writeFile("/l", "through"));
      await note(text(fs, "/f"));
      await note(kindOf(fs, "/l"));
      await note(() => fs.writeFile("/f", Buffer.from("bytes")));
      await note(() => fs.writeFile("/f", "bWlk", { encoding: "base64", flag: "r+" }));
      await note(text(fs, "/f"));
      await note(() => fs.writeFile("/d", "x"));
      await note(() => fs.writeFile("/none/x", "x"));
      await note(() => fs.writeFile("/f/x", "x"));
      await note(() => fs.writeFile("/new/", "x"));
      await note(() => fs.writeFile("/", "x"));
      await note(() => fs.writeFile("/empty", ""));
      await note(kindOf(fs, "/empty"));
    },
  ],
  [
    "names may have 255 bytes, and any character but a slash",
    async (fs, note) => {
      for (const name of ["x".repeat(255), "ä".repeat(127), " ", "%2f", "-", "…", "a\nb", "\\", "*"]) {
        await note(() => fs.writeFile(`/e/${name}`, name.slice(0, 3)));
      }
      await note(async () => (await fs.readdir("/e")).sort());
      await note(() => fs.writeFile(`/${"x".repeat(256)}`, ""));
      await note(() => fs.mkdir(`/${"ä".repeat(128)}`));
      await note(() => fs.readFile(`/${"x".repeat(256)}/y`));
    },
  ],
  [
    "permissions are those that were given",
    async (fs, note) => {
      await note(() => fs.writeFile("/new", "", { mode: 0o640 }));
      await note(permissions(fs, "/new"));
      await note(() => fs.writeFile("/new", "", { mode: 0o600 }));
      await note(permissions(fs, "/new"));
      await note(() => fs.chmod("/new", 0o755));
      await note(permissions(fs, "/new"));
      await note(() => fs.chmod("/l", 0o604));
      await note(permissions(fs, "/f"));
      await note(async () => (await fs.lstat("/l")).mode.toString(8));
      await note(() => fs.mkdir("/m", 0o750));
      await note(permissions(fs, "/m"));
      await note(() => fs.mkdir("/m/n/o", { recursive: true, mode: 0o700 }));
      await note(permissions(fs, "/m/n/o"));
      await note(() => fs.chmod("/d", 0o711));
      await note(permissions(fs, "/d"));
      await note(() => fs.chmod("/none", 0o600));
      await opened(fs, "/f", "r+", async (h) => {
        await note(() => h.chmod(0o622));
        await note(async () => (await h.stat()).mode.toString(8));
        await note(() => h.writeFile("x"));
      });
      await note(permissions(fs, "/f"));
    },
  ],
];

const trees: readonly Behaviour[] = [
  [
    "a folder is made where there is nothing, and its parent is there",
    async (fs, note) => {
      await note(() => fs.mkdir("/new"));
      await note(kindOf(fs, "/new"));
      for (const path of ["/new", "/f", "/l", "/none/x", "/f/x", "/"]) await note(() => fs.mkdir(path));
      await note(() => fs.mkdir("/slash/"));
      await note(kindOf(fs, "/slash"));
    },
  ],
  [
    "folders are made with those above them, and those that are there are left",
    async (fs, note) => {
      await note(() => fs.mkdir("/m/n/o", { recursive: true }));
      await note(() => fs.mkdir("/m/n/p/q", { recursive: true }));
      await note(() => fs.mkdir("/m/n", { recursive: true }));
      await note(() => fs.mkdir("/d", { recursive: true }));
      await note(text(fs, "/d/x"));
      await note(() => fs.mkdir("/f", { recursive: true }));
      await note(() => fs.mkdir("/f/x/y", { recursive: true }));
      await note(async () => (await fs.readdir("/m", { recursive: true })).sort());
      await note(() => fs.symlink("nowhere", "/dangling"));
      await note(() => fs.mkdir("/dangling", { recursive: true }));
      await note(() => fs.symlink("d", "/ld"));
      await note(() => fs.mkdir("/ld/below", { recursive: true }));
      await note(kindOf(fs, "/d/below"));
    },
  ],
  [
    "a file is renamed, also over another",
    async (fs, note) => {
      await note(() => fs.rename("/f", "/g"));
      await note(kindOf(fs, "/f"));
      await note(text(fs, "/g"));
      await note(() => fs.rename("/g", "/d/x"));
      await note(text(fs, "/d/x"));
      await note(() => fs.rename("/none", "/y"));
      await note(() => fs.rename("/d/x", "/none/y"));
      await note(() => fs.rename("/d/x", "/d/x"));
      await note(() => fs.rename("/d/x", "/y/"));
      await note(() => fs.rename("/d/x/", "/y"));
      await note(async () => (await fs.readdir("/", { recursive: true })).sort());
    },
  ],
  [
    "a link is renamed itself",
    async (fs, note) => {
      await note(() => fs.rename("/l", "/d/l"));
      await note(() => fs.readlink("/d/l"));
      await note(kindOf(fs, "/f"));
      await note(() => fs.symlink("e", "/le"));
      await note(() => fs.rename("/f", "/le"));
      await note(kindOf(fs, "/le"));
    },
  ],
  [
    "a folder is renamed with all in it, over an empty one, and never over a file or one that is not empty",
    async (fs, note) => {
      await note(() => fs.rename("/d", "/e"));
      await note(text(fs, "/e/x"));
      await note(() => fs.rename("/e", "/f"));
      await note(() => fs.rename("/e", "/l"));
      await note(() => fs.rename("/f", "/e"));
      await note(() => fs.mkdir("/full"));
      await note(() => fs.writeFile("/full/y", "y"));
      await note(() => fs.rename("/e", "/full"));
      await note(() => fs.rename("/e", "/moved/"));
      await note(async () => (await fs.readdir("/", { recursive: true })).sort());
    },
  ],
  [
    "a folder is not renamed into itself",
    async (fs, note) => {
      await fs.mkdir("/d/m/n", { recursive: true });
      await note(() => fs.rename("/d", "/d/y"));
      await note(() => fs.rename("/d", "/d/m/n/y"));
      await note(() => fs.rename("/d", "/d/m"));
      await note(() => fs.rename("/d", "/d"));
      await note(() => fs.rename("/d/m", "/d"));
      await note(() => fs.rename("/d/x", "/d"));
      await note(() => fs.symlink("d/m", "/lm"));
      await note(() => fs.rename("/d", "/lm/y"));
      await note(() => fs.rename("/d", "/dd"));
      await note(async () => (await fs.readdir("/", { recursive: true })).sort());
    },
  ],
  [
    "rm removes files and links, folders only when that is meant, and what is not there only when that is forced",
    async (fs, note) => {
      await note(() => fs.rm("/l"));
      await note(kindOf(fs, "/f"));
      await note(() => fs.rm("/none"));
      await note(() => fs.rm("/none", { force: true }));
      await note(() => fs.rm("/none/x", { force: true }));
      await note(() => fs.rm("/d"));
      await note(() => fs.rm("/d", { force: true }));
      await note(() => fs.rm("/e"));
      await note(() => fs.symlink("d", "/ld"));
      await note(() => fs.rm("/ld", { recursive: true }));
      await note(kindOf(fs, "/d/x"));
      await note(() => fs.rm("/d", { recursive: true }));
      await note(() => fs.rm("/d", { recursive: true }));
      await note(() => fs.rm("/f/x"));
      await note(async () => (await fs.readdir("/", { recursive: true })).sort());
    },
  ],
  [
    "rmdir removes empty folders and nothing else, unlink all but folders",
    async (fs, note) => {
      for (const path of ["/none", "/f", "/l", "/d", "/f/x", "/e", "/e"]) await note(() => fs.rmdir(path));
      await note(() => fs.rmdir("/d/."));
      await note(() => fs.rmdir("/d/.."));
      for (const path of ["/none", "/d", "/f/x", "/f/", "/l", "/f", "/f"]) await note(() => fs.unlink(path));
      await note(async () => (await fs.readdir("/", { recursive: true })).sort());
    },
  ],
  [
    "a copy of a file is a file of its own, over another unless that is not to be",
    async (fs, note) => {
      await note(() => fs.cp("/f", "/g"));
      await note(() => fs.writeFile("/g", "changed"));
      await note(text(fs, "/f"));
      await note(() => fs.cp("/f", "/d/x", { force: false }));
      await note(text(fs, "/d/x"));
      await note(() => fs.cp("/f", "/d/x", { force: false, errorOnExist: true }));
      await note(() => fs.cp("/f", "/d/x"));
      await note(text(fs, "/d/x"));
      await note(() => fs.cp("/f", "/deep/er/g"));
      await note(text(fs, "/deep/er/g"));
      await note(() => fs.cp("/f", "/f"));
      await note(() => fs.cp("/none", "/g"));
      await note(() => fs.cp("/f", "/d"));
      await note(() => fs.chmod("/f", 0o640));
      await note(() => fs.cp("/f", "/moded"));
      await note(permissions(fs, "/moded"));
    },
  ],
  [
    "a copy of a folder has all that is in it, goes into one that is there, and never into itself",
    async (fs, note) => {
      await fs.mkdir("/d/m");
      await fs.writeFile("/d/m/y", "y");
      await fs.symlink("../x", "/d/m/link");
      await note(() => fs.cp("/d", "/c"));
      await note(() => fs.cp("/d", "/c", { recursive: true }));
      await note(() => fs.readlink("/c/m/link"));
      await note(() => fs.writeFile("/c/only", "here"));
      await note(() => fs.writeFile("/c/x", "other"));
      await note(() => fs.cp("/d", "/c", { recursive: true, force: false }));
      await note(text(fs, "/c/x"));
      await note(() => fs.mkdir("/c/e"));
      await note(() => fs.writeFile("/c/e/y", "y"));
      await note(() => fs.cp("/c/e", "/e", { recursive: true }));
      await note(() => fs.cp("/c/e", "/e", { recursive: true, force: false, errorOnExist: true }));
      await note(() => fs.cp("/d", "/c", { recursive: true }));
      await note(text(fs, "/c/x"));
      await note(() => fs.cp("/d", "/d/m/self", { recursive: true }));
      await note(() => fs.cp("/d", "/f", { recursive: true }));
      await note(() => fs.cp("/l", "/l2"));
      await note(() => fs.readlink("/l2"));
      await note(() => fs.writeFile("/d/n", "file"));
      await note(() => fs.mkdir("/c/n"));
      await note(none(() => fs.cp("/d", "/c", { recursive: true })));
      await note(async () => (await fs.readdir("/c", { recursive: true })).sort());
    },
  ],
  [
    "links lead on, by name or from the root, and one that leads in a circle leads nowhere",
    async (fs, note) => {
      await note(text(fs, "/l"));
      await note(() => fs.readlink("/l"));
      await note(kindOf(fs, "/l"));
      await note(async () => (await fs.stat("/l")).size);
      await note(() => fs.symlink("d", "/ld"));
      await note(text(fs, "/ld/x"));
      await note(text(fs, "/ld/../f"));
      await note(async () => (await fs.readdir("/ld/")).sort());
      await note(() => fs.symlink("../f", "/d/up"));
      await note(text(fs, "/d/up"));
      await note(text(fs, "/ld/up"));
      await note(() => fs.realpath("/ld/up"));
      await note(() => fs.realpath("/"));
      await note(() => fs.symlink("two", "/one"));
      await note(() => fs.symlink("one", "/two"));
      await note(text(fs, "/one"));
      await note(none(() => fs.stat("/one")));
      await note(() => fs.realpath("/one/x"));
      await note(() => fs.writeFile("/one", "x"));
      await note(() => fs.readlink("/f"));
      await note(() => fs.readlink("/none"));
      await note(() => fs.symlink("x", "/f"));
      await note(() => fs.symlink("x", "/none/x"));
      await note(() => fs.symlink("", "/empty"));
      await note(() => fs.symlink("nowhere", "/dangling"));
      await note(none(() => fs.stat("/dangling")));
      await note(() => fs.access("/dangling"));
      await note(() => fs.writeFile("/dangling", "made"));
      await note(text(fs, "/nowhere"));
    },
  ],
  [
    "what is not there is said to be so, of whatever was asked",
    async (fs, note) => {
      for (const path of ["/none", "/f/x", "/none/x", "/f/"]) {
        await note(none(() => fs.stat(path)));
        await note(none(() => fs.lstat(path)));
        await note(() => fs.access(path));
        await note(() => fs.realpath(path));
      }
      await note(() => fs.access("/f"));
      await note(none(() => fs.stat("/")));
      await note(async () => (await fs.stat("/d")).isDirectory());
    },
  ],
];

const collected = async (stream: AsyncIterable<unknown>): Promise<string> => {
  let all = "";
  for await (const piece of stream) all += Buffer.isBuffer(piece) ? piece.toString() : String(piece);
  return all;
};

const ended = (stream: NodeJS.WritableStream & NodeJS.EventEmitter, pieces: readonly string[]) =>
  new Promise<void>((resolve, reject) => {
    stream.on("error", reject).on("close", resolve);
    for (const piece of pieces) stream.write(piece);
    stream.end();
  });

const streams: readonly Behaviour[] = [
  [
    "a stream reads a file, or a part of it",
    async (fs, note) => {
      await note(() => collected(fs.createReadStream("/f")));
      await note(() => collected(fs.createReadStream("/f", { start: 1, end: 3 })));
      await note(() => collected(fs.createReadStream("/f", { start: 3 })));
      await note(() => collected(fs.createReadStream("/f", { start: 30 })));
      await note(() => collected(fs.createReadStream("/f", { encoding: "hex", highWaterMark: 2 })));
      await note(() => collected(fs.createReadStream("/none")));
      await note(() => collected(fs.createReadStream("/d")));
      await note(async () => collected(fs.createReadStream("/f", { start: 3, end: 1 })));
    },
  ],
  [
    "a stream writes a file, at its end, or in its middle",
    async (fs, note) => {
      await note(() => ended(fs.createWriteStream("/new"), ["one ", "two"]));
      await note(text(fs, "/new"));
      await note(() => ended(fs.createWriteStream("/new", { flags: "a" }), [" three"]));
      await note(text(fs, "/new"));
      await note(() => ended(fs.createWriteStream("/new", { flags: "r+", start: 1 }), ["NE", "X"]));
      await note(text(fs, "/new"));
      await note(() => ended(fs.createWriteStream("/f", { flags: "wx" }), ["x"]));
      await note(() => ended(fs.createWriteStream("/d"), ["x"]));
      await note(() => ended(fs.createWriteStream("/none/x"), ["x"]));
      await note(() => ended(fs.createWriteStream("/empty"), []));
      await note(kindOf(fs, "/empty"));
      await note(text(fs, "/f"));
    },
  ],
];

export const behaviours: readonly Behaviour[] = [...reads, ...writes, ...trees, ...streams];
