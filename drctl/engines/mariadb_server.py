"""A MariaDB server put up on restored files, privately: a Unix socket in a directory of its own, no
network, no binlog, no replication, no scheduled events, and no passwords, since only the owner of
that directory can reach it.
"""

import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from drctl.engines.child import Child, User, exit_words, running
from drctl.engines.mariadb_client import program, words_of
from drctl.errors import TargetRefused
from drctl.private import passing_directory

if TYPE_CHECKING:
    from pymysql.connections import Connection

PACKAGE = "mariadb-server"
_LOOK_SECONDS = 0.05
_START_SECONDS = 3600.0  # recovering after a crash takes its time; an end is seen at once
_STOP_SECONDS = 3600.0
_OPTIONS = (
    "--skip-networking",
    "--skip-log-bin",
    "--skip-slave-start",
    "--skip-grant-tables",
    "--event-scheduler=OFF",  # DISABLED would refuse a CREATE EVENT of the log
    "--innodb-buffer-pool-size=256M",
    "--max-allowed-packet=1G",
    "--secure-file-priv=",
)


class Private:
    """A running private server."""

    def __init__(self, socket: str, child: Child, shown: str) -> None:
        self.socket = socket
        self._child = child
        self._shown = shown

    @property
    def client_words(self) -> tuple[str, ...]:
        """For MariaDB's own client. Statements about rights need these to be loaded; who is in
        already stays in."""
        return (
            "--no-defaults",
            f"--socket={self.socket}",
            "--user=root",
            "--max-allowed-packet=1G",
            "--init-command=flush privileges",
        )

    @contextmanager
    def connect(self) -> Iterator["Connection[Any]"]:
        """Raises pymysql's errors."""
        import pymysql

        made = pymysql.connect(
            unix_socket=self.socket, user="root", charset="utf8mb4", autocommit=True
        )
        with closing(made) as server:
            yield server

    def wait_until_up(self) -> None:
        """Raises TargetRefused when it ends instead."""
        import pymysql

        end = time.monotonic() + _START_SECONDS
        while self._child.poll() is None and time.monotonic() < end:
            try:
                with self.connect():
                    return
            except pymysql.MySQLError:
                time.sleep(_LOOK_SECONDS)
        raise self.died()

    def died(self) -> TargetRefused:
        """It is not there any more, and this is what it said last."""
        with suppress(TimeoutError):
            self._child.wait(5)
        status = self._child.poll()
        how = exit_words(status) if status else "does not answer"
        return TargetRefused(
            f"{self._shown}: the server {how}; it said:\n{self._child.words}",
            hint="the restored files stay as they are; the repository is unharmed",
        )

    def stop(self) -> None:
        """A clean end, with everything on the disk. By a signal: what was restored may have brought
        passwords along by now. Raises TargetRefused."""
        if self._child.poll() is None:
            os.kill(self._child.pid, signal.SIGTERM)
        try:
            status = self._child.wait(_STOP_SECONDS)
        except TimeoutError as error:
            raise self.died() from error
        if status:
            raise self.died()


@contextmanager
def private_server(datadir: str, options: tuple[str, ...] = ()) -> Iterator[Private]:
    """Put the server up on `datadir` for as long as the block lasts, which should `stop` it at its
    end. Raises TargetRefused."""
    mariadbd = program("mariadbd", "mysqld", package=PACKAGE, error=TargetRefused)
    user = server_user(datadir)
    with passing_directory() as own, _giving_back(datadir):
        if user:
            os.chown(own, *user)
        socket = os.path.join(own, "socket")
        where = (*_arguments(datadir, own, socket), f"--basedir={basedir(mariadbd)}")
        argv = (mariadbd, *where, *_OPTIONS, *options)
        if user is None and os.geteuid() == 0:
            argv += ("--user=root",)
        with running(argv, user=user, cwd="/") as child:
            server = Private(socket, child, datadir)
            server.wait_until_up()
            yield server


def _arguments(datadir: str, own: str, socket: str) -> tuple[str, ...]:
    """The copy's own options say how large its pages are and how its tablespaces are laid out."""
    options = os.path.join(datadir, "backup-my.cnf")
    first = f"--defaults-file={options}" if os.path.exists(options) else "--no-defaults"
    return (
        first,
        f"--datadir={datadir}",
        f"--socket={socket}",
        f"--pid-file={own}/pid",
        f"--tmpdir={own}",
    )


def basedir(mariadbd: str) -> str:
    """Where its messages and plugins are: two above the program, wherever that was unpacked."""
    return os.path.dirname(os.path.dirname(os.path.realpath(mariadbd)))


def server_user(datadir: str) -> User | None:
    """Whom the server runs as: root puts it up as the files' owner where that user can get to
    them. None: as ourselves."""
    found = os.stat(datadir)
    if os.geteuid() != 0 or found.st_uid == 0 or not _reaches(datadir, found.st_uid, found.st_gid):
        return None
    return found.st_uid, found.st_gid


def _reaches(path: str, uid: int, gid: int) -> bool:
    """Whether this user may enter every directory above."""
    above = os.path.dirname(os.path.realpath(path))
    while above != "/":
        found = os.stat(above)
        bit = stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH
        if found.st_gid == gid and found.st_uid != uid:
            bit = stat.S_IXGRP
        if not found.st_mode & bit:
            return False
        above = os.path.dirname(above)
    return True


@contextmanager
def _giving_back(datadir: str) -> Iterator[None]:
    """What a server that ran as root made belongs to whom the directory belongs to."""
    try:
        yield
    finally:
        if os.geteuid() == 0:
            found = os.stat(datadir)
            give_all(datadir, found.st_uid, found.st_gid)


def give_all(top: str, uid: int, gid: int) -> None:
    """The directory and all below it to one user."""
    os.chown(top, uid, gid)
    for folder, directories, names in os.walk(top):
        for name in (*directories, *names):
            os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)


def explain(error: Exception) -> str:
    """What the server said, as one line."""
    code, said = words_of(error)
    return f"{said} ({code})" if code else said
