"""A machine that knows nothing, on this one: a root of its own that holds programs, the recovery
kit and one repository, and nothing else of this host.

What may be seen is listed and all else is not there: no home, no state, no configuration, no other
disk; and no network, but for a door to the repository's own server where it is no directory. So
whatever a recovery lacks, it lacks here, too. Linux namespaces do it, for root and, where they are
allowed to make them, for other users.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from msgspec import Struct

from drctl.engines.bound import bound
from drctl.errors import TargetRefused
from drctl.ops.recovery.door import Door
from drctl.signals import held_back

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/dev")
# Of /etc what programs need to run: names, libraries, certificates; no configuration of anybody's.
_ETC = ("passwd", "group", "nsswitch.conf", "hosts", "resolv.conf", "localtime", "login.defs",
        "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl", "ca-certificates",
        "pki", "postgresql-common")  # fmt: skip
_NOT_CLEAN = 97
_NO_ROOT = 98
_ENTER = """
import fcntl, json, os, socket, struct, subprocess, sys
root, shown, hidden, addresses, way, argv = json.loads(sys.argv[1])
def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        print("drctl: " + done.stderr.strip(), file=sys.stderr)
        sys.exit(NO_ROOT)
os.umask(0o022)
run("mount", "-t", "tmpfs", "-o", "mode=0755", "clean", root)
for source, place in shown:
    to = root + place
    os.makedirs(os.path.dirname(to), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), to)
        continue
    if os.path.isdir(source):
        os.makedirs(to, exist_ok=True)
    else:
        open(to, "w").close()
    run("mount", "--rbind", source, to)
for place, mode in (("/tmp", 0o1777), ("/run", 0o755), ("/home", 0o755), ("/old", 0o700)):
    os.makedirs(root + place, exist_ok=True)
    os.chmod(root + place, mode)
os.chdir(root)
run("pivot_root", ".", "old")
os.chdir("/")
run("umount", "-l", "/old")
os.rmdir("/old")
def answer(host, port):
    try:
        return socket.create_connection((host, port), 3)
    except OSError:
        return None
def passes(door, host, port):
    with answer(*door) as asked:
        asked.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\n".encode())
        return not asked.recv(12).endswith(b" 403")
seen = [path for path in hidden if os.path.lexists(path)]
seen += [f"{h}:{p}" for h, p in addresses if answer(h.strip("[]"), p)]
if way is not None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    with socket.socket(fileno=way) as out:
        socket.send_fds(out, [b"."], [listening.fileno()])
    door = listening.getsockname()
    os.environ.update(http_proxy="http://%s:%d" % door, https_proxy="http://%s:%d" % door)
    seen += [f"{h}:{p}, through the door" for h, p in addresses if passes(door, h, p)]
if seen:
    print("drctl: still in reach: " + ", ".join(seen), file=sys.stderr)
    sys.exit(NOT_CLEAN)
os.execvp(argv[0], argv)
""".replace("NO_ROOT", str(_NO_ROOT)).replace("NOT_CLEAN", str(_NOT_CLEAN))


class Clean(Struct, frozen=True):
    """`root`: an empty directory to build it on. `shown`: what is put in view, and where;
    `hidden` and `addresses`: paths, hosts and ports that must not be in reach, which is tried.
    `leads_to`: which host and port may be asked, over a door; None: there is none."""

    root: str
    shown: Sequence[tuple[str, str]]
    hidden: Sequence[str]
    addresses: Sequence[tuple[str, int]]
    leads_to: Callable[[str, int], bool] | None

    def run(self, words: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bytes]:
        """Exit code and standard output of a program inside; it ends when this one does. Raises
        TargetRefused where there is no such place to be had."""
        _must_be_allowed()
        with ExitStack() as stack:
            door = None
            if self.leads_to:
                door = Door(self.leads_to)
                stack.callback(door.close)
            return self._run(words, environment, door)

    def _run(
        self, words: Sequence[str], environment: Mapping[str, str], door: Door | None
    ) -> tuple[int, bytes]:
        way = [door.theirs.fileno()] if door else []
        with held_back():
            process = subprocess.Popen(
                self._front(words, *way),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=dict(environment),
                pass_fds=way,
            )
        if door:
            door.theirs.close()
        try:
            output = process.communicate()[0]
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode == _NOT_CLEAN:
            raise _refused("something of this host is still in reach")
        if process.returncode == _NO_ROOT:
            raise _refused("no namespace can be made here")
        return process.returncode, output

    def _front(self, words: Sequence[str], way: int | None = None) -> tuple[str, ...]:
        shown = [*_system(), *self.shown]
        argv = (*_back_to_oneself(), *bound(words))
        told = [self.root, shown, list(self.hidden), list(self.addresses), way, argv]
        return (*_apart(), sys.executable, "-c", _ENTER, json.dumps(told))


def _refused(what: str) -> TargetRefused:
    return TargetRefused(
        f"there is no clean place for the drill: {what}",
        hint="root may make one, or a user where unprivileged user namespaces are allowed",
    )


def _must_be_allowed() -> None:
    """Tried alone, so that what hinders can be told. Raises TargetRefused."""
    try:
        done = subprocess.run(
            (*_apart(), *_back_to_oneself(), "true"), capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise _refused(f"unshare cannot be run: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:]
        raise _refused(f"no namespace can be made here: {(said or ['?'])[0]}")


def _apart() -> tuple[str, ...]:
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", *user, "--net", "--mount")


def _back_to_oneself() -> tuple[str, ...]:
    """Only root can build it, and nobody else should work in it as root."""
    if os.geteuid() == 0:
        return ()
    return ("unshare", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}")


def _system() -> list[tuple[str, str]]:
    """Programs, Python and drctl as they are installed here."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    own = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, package)}
    paths = [*_SYSTEM, *sorted(p for p in {*own, sys.prefix} if not p.startswith("/usr/"))]
    etc = [f"/etc/{name}" for name in _ETC]
    shown = [(path, path) for path in paths] + [(os.path.realpath(path), path) for path in etc]
    return [(source, place) for source, place in shown if os.path.lexists(source)]
