"""How drctl reaches a MariaDB server: the plan's settings, a connection, the programs' option file.

A password goes to the programs in an option file that lies in memory alone (memfd) and is handed on
as an open descriptor: it is in no argument, no environment and on no disk.
"""

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from drctl.engines.base import Surroundings
from drctl.engines.child import find_program, running
from drctl.engines.values import Flag, Host, Period, Port, SecretRef
from drctl.errors import DrctlError, SourceError

if TYPE_CHECKING:
    from pymysql.connections import Connection

CLIENT = ("mariadb", "mysql")
_CONNECT_SECONDS = 10
_READ_SECONDS = 600
_ALIVE_SECONDS = 20
_LOCKED = 1205
_BROKEN_OFF = (2006, 2013)  # by the other side, unasked
_DENIED = (1044, 1045, 1142, 1227, 1698)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)[^\s]*")


class Settings(BaseModel):
    """What the plan says under `mariadb`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Host = Field(
        default="/run/mysqld/mysqld.sock",
        min_length=1,
        description="The server's socket, or its address.",
    )
    port: Port = Field(default=3306, description="Its port, where it has an address.")
    user: str | None = Field(
        default=None, description="Whom drctl logs in as. Left out: the user that runs drctl."
    )
    password: SecretRef | None = Field(default=None, description="Reference to the password.")
    mode: str = Field(
        default="copy",
        pattern="^(copy|pipe)$",
        description="copy: files first, then stored. pipe: stored as they are read.",
    )
    dump: Flag = Field(
        default=False, description="A logical dump, to move between versions, not the files."
    )
    stream: Flag = Field(default=False, description="Its binlog is kept by 'drctl stream'.")
    store_every: Period = Field(
        default="2s", description="How often new binlog is stored, such as 2s."
    )
    mark: Flag = Field(default=False, description="Write a marker row, to measure freshness by.")
    mark_every: Period = Field(default="30s", description="How often the marker row is written.")

    @property
    def shown(self) -> str:
        """The server, for people."""
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}"


class Access:
    """A way to log in, for one run. `close` forgets the password."""

    def __init__(self, settings: Settings, around: Surroundings) -> None:
        self.settings = settings
        self._password = around.secret(settings.password) if settings.password else ""

    @contextmanager
    def connect(self, *, alive: bool = False) -> Iterator["Connection[Any]"]:
        """`alive`: the server says something all the time, and silence is a failure. Raises
        SourceError, also for what goes wrong in the block."""
        import pymysql

        limits = {**_LIMITS, "read_timeout": _ALIVE_SECONDS} if alive else _LIMITS
        try:
            with closing(pymysql.connect(**self._words(), **limits)) as server:
                yield server
        except pymysql.MySQLError as error:
            raise self.error(error) from error

    def _words(self) -> dict[str, Any]:
        own = self.settings
        where: dict[str, Any] = {"host": own.host}
        if own.host.startswith("/"):  # nobody listens there; to get ready for TLS takes its time
            where = {"unix_socket": own.host, "ssl_disabled": True}
        user = own.user or _own_name()
        return {**where, "port": own.port, "user": user, "password": self._password}

    def error(self, error: Exception) -> SourceError:
        """What the server, or the way to it, said."""
        code, said = words_of(error)
        hint = "is it running, and is 'host' in the plan right?"
        if code in _DENIED:
            hint = "are 'user', 'password' and the grants right? See docs/engines/mariadb.md"
        if code in _BROKEN_OFF:
            hint = "look at the server's log: did it stop, or was this connection ended?"
        if code == _LOCKED:
            hint = "another session holds it locked: see 'show processlist'"
        return SourceError(f"{self.settings.shown}: {said}", hint=hint)

    @contextmanager
    def option_file(self) -> Iterator[int]:
        """A descriptor of an option file for MariaDB's programs: `--defaults-file` with
        `/dev/fd/N`, and `pass_fds`."""
        descriptor = os.memfd_create("drctl-options")
        try:
            os.fchmod(descriptor, 0o600)  # one that others may write is not read
            os.write(descriptor, self._option_text().encode())
            yield descriptor
        finally:
            os.close(descriptor)

    def _option_text(self) -> str:
        own = self.settings
        where = (
            {"socket": own.host}
            if own.host.startswith("/")
            else {"host": own.host, "port": str(own.port), "protocol": "tcp"}
        )
        words = {**where, "user": own.user or _own_name()}
        if self._password:
            words["password"] = self._password
        return "[client]\n" + "".join(f"{name}={_quoted(text)}\n" for name, text in words.items())


_LIMITS: dict[str, Any] = {
    "connect_timeout": _CONNECT_SECONDS,
    "read_timeout": _READ_SECONDS,
    "autocommit": True,
    "charset": "utf8mb4",
}


def _own_name() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _quoted(text: str) -> str:
    """As MariaDB's programs read values: within quotes, a backslash escapes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def words_of(error: Exception) -> tuple[int, str]:
    """A driver's error: its number, and its words."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    return code, said or type(error).__name__


def ask(server: "Connection[Any]", query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with server.cursor() as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


def identity_of(server: "Connection[Any]") -> str:
    """What tells this server from others for ever. Not all versions have an id of their own."""
    found = ask(server, "show global variables where variable_name in ('server_uid', 'server_id')")
    known = {str(name): str(value) for name, value in found}
    return known.get("server_uid") or known["server_id"]


def quoted_name(*parts: str) -> str:
    """A name as SQL wants it: data here, never words of the query."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def tables(server: "Connection[Any]") -> list[tuple[str, str]]:
    """(database, table) of what people keep: no view, nothing of the server's own."""
    found = ask(
        server,
        "select table_schema, table_name from information_schema.tables where table_type in "
        "('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') and table_schema not in "
        "('mysql', 'sys', 'information_schema', 'performance_schema') order by 1, 2",
    )
    return [(_text(schema), _text(table)) for schema, table in found]


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


# -- the programs ---------------------------------------------------------------------------------


def program(*names: str, package: str, error: type[DrctlError] = SourceError) -> str:
    """The path of a program. Raises `error` where Debian's package is missing."""
    found = find_program(*names)
    if not found:
        raise error(f"{names[0]} is not installed here", hint=f"run: apt-get install {package}")
    return found


def series(text: str) -> tuple[int, int]:
    """`10.11.19-MariaDB` is of the series (10, 11). Raises ValueError."""
    found = _VERSION.search(text)
    if not found:
        raise ValueError(f"no version in '{text[:80]}'")
    return int(found[1]), int(found[2])


def program_version(path: str) -> str:
    """What a program says of the server that it belongs to, such as `10.11.19-MariaDB`."""
    said: list[str] = []
    with running((path, "--version"), stdout=-1, listener=said.append) as child:
        said.append(child.output.read(4096).decode("utf-8", "replace"))
        child.wait()
    for text in said:
        found = [m[0] for m in _VERSION.finditer(text) if "MariaDB" in m[0]]
        if found:
            return found[0].rstrip(",")
    return ""
