"""A place from which production cannot be reached: a network and a view of the file system of its
own, for the programs that a drill runs.

Linux namespaces, held by a small process that ends when drctl does, also when drctl is killed. The
network has a loopback and nothing else. Paths of production are covered: what lies there is not
seen and not written. That it is so is tried from inside, place by place, never assumed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct, field

_READY_SECONDS = 20.0
_HOLDER = """
import fcntl, json, os, socket, struct, subprocess, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
for path in json.loads(sys.argv[1]):
    if os.path.isdir(path):
        words = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0555", "nothing", path]
    elif os.path.exists(path):
        words = ["mount", "--bind", "/dev/null", path]
    else:
        continue
    subprocess.run(words, check=True, capture_output=True)
print("ready", flush=True)
sys.stdin.read()
"""
_TRY = """
import json, os, socket, sys
found = []
for kind, place in json.loads(sys.argv[1]):
    if kind == "path":
        is_there = os.path.isdir(place) and bool(os.listdir(place)) or os.path.isfile(place)
        found.append("it can be read" if is_there else "")
        continue
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 3).close()
        found.append("it answers")
    except OSError:
        found.append("")
print(json.dumps(found))
"""


class Place(Struct, frozen=True):
    """Something of production: a `path`, or an `address` as host:port. `name` is for people."""

    kind: str
    place: str
    name: str


class Isolation(Struct, frozen=True):
    """`reached`: places that could be reached from inside, each with how. `why_not`: why there
    is no isolation. Nothing is proven while either says something."""

    front: tuple[str, ...] = ()
    tried: tuple[Place, ...] = ()
    reached: tuple[str, ...] = ()
    control: tuple[str, ...] = field(default=())  # reached from outside: so the trial can fail
    why_not: str = ""

    @property
    def proven(self) -> bool:
        return not self.doubt

    @property
    def doubt(self) -> str:
        """Why it is not proven; empty: it is."""
        reached = "; ".join(self.reached)
        return self.why_not or reached or ("" if self.front else "nobody tried")

    def words(self, base: str) -> tuple[str, ...]:
        """What stands before an argv to run it inside, in the directory `base`."""
        if not self.front:
            return ()
        return (*self.front, "sh", "-c", 'cd "$0" && exec "$@"', base)


@contextmanager
def isolated(denied: Sequence[Place], keep: Sequence[str]) -> Iterator[Isolation]:
    """Hold such a place. `keep`: paths that must stay in view, and so never lie below a cover."""
    covers = [os.path.realpath(p.place) for p in denied if p.kind == "path"]
    covers = [path for path in covers if not any(_is_below(k, path) for k in keep)]
    mapped = () if os.geteuid() == 0 else ("--map-root-user",)
    argv = ("unshare", *mapped, "--net", "--mount", sys.executable, "-c", _HOLDER)
    try:
        holder = subprocess.Popen(
            (*argv, json.dumps(covers)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        yield Isolation(why_not=f"unshare cannot be run: {error.strerror}")
        return
    try:
        yield _entered(holder, denied)
    finally:
        holder.kill()
        holder.communicate()


def _is_below(path: str, top: str) -> bool:
    path = os.path.realpath(path)
    return path == top or path.startswith(top.rstrip("/") + "/")


def _entered(holder: "subprocess.Popen[bytes]", denied: Sequence[Place]) -> Isolation:
    assert holder.stdout  # noqa: S101 - it was asked for
    assert holder.stderr  # noqa: S101 - it was asked for
    if holder.stdout.readline() != b"ready\n":
        said = holder.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return Isolation(why_not=f"no namespace can be made here: {(said or ['?'])[-1]}")
    user = () if os.geteuid() == 0 else ("--preserve-credentials", "--user")
    front = ("nsenter", *user, "--target", str(holder.pid), "--net", "--mount", "--")
    return _proved(front, tuple(denied))


def _proved(front: tuple[str, ...], denied: tuple[Place, ...]) -> Isolation:
    try:
        inside, outside = _try(front, denied), _try((), denied)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Isolation(why_not=f"it could not be tried from inside: {type(error).__name__}")
    pairs = list(zip(denied, inside, outside, strict=True))
    reached = tuple(f"{p.name} ({p.place}): {how}" for p, how, _ in pairs if how)
    control = tuple(p.name for p, _, how in pairs if how)
    return Isolation(front, denied, reached, control)


def _try(front: tuple[str, ...], denied: Sequence[Place]) -> list[str]:
    """For each place how it was reached; empty: it was not."""
    asked = json.dumps([(p.kind, p.place) for p in denied])
    argv = (*front, sys.executable, "-c", _TRY, asked)
    limit = _READY_SECONDS + 4 * len(denied)
    done = subprocess.run(argv, capture_output=True, timeout=limit, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
