"""A PostgreSQL that is started privately over a restored data directory.

It listens on a Unix socket in a directory of its own, trusts only who may enter there, archives
nothing, replicates to nobody and loads no library that this host may not have. It ends with drctl,
also where that is killed: its data is thrown away then, so it need not end in order, but all of it.
"""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from drctl.engines.bound import bound, start
from drctl.engines.postgres_client import speaking
from drctl.errors import TargetRefused
from drctl.private import passing_directory

_PORT = 5432
_LOOK_SECONDS = 0.05
_END_SECONDS = 60.0
_ROLES = ("postgres", "drctl")
_WORDS_BYTES = 2000
_SOCKETS_LINE, _STATUS_LINE, _READY = 4, 7, "ready   "  # in postmaster.pid
_UNBOUND = (  # each with the version that has it
    ("default_transaction_read_only=off", 0),
    ("statement_timeout=0", 0),
    ("lock_timeout=0", 0),
    ("idle_in_transaction_session_timeout=0", 0),
    ("idle_session_timeout=0", 14),
    ("transaction_timeout=0", 17),
)
_WITHOUT_STATISTICS_FILES = 15  # before, a server's place for them may be one outside


def programs(major: int) -> str:
    """The directory of a version's server programs. Raises TargetRefused where there is none."""
    found = shutil.which("pg_ctl")
    places = [f"/usr/lib/postgresql/{major}/bin", f"/usr/pgsql-{major}/bin"]
    places += [os.path.dirname(os.path.realpath(found))] if found else []
    for place in places:
        server = os.path.join(place, "postgres")
        if os.access(server, os.X_OK) and _major_of(server) == major:
            return place
    others = ", ".join(sorted(glob.glob("/usr/lib/postgresql/*/bin"))) or "none"
    raise TargetRefused(
        f"PostgreSQL {major} is not installed here, and no other version starts this cluster",
        hint=f"on Debian: apt-get install postgresql-{major}; found: {others}",
    )


def _major_of(server: str) -> int:
    """`postgres (PostgreSQL) 15.18 (Debian ...)` is 15."""
    done = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return int(words[2].split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz")) if len(words) > 2 else 0


def major_at(at: str) -> int:
    """The version of a data directory. Raises TargetRefused."""
    try:
        with open(os.path.join(at, "PG_VERSION"), encoding="ascii") as file:
            return int(file.read().split(".")[0])
    except (OSError, ValueError) as error:
        raise TargetRefused(f"{at}: there is no PostgreSQL data directory") from error


def runs_at(at: str) -> int:
    """The process id of the server that runs in a data directory; 0: none does. Raises
    TargetRefused where another user keeps that to himself."""
    path = os.path.join(at, "postmaster.pid")
    try:
        with open(path, encoding="utf-8") as file:
            pid = int(file.readline())
    except PermissionError as error:
        raise TargetRefused(
            f"{path}: {error.strerror}: so it is not known whether a server runs there",
            hint="be root, or the user to whom it belongs",
        ) from error
    except (OSError, ValueError):
        return 0
    with suppress(PermissionError):  # another user's, and it runs
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return 0
    return pid


class Server:
    """A server that is up, and how to reach it."""

    def __init__(self, sockets: str, role: str, major: int) -> None:
        self._sockets = sockets
        self._role = role
        self._major = major

    def parameters(self, dbname: str) -> dict[str, Any]:
        """For libpq. What a database or a role was set to, which outdoes the server's own settings,
        is for those who work there: it would end a check, which takes its time and must write."""
        unbound = " ".join(f"-c {name}" for name, since in _UNBOUND if self._major >= since)
        where = {"host": self._sockets, "port": _PORT, "user": self._role}
        return {**where, "dbname": dbname, "options": unbound}


@contextmanager
def started(at: str, role: str, wait_seconds: float) -> Iterator[Server]:
    """Up means: it answers, and has left recovery. Raises TargetRefused with its last words."""
    major = major_at(at)
    place = programs(major)
    if runs_at(at):
        raise TargetRefused(f"{at}: a server runs there", hint="stop it first")
    owner = os.stat(at).st_uid
    _refuse_unreachable(at, owner)
    with passing_directory() as sockets:
        _furnish(sockets, owner)
        process = _start(place, at, sockets, owner)
        try:
            _wait(process, at, sockets, wait_seconds)
            yield _entered(sockets, role, major)
        finally:
            _end(process)


def _refuse_unreachable(at: str, owner: int) -> None:
    if owner == 0:
        raise TargetRefused(
            f"{at} belongs to root, and PostgreSQL does not run as root",
            hint=f"run: chown -R postgres: {at}",
        )
    if os.geteuid() not in {0, owner}:
        raise TargetRefused(f"{at} belongs to another user: only root or that user starts it")


def _furnish(sockets: str, owner: int) -> None:
    """Who may enter the directory is trusted."""
    files = {"access": "local all all trust\n", "users": "", "log": ""}
    for name, text in files.items():
        with open(os.path.join(sockets, name), "w", encoding="utf-8") as file:
            file.write(text)
    if os.geteuid() == 0:
        for path in (sockets, *(os.path.join(sockets, name) for name in files)):
            os.chown(path, owner, -1)


def _settings(at: str, sockets: str) -> dict[str, str]:
    """What the cluster's own configuration has no say in: above all where its server works, since
    `data_directory` in there outdoes -D, and may name production's."""
    settings = {
        "data_directory": os.path.realpath(at),
        "listen_addresses": "",
        "unix_socket_directories": sockets,
        "unix_socket_permissions": "0700",
        "port": str(_PORT),
        "hba_file": os.path.join(sockets, "access"),
        "ident_file": os.path.join(sockets, "users"),
        "external_pid_file": "",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "archive_mode": "off",
        "recovery_min_apply_delay": "0",
        "primary_conninfo": "",
        "synchronous_standby_names": "",
        "ssl": "off",
        "huge_pages": "off",
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_min_messages": "warning",
        "autovacuum": "off",
        "max_logical_replication_workers": "0",
    }
    if major_at(at) < _WITHOUT_STATISTICS_FILES:
        settings["stats_temp_directory"] = "pg_stat_tmp"
    return settings


def _start(place: str, at: str, sockets: str, owner: int) -> "subprocess.Popen[bytes]":
    argv = [os.path.join(place, "postgres"), "-D", at]
    for name, value in _settings(at, sockets).items():
        argv += ["-c", f"{name}={value}"]
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        group = pwd.getpwuid(owner).pw_gid if _has_name(owner) else os.stat(at).st_gid
        identity = {"user": owner, "group": group, "extra_groups": []}

    def make() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            bound(argv, signal.SIGQUIT),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            **identity,
        )

    with open(os.path.join(sockets, "log"), "ab") as log:
        return start(make)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _wait(process: "subprocess.Popen[bytes]", at: str, sockets: str, seconds: float) -> None:
    """Until it has replayed its log. Its own pid file tells: who asks it meanwhile is refused, in
    the same way as by one that is up and damaged. Raises TargetRefused."""
    end = time.monotonic() + seconds
    while not _is_ready(at, sockets):
        if process.poll() is not None:
            raise TargetRefused(*_last_words(sockets, f"it ended with {process.returncode}"))
        if time.monotonic() > end:
            raise TargetRefused(*_last_words(sockets, f"it was not up after {seconds:.0f} s"))
        time.sleep(_LOOK_SECONDS)


def _is_ready(at: str, sockets: str) -> bool:
    """An older server's file may lie there; this one's names its own directory of sockets."""
    try:
        with open(os.path.join(at, "postmaster.pid"), encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return False
    is_own = lines[_SOCKETS_LINE:][:1] == [os.path.normpath(sockets)]
    return is_own and lines[_STATUS_LINE:] == [_READY]


def _entered(sockets: str, role: str, major: int) -> Server:
    """The bootstrap superuser is whoever the cluster says it is. A server that is up and lets
    nobody in stays so. Raises TargetRefused."""
    import psycopg

    for name in filter(None, dict.fromkeys((role, *_ROLES))):
        with suppress(psycopg.Error):  # the server's log holds it; another role may be let in
            return Server(sockets, _superuser(Server(sockets, name, major)), major)
    raise TargetRefused(*_last_words(sockets, "it lets nobody in"))


def _superuser(server: Server) -> str:
    with speaking(**server.parameters("template1"), autocommit=True) as connection:
        rows = connection.execute("select rolname from pg_roles where oid = 10").fetchall()
    return str(rows[0][0])


def _last_words(sockets: str, how: str) -> tuple[str,]:
    with open(os.path.join(sockets, "log"), "rb") as file:
        words = file.read()[-_WORDS_BYTES:].decode("utf-8", "backslashreplace").strip()
    return (f"the restored PostgreSQL does not come up: {how}; it said:\n{words}",)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Fast shutdown; then the hard way."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait()
