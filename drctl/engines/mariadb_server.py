"""A MariaDB server put up on restored files, privately: a Unix socket in a directory of its own, no
network, no binlog, no replication, no scheduled events, no files elsewhere, and no passwords, since
only the owner of that directory can reach it.

A server without passwords refuses whatever has to do with events, and a log or a dump may define
some. So where one of these is put in, it has its accounts, and one more for as long as that takes.
"""

import os
import secrets
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drctl.engines.child import Child, User, exit_words, running
from drctl.engines.mariadb_alike import Alike
from drctl.engines.mariadb_client import program, words_of
from drctl.engines.mariadb_invoker import make_admin
from drctl.engines.mariadb_zone import zone_file
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
    "--event-scheduler=OFF",
    "--innodb-buffer-pool-size=256M",
    "--max-allowed-packet=1G",
    "--secure-file-priv=",
    "--skip-symbolic-links",  # no DATA DIRECTORY of a log or a dump leads out
    # A table that is another server's would be read and written there: in production, at worst.
    "--loose-plugin-federated=OFF",
    "--loose-plugin-spider=OFF",
    "--loose-plugin-connect=OFF",
)

_LIKE_NONE = Alike()


class _Account(Struct, frozen=True):
    """`client` and `server`: the files that tell it to MariaDB's own client, and make it."""

    user: str
    password: str
    client: str
    server: str

    __repr__ = object.__repr__  # no error shows the password

    @classmethod
    def make(cls, own: str) -> "_Account":
        made = cls(
            f"drctl-{secrets.token_hex(6)}",
            f"{secrets.token_urlsafe(24)}+aA1",  # of every kind that a plugin may ask for
            os.path.join(own, "client.cnf"),
            os.path.join(own, "account.sql"),
        )
        name, admin = f"'{made.user}'@'localhost'", make_admin(made.user)
        _write(made.client, f"[client]\nuser={made.user}\npassword='{made.password}'\n")
        _write(
            made.server,
            f"create user {name} identified by '{made.password}';\n"
            f"grant all privileges on *.* to {name} with grant option;\n"
            # Only who has this right may grant it, and who starts a server has none.
            "insert into mysql.proxies_priv (host, user, proxied_host, proxied_user, with_grant,"
            f" grantor) values ('localhost', '{made.user}', '', '', 1, '');\n"
            f"{admin}flush privileges;\n",
        )
        return made


def _write(path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


class Private:
    """A running private server."""

    def __init__(self, socket: str, child: Child, shown: str, account: _Account | None) -> None:
        self.socket = socket
        self._child = child
        self._shown = shown
        self._account = account

    @property
    def account(self) -> str:
        """The passing one's name."""
        assert self._account  # noqa: S101 - who asks for accounts has one
        return self._account.user

    @property
    def client_words(self) -> tuple[str, ...]:
        """For MariaDB's own client. Raises TargetRefused for a server that has no accounts: it
        refuses a part of what a log or a dump holds."""
        if not self._account:
            raise TargetRefused(f"{self._shown}: nothing can be put into this server")
        own = f"--defaults-file={self._account.client}"
        return own, f"--socket={self.socket}", "--max-allowed-packet=1G"

    @contextmanager
    def connect(self) -> Iterator["Connection[Any]"]:
        """Raises pymysql's errors."""
        import pymysql

        user, password = "root", ""
        if self._account:
            user, password = self._account.user, self._account.password
        made = pymysql.connect(
            unix_socket=self.socket,
            ssl_disabled=True,
            user=user,
            password=password,
            charset="utf8mb4",
            autocommit=True,
        )
        with closing(made) as server:
            yield server

    def drop_account(self) -> None:
        """What is put up later has the accounts that were restored, and no other. Raises
        TargetRefused."""
        import pymysql

        assert self._account  # noqa: S101 - who asks for accounts has one
        try:
            with self.connect() as server, server.cursor() as cursor:
                cursor.execute("drop user %s@'localhost'", (self._account.user,))
        except pymysql.MySQLError as error:
            raise TargetRefused(
                f"{self._shown}: account {self._account.user} is still there: {explain(error)}",
                hint="remove what was restored, and restore it again",
            ) from error

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
        """A clean end, with everything on the disk. Raises TargetRefused."""
        if self._child.poll() is None:
            os.kill(self._child.pid, signal.SIGTERM)
        try:
            status = self._child.wait(_STOP_SECONDS)
        except TimeoutError as error:
            raise self.died() from error
        if status:
            raise self.died()


@contextmanager
def private_server(
    datadir: str,
    options: tuple[str, ...] = (),
    *,
    takes_in: bool = False,
    alike: Alike = _LIKE_NONE,
) -> Iterator[Private]:
    """Put the server up on `datadir` for as long as the block lasts, which should `stop` it at its
    end. `takes_in`: a log or a dump will be put in. `alike`: what is as at the source. Raises
    TargetRefused."""
    mariadbd = program("mariadbd", "mysqld", package=PACKAGE, error=TargetRefused)
    user = server_user(datadir)
    with passing_directory() as own, _giving_back(datadir):
        account = _Account.make(own) if takes_in else None
        zone = _zone(own, alike.zone)
        if user:
            give_all(own, *user)
        socket = os.path.join(own, "socket")
        where = (*_arguments(datadir, own, socket), f"--basedir={basedir(mariadbd)}")
        entry = f"--init-file={account.server}" if account else "--skip-grant-tables"
        argv = (mariadbd, *where, *_OPTIONS, entry, *options)
        if user is None and os.geteuid() == 0:
            argv += ("--user=root",)
        with running(argv, user=user, cwd="/", ends_with_us=True, zone=zone) as child:
            server = Private(socket, child, datadir, account)
            server.wait_until_up()
            yield server


def _zone(own: str, told: str) -> str:
    """For the server's environment."""
    if not told:
        return "UTC"
    path = os.path.join(own, "zone")
    with open(path, "xb") as file:
        file.write(zone_file(told))
    return f":{path}"


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
        f"--innodb-undo-directory={datadir}",  # these options may name the source's own
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
