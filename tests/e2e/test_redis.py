"""Redis, a real one, under load: what was acknowledged comes back; what goes wrong is told."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis_servers import GRANTS, PASSWORD, Redis, started
from servers import free_ports
from small_plan import HEAD

from drctl.clock import SystemClock
from drctl.engines.base import Standing, Surroundings
from drctl.engines.redis import ENGINE, Settings
from drctl.engines.redis_client import Connection
from drctl.errors import SourceError, TargetRefused
from drctl.events import Silent

PLAN = (
    HEAD
    + """\
  carts:
    redis: {{host: {host}, timeout: 20s{more}}}
    schedule: hourly
"""
)


def around(top: Path) -> Surroundings:
    (top / "scratch").mkdir(exist_ok=True)
    return Surroundings(SystemClock(), Silent(), str(top), str(top / "scratch"))


def standing(at: Path, look: Callable[[Standing], Any]) -> Any:
    with ENGINE.probe(Settings(), str(at), around(at.parent)).open() as found:
        return look(found)


@pytest.fixture
def server() -> Iterator[Redis]:
    with started() as made:
        made.fill()
        yield made


@pytest.fixture
def carts(bare, server: Redis):
    """A site whose one asset is the server."""
    bare.plan(PLAN.format(host=server.socket, more=""))
    bare.run("init")
    return bare


def restored_digest(at: Path, *directives: str) -> Any:
    with started(*directives, directory=at) as copy:
        return copy.digest()


def test_every_kind_of_value_comes_back_and_the_probe_counts_it(carts, server) -> None:
    made = carts.json("backup")["snapshots"][0]
    assert made["facts"]["redis"].startswith("7.")
    assert made["facts"]["expiring_keys"] == "1"
    back = carts.top / "back"
    carts.run("restore", "carts", "--to", back)
    assert (back / "dump.rdb").stat().st_mode & 0o777 == 0o600
    assert standing(back, lambda s: s.counts()) == {"keys.db0": 5005, "keys.db3": 1}
    assert standing(back, lambda s: s.health()).ok
    assert standing(back, lambda s: s.query("hget hash field")) == (("in the hash",),)
    assert standing(back, lambda s: s.query("lrange list 0 1")) == (("0",), ("1",))
    assert sorted(path.name for path in back.iterdir()) == ["dump.rdb"]
    assert restored_digest(back) == server.digest()


def test_an_unchanged_server_costs_next_to_nothing_again(carts, server) -> None:
    for i in range(300):
        server.ask("SET", f"large:{i}", os.urandom(40_000))
    first = carts.json("backup")["snapshots"][0]
    second = carts.json("backup")["snapshots"][0]
    assert second["added_bytes"] < first["added_bytes"] / 3


def test_what_was_acknowledged_before_the_consistent_point_is_in_it(server, tmp_path) -> None:
    """Also under load, and though the server forks for itself meanwhile."""
    acknowledged: list[tuple[int, int]] = []
    ended = threading.Event()

    def write() -> None:
        with Connection(server.place) as connection:
            for i in range(10**9):
                connection.call("SET", "counter", i)
                acknowledged.append((time.time_ns(), i))
                if ended.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            until(lambda: acknowledged and not is_dumping(server))
            server.ask("BGSAVE", "SCHEDULE")
            source = ENGINE.source(Settings(host=server.socket), "carts", around(tmp_path))
            with source.open() as capture:
                opened_at = len(acknowledged)
                back = tmp_path / f"back-{number}"
                put_back(capture, back, tmp_path)
                held = int(standing(back, lambda s: s.query("get counter"))[0][0])
                before = [i for at, i in acknowledged if at <= capture.consistent_at_ns]
                assert before[-1] <= held <= opened_at + 1
    finally:
        ended.set()
        writer.join()


def is_dumping(server: Redis) -> bool:
    told = server.ask("INFO", "persistence")
    assert isinstance(told, bytes)
    return b"rdb_bgsave_in_progress:1" in told


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def put_back(capture: Any, to: Path, top: Path) -> None:
    """A capture, restored without a repository."""
    target = ENGINE.target(None, str(to), capture.private_facts, around(top))
    target.prepare()
    for item in capture.items():
        writing = target.open_large(item.entry())
        for piece in item.content.stream(item.entry()):
            writing.write(piece)
        assert writing.close() is None
    assert target.finish() == ()


def test_a_dump_that_was_begun_for_another_tells_its_own_age(server, tmp_path) -> None:
    """On disk, a server hands a waiting replica's dump to a second one that asks for the same."""
    server.ask("CONFIG", "SET", "repl-diskless-sync", "no")
    server.ask("CONFIG", "SET", "rdb-key-save-delay", "700")
    with Connection(server.place) as other:
        other.call("REPLCONF", "capa", "eof")
        other.call("REPLCONF", "rdb-only", 1)
        began_ns = time.time_ns()
        other.send("PSYNC", "?", -1)
        time.sleep(2.5)
        asked_ns = time.time_ns()
        server.ask("SET", "late", "1")
        source = ENGINE.source(Settings(host=server.socket), "carts", around(tmp_path))
        with source.open() as capture:
            put_back(capture, tmp_path / "back", tmp_path)
            late = standing(tmp_path / "back", lambda s: s.query("get late"))[0][0]
            is_own = capture.consistent_at_ns >= asked_ns
            assert late == ("1" if is_own else "")
            assert is_own or -2_500_000_000 < capture.consistent_at_ns - began_ns < 0


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_both_ways_of_sending_a_dump_are_understood(carts, server, diskless) -> None:
    server.ask("CONFIG", "SET", "repl-diskless-sync", diskless)
    carts.run("backup")
    carts.run("restore", "carts", "--to", carts.top / "back")
    assert restored_digest(carts.top / "back") == server.digest()


@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_with_an_append_only_file_the_server_is_not_empty_either(carts, server, appendonly) -> None:
    """The failure of the recipes: dump.rdb under `appendonly yes` gives an empty database."""
    server.ask("CONFIG", "SET", "appendonly", "yes")
    made = carts.json("backup")["snapshots"][0]
    assert made["facts"]["appendonly"] == "yes"
    back = carts.top / "back"
    carts.run("restore", "carts", "--to", back)
    with started(f"appendonly {appendonly}", directory=back) as copy:
        assert copy.digest() == server.digest()
        copy.ask("SET", "after", "the restore")
        changed = copy.digest()
        copy.ask("SAVE")
        copy.process.send_signal(signal.SIGTERM)
        copy.process.wait()
    assert restored_digest(back, f"appendonly {appendonly}") == changed


def test_what_cannot_be_set_of_the_dump_keeps_no_server_from_its_data(server, tmp_path) -> None:
    """Such as its owner, for whoever is not root."""
    server.ask("CONFIG", "SET", "appendonly", "yes")
    source = ENGINE.source(Settings(host=server.socket), "carts", around(tmp_path))
    with source.open() as capture:
        target = ENGINE.target(
            None, str(tmp_path / "back"), capture.private_facts, around(tmp_path)
        )
        target.prepare()
        for item in capture.items():
            odd = replace(item.entry(), xattrs=((b"nobodys.attribute", b""),))
            target.put_small(odd, item.content.load(odd)[1])
        (problem,) = target.finish()
    assert "could not be set" in problem.what
    with started("appendonly yes", directory=tmp_path / "back") as copy:
        assert copy.digest() == server.digest()


def test_without_one_the_restore_says_how_to_start(carts) -> None:
    carts.run("backup")
    told = carts.run("restore", "carts", "--to", carts.top / "back").stderr
    assert "start the server with 'appendonly no'" in told


def test_a_running_servers_directory_is_refused_though_it_is_empty(carts, server) -> None:
    carts.run("backup")
    empty = carts.top / "empty"
    empty.mkdir()
    with started(directory=empty):
        assert list(empty.iterdir()) == []
        told = carts.run("restore", "carts", "--to", empty, code=9).stderr
        assert "a Redis server (process" in told
    carts.run("restore", "carts", "--to", empty)
    assert "is not empty" in carts.run("restore", "carts", "--to", empty, code=9).stderr


def test_the_marker_tells_how_fresh_a_copy_is(carts, server) -> None:
    marker = ENGINE.marker
    assert marker
    carts.run("backup")
    carts.run("restore", "carts", "--to", carts.top / "without")
    assert standing(carts.top / "without", lambda s: s.newest_mark_ns()) is None
    at_ns = time.time_ns()
    marker(Settings(host=server.socket), "carts", around(carts.top)).write(at_ns)
    carts.run("backup")
    carts.run("restore", "carts", "--to", carts.top / "with")
    assert standing(carts.top / "with", lambda s: s.newest_mark_ns()) == at_ns


def test_a_user_with_the_documented_grants_suffices_and_the_password_is_nowhere(
    bare, server
) -> None:
    server.ask("ACL", "SETUSER", "drctl", "on", f">{PASSWORD}", *GRANTS.split())
    server.ask("ACL", "SETUSER", "default", "off")
    secret = bare.top / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    bare.plan(PLAN.format(host=server.socket, more=", user: drctl, password: file:password"))
    bare.run("init")
    done = bare.run("backup", "--json")
    assert PASSWORD not in done.stdout + done.stderr
    settings = Settings(host=server.socket, user="drctl", password="file:x")
    knows = Surroundings(
        SystemClock(), Silent(), str(bare.top), str(bare.top), secret=lambda _: PASSWORD
    )
    assert ENGINE.marker
    ENGINE.marker(settings, "carts", knows).write(1)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (", password: file:password", "WRONGPASS"),
        ("", "NOAUTH"),
        (", user: weak, password: file:password", "NOPERM"),
    ],
)
def test_who_may_not_is_told_so_and_nothing_is_kept(bare, more, told) -> None:
    with started("requirepass right", "user weak on >wrong +ping") as locked:
        (bare.top / "password").write_text("wrong")
        (bare.top / "password").chmod(0o600)
        bare.plan(PLAN.format(host=locked.socket, more=more))
        bare.run("init")
        said = bare.run("backup", code=4)
        assert told in said.stderr
        assert "wrong'" not in said.stderr
        assert bare.snapshots() == []


def test_a_server_that_is_not_there_or_is_another_is_told(bare) -> None:
    bare.plan(PLAN.format(host="/nowhere/socket", more=""))
    bare.run("init")
    assert "is the server up" in bare.run("backup", code=4).stderr
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        bare.plan(PLAN.format(host="127.0.0.1", more=f", port: {port}"))

        def answer() -> None:
            near, _ = listening.accept()
            near.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            near.recv(1000)
            near.close()

        threading.Thread(target=answer, daemon=True).start()
        assert "does not answer as Redis does" in bare.run("backup", code=4).stderr


@pytest.mark.parametrize("victim", ["child", "server"])
def test_a_dump_that_breaks_off_leaves_nothing(carts, server, victim) -> None:
    """The server's child, or the server, is killed in the middle of sending."""
    server.ask("CONFIG", "SET", "rdb-key-save-delay", "2000")
    running = carts.start("backup")
    own = server.process.pid
    while not (found := children(own)):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.kill(int(found[0]) if victim == "child" else own, signal.SIGKILL)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 4, told
    assert "broke the connection off" in told
    assert carts.snapshots() == []
    assert not list((carts.top / "state").rglob("*.redis-dump"))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_dump_killed_halfway_is_cleared_by_the_next_run(carts, server) -> None:
    server.ask("CONFIG", "SET", "rdb-key-save-delay", "2000")
    running = carts.start("backup")
    while not list((carts.top / "state").rglob("*.redis-dump")):
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert list((carts.top / "state").rglob("*.redis-dump"))
    server.ask("CONFIG", "SET", "rdb-key-save-delay", "0")
    carts.run("backup")
    assert not list((carts.top / "state").rglob("*.redis-dump"))


def test_a_dump_that_is_not_whole_is_never_kept(server, tmp_path) -> None:
    """A proxy between drctl and the server turns over one bit of the dump."""
    with started("repl-diskless-sync no") as other:
        other.fill()
        address = str(tmp_path / "proxy")
        with Flipping(address, other.socket):
            source = ENGINE.source(Settings(host=address), "carts", around(tmp_path))
            with pytest.raises(SourceError, match="the dump is not whole"), source.open():
                pass
    assert list((tmp_path / "scratch").iterdir()) == []


class Flipping:
    """A proxy that changes one byte in the middle of what the server sends."""

    def __init__(self, near: str, far: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(near)
        self._listening.listen()
        self._far = far

    def __enter__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test has ended
            while True:
                near, _ = self._listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._far)
                for way in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._carry, args=way, daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):  # the other way has ended, and closed this one
            self._carry_all(source, to, is_answer)
        to.close()

    def _carry_all(self, source: socket.socket, to: socket.socket, is_answer: bool) -> None:
        carried = 0
        while data := source.recv(4096):
            if is_answer and carried <= 60_000 < carried + len(data):
                at = 60_000 - carried
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            carried += len(data)
            to.sendall(data)


def test_a_probe_of_a_damaged_dump_says_so(carts) -> None:
    carts.run("backup")
    back = carts.top / "back"
    carts.run("restore", "carts", "--to", back)
    whole = (back / "dump.rdb").read_bytes()
    (back / "dump.rdb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TargetRefused, match="the server"):
        standing(back, lambda s: s.health())
    (back / "dump.rdb").unlink()
    with pytest.raises(TargetRefused, match="is not there"):
        standing(back, lambda s: s.health())


def test_a_query_may_read_and_nothing_else(carts) -> None:
    carts.run("backup")
    back = carts.top / "back"
    carts.run("restore", "carts", "--to", back)
    before = (back / "dump.rdb").read_bytes()
    for words in ("set a b", "save", "config set dir /tmp", "shutdown", "flushall"):
        with pytest.raises(TargetRefused, match="NOPERM"):
            standing(back, lambda s, words=words: s.query(words))
    assert (back / "dump.rdb").read_bytes() == before
    assert [path.name for path in back.iterdir()] == ["dump.rdb"]


def test_tls_is_spoken_and_a_stranger_is_not_trusted(bare, tmp_path) -> None:
    certify(tmp_path)
    (port,) = free_ports(1)
    directives = [f"tls-port {port}", f"tls-cert-file {tmp_path}/server.crt",
                  f"tls-key-file {tmp_path}/server.key", "tls-auth-clients no"]  # fmt: skip
    with started(*directives) as server:
        server.fill(100)
        bare.plan(PLAN.format(host="localhost", more=f", port: {port}, tls: true"))
        bare.run("init")
        assert "CERTIFICATE_VERIFY_FAILED" in bare.run("backup", code=4).stderr
        trusting = f", port: {port}, tls: true, tls_ca: {tmp_path}/server.crt"
        bare.plan(PLAN.format(host="localhost", more=trusting))
        bare.run("backup")
        bare.run("restore", "carts", "--to", bare.top / "back")
        assert restored_digest(bare.top / "back") == server.digest()


def certify(top: Path) -> None:
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", str(top / "server.key"),
            "-out", str(top / "server.crt")]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
