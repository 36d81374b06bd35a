"""Makes a tree of everything that a file system may hold: `entry_set.py DIR`."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator

SMALL = 512 * 1024
YEAR_NS = 31_556_952 * 10**9
# Version 2 of the kernel's vfs_cap_data: cap_net_raw, permitted.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress away and differ from file to file."""
    block = bytes((i * 2654435761 * seed >> 7) & 255 for i in range(4099))
    return (block * (size // len(block) + 1))[:size]


def write(name: str | bytes, data: bytes = b"", mode: int = 0o644) -> None:
    with open(name, "wb") as file:
        file.write(data)
    os.chmod(name, mode)


def sizes() -> None:
    for size in (0, 1, 4096, SMALL - 1, SMALL, SMALL + 1, 5 << 20):
        write(f"size-{size}", content(size, size + 1))


def sparse() -> None:
    def make(name: str, size: int, *data_at: int) -> None:
        with open(name, "wb") as file:
            for offset in data_at:
                file.seek(offset)
                file.write(content(4096, offset + 3))
            file.truncate(size)

    make("sparse-all-hole", 3 << 20)
    make("sparse-hole-first", 3 << 20, (3 << 20) - 4096)
    make("sparse-hole-last", 3 << 20, 0)
    make("sparse-hole-between", 3 << 20, 0, (3 << 20) - 4096)
    make("sparse-small", 65536, 32768)
    make("sparse-many", 4 << 20, *range(0, 4 << 20, 1 << 16))
    make("sparse-odd", 1_000_003, 500_000)


def links() -> None:
    write("linked", b"one file, four names\n")
    os.mkdir("links")
    for name in ("links/second", "links/third", "zz-last"):
        os.link("linked", name)
    os.symlink("../linked", "links/relative")
    os.symlink("/nowhere/at/all", "links/dangling")
    os.symlink("x" * 4095, "links/long")
    os.symlink(b"not-utf-8-\xff\xfe", b"links/odd")
    os.link("links/dangling", "links/dangling-again", follow_symlinks=False)
    os.utime("links/relative", ns=(10**18 + 5, 10**18 + 5), follow_symlinks=False)


NAMES = (
    b"\xff\xfe not utf-8",
    b"new\nline",
    b"bell\a",
    b"\x1b[31mred",
    b" ",
    b"-rf",
    b"snow\xe2\x98\x83man",
    b"quote'\"$(x)`",
    b"back\\slash",
    b"*?[",
)


def names() -> None:
    for name in NAMES:
        write(b"name " + name, name)
    write(b"a" * 255, b"a name as long as may be")


def deep() -> None:
    """Paths far beyond PATH_MAX (4096 bytes)."""
    before = os.open(".", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    write("bottom", b"far down\n")
    os.symlink("bottom", "link")
    os.fchdir(before)
    os.close(before)


def special() -> None:
    os.mkfifo("fifo", 0o640)
    os.link("fifo", "fifo-again")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")


def modes() -> None:
    for mode in (0o000, 0o400, 0o444, 0o600, 0o777, 0o4755, 0o2755, 0o1777):
        write(f"mode-{mode:04o}", b"" if mode == 0 else b"x", mode)
        if mode & 0o500 == 0o500 or mode in (0o1777,):
            os.mkdir(f"directory-{mode:04o}")
            os.chmod(f"directory-{mode:04o}", mode)
    os.mkdir("read-only")
    write("read-only/inside", b"x", 0o444)
    os.chmod("read-only", 0o555)  # noqa: S103 - as trees hold it
    os.mkdir("empty-directory")


def attributes() -> None:
    write("with-attributes", b"x", 0o444)
    os.chmod("with-attributes", 0o644)
    os.setxattr("with-attributes", "user.plain", b"value")
    os.setxattr("with-attributes", "user.empty", b"")
    os.setxattr("with-attributes", "user.binary", bytes(range(256)))
    os.chmod("with-attributes", 0o444)
    os.mkdir("directory-with-attributes")
    os.setxattr("directory-with-attributes", "user.plain", b"value")
    write("with-acl", b"x")
    acl("-m", "u:1234:rw-,g:4321:r--,m::rw-", "with-acl")
    os.mkdir("directory-with-acl")
    acl("-m", "u:1234:rwx", "directory-with-acl")
    acl("-d", "-m", "u:1234:rwx,g:4321:r-x", "directory-with-acl")
    write("directory-with-acl/inherits", b"x")


def acl(*words: str) -> None:
    subprocess.run(["setfacl", *words], check=True)


def times() -> None:
    dates = {"1901": -69, "1969": -1, "1970": 0, "2038": 69, "2106": 137, "2200": 230, "2400": 430}
    for name, years in dates.items():
        write(f"time-{name}", b"x")
        at = years * YEAR_NS + 123_456_789
        os.utime(f"time-{name}", ns=(at, at))
    os.utime("links", ns=(123, 123))


def only_root() -> None:
    os.mknod("device-null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod("device-loop", stat.S_IFBLK | 0o660, os.makedev(7, 77))
    write("owned", b"x", 0o4750)
    os.chown("owned", 1234, 4321)
    os.chmod("owned", 0o4750)  # noqa: S103 - changing the owner took it away
    os.symlink("owned", "owned-link")
    os.chown("owned-link", 1234, 4321, follow_symlinks=False)
    os.chown("directory-with-acl", 1234, 4321)
    write("mode-0000-with-content", b"secret", 0)
    os.mkdir("closed")
    write("closed/inside", b"x", 0)
    os.chmod("closed", 0)
    write("trusted", b"x")
    os.setxattr("trusted", "trusted.mark", b"value")
    write("capable", b"x", 0o755)
    os.setxattr("capable", "security.capability", CAPABILITY)


def parts() -> Iterator[Callable[[], None]]:
    yield from (sizes, sparse, links, names, deep, special, modes, attributes, times)
    if os.geteuid() == 0:
        yield only_root


def main() -> None:
    os.umask(0o022)
    os.makedirs(sys.argv[1])
    os.chdir(sys.argv[1])
    for part in parts():
        part()


if __name__ == "__main__":
    main()
