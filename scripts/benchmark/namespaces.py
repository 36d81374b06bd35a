"""Places with a network of their own, and a link between two of them that is as slow as wanted.

Needs root, or to be root in a user namespace.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Network:
    """A network namespace. What this thread does, and starts, `inside` is in it. Call `close`."""

    def __init__(self) -> None:
        # It tells when it is in its own: until then its /proc entry is still ours.
        argv = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo && exec sleep infinity"]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self._holder.stdout
        assert self._holder.stdout.readline(), "no network namespace can be made here"
        self.pid = self._holder.pid

    @contextmanager
    def inside(self) -> Iterator[None]:
        with open("/proc/thread-self/ns/net", "rb") as before:
            with open(f"/proc/{self.pid}/ns/net", "rb") as there:
                _set(there.fileno())
            try:
                yield
            finally:
                _set(before.fileno())

    def ip(self, *words: str) -> None:
        _run("ip", *words, network=self)

    def processes(self) -> list[int]:
        """Those that are in it, but for the one that holds it."""
        own = os.readlink(f"/proc/{self.pid}/ns/net")
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # it has ended, or is no process
                if entry.name.isdigit() and os.readlink(entry / "ns/net") == own:
                    found.append(int(entry.name))
        return [pid for pid in found if pid not in (self.pid, os.getpid())]

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


def _set(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):  # Python has it from 3.12 on
        raise OSError(ctypes.get_errno(), "setns")


def _run(*argv: str, network: Network) -> None:
    with network.inside():
        subprocess.run(argv, check=True)


def join(one: Network, other: Network, *, mbit: float) -> tuple[str, str]:
    """A cable between two, of so many megabits a second each way. Gives both addresses."""
    one.ip("link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", str(other.pid))
    addresses = ("10.77.0.1", "10.77.0.2")
    for network, address in zip((one, other), addresses, strict=True):
        network.ip("address", "add", f"{address}/24", "dev", "wan")
        network.ip("link", "set", "wan", "up")
        shape = f"rate {mbit}mbit burst 256kb latency 100ms".split()
        _run("tc", "qdisc", "add", "dev", "wan", "root", "tbf", *shape, network=network)
    return addresses
