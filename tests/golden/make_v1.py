"""Made the golden repository of format version 1, once: `make_v1.py DIR`.

It is kept to show what is in it. It must not be run again to replace v1: the point of v1 is that it
was written by the drctl of its day.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path

PLAN = """\
version: 1
name: golden
sites: {a: {failure_domain: a}}
repositories: {golden: {site: a, path: repository}}
keys: {credential: file:writer.key, identity: file:identity.key}
assets:
  tree:
    files: {paths: [live/tree]}
    schedule: daily
  base:
    sqlite: {path: live/base.db}
    schedule: daily
  dump:
    command: {run: [sh, -c, "seq 1 1000"], name: dump.txt}
    schedule: daily
"""


def make_tree(top: Path) -> None:
    top.mkdir(parents=True)
    (top / "hello.txt").write_text("hello, reader of the far future\n")
    (top / "empty").touch()
    (top / "closed").write_text("nobody may read this\n")
    (top / "closed").chmod(0)
    (top / "sub" / "deeper").mkdir(parents=True)
    lines = "".join(f"line {i} of a file that is cut\n" for i in range(120_000))
    (top / "sub" / "cut.txt").write_text(lines)
    with (top / "sub" / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"data between holes")
        file.truncate(3 << 20)
    (top / "sub" / "link").symlink_to("../hello.txt")
    os.link(top / "hello.txt", top / "sub" / "again.txt")
    os.mkfifo(top / "fifo")
    (top / os.fsdecode(b"odd-\xff-name")).write_text("not UTF-8\n")
    os.setxattr(top / "hello.txt", "user.greeting", b"hello")
    os.utime(top / "empty", ns=(-1_000_000_001, -1_000_000_001))
    os.utime(top / "hello.txt", ns=(10**18 + 1, 10**18 + 1))
    (top / "large").write_bytes(
        b"".join(sha256(b"%d" % (i // 64)).digest() * 32 for i in range(700))
    )


def described(top: Path) -> dict[str, dict[str, object]]:
    """What must come back, by path in hex."""
    found: dict[str, dict[str, object]] = {}
    for where, folders, files in os.walk(os.fsencode(top)):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            found[os.path.relpath(path, os.fsencode(top)).hex()] = describe(path)
    return found


def describe(path: bytes) -> dict[str, object]:
    status = os.lstat(path)
    kind = status.st_mode >> 12
    told: dict[str, object] = {
        "kind": kind,
        "mode": f"{status.st_mode & 0o7777:04o}",
        "mtime_ns": status.st_mtime_ns,
        "xattrs": {
            name: os.getxattr(path, name, follow_symlinks=False).hex()
            for name in os.listxattr(path, follow_symlinks=False)
            if name.startswith("user.")
        },
    }
    if kind == 0o12:
        told["link"] = os.fsdecode(os.readlink(path))
    if kind == 0o10:
        data = Path(os.fsdecode(path)).read_bytes()
        told |= {"size": len(data), "sha256": sha256(data).hexdigest()}
    return told


def main() -> None:
    to = Path(sys.argv[1]).resolve()
    work = Path(tempfile.mkdtemp())
    environment = {**os.environ, "DRCTL_PASSPHRASE": "golden", "DRCTL_STATE_DIR": str(work / "s")}

    def drctl(*words: str) -> None:
        argv = [sys.executable, "-m", "drctl", "--plan", str(work / "plan.yaml"), *words]
        subprocess.run(argv, env=environment, check=True, cwd=work)

    (work / "plan.yaml").write_text(PLAN)
    tree, expected = work / "live" / "tree", []
    make_tree(tree)
    with closing(sqlite3.connect(work / "live/base.db")) as database, database:
        database.execute("create table t (id integer primary key, v text)")
        database.executemany("insert into t (v) values (?)", [(f"row {i}",) for i in range(100)])
    drctl("init")
    for change in (lambda: None, lambda: (tree / "hello.txt").write_text("hello again\n")):
        change()
        drctl("backup", "tree")
        expected.append(described(tree))
    drctl("backup", "base", "dump")
    for name in ("plan.yaml", "writer.key", "identity.key", "repository"):
        shutil.move(work / name, to / name)
    (to / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
