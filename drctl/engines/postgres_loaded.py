"""New clusters, with nothing of their own: one into which dumps are loaded, and an empty one."""

import glob
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from drctl.engines.base import Surroundings
from drctl.engines.child import User, exit_words, find_program, running
from drctl.engines.postgres_client import Settings, speaking
from drctl.engines.postgres_dump import DATABASES, GLOBALS
from drctl.engines.postgres_server import Server, programs, started
from drctl.errors import TargetRefused

_ROLE = "postgres"
_THERE_ALREADY = ("postgres", "template1")
_WAIT_SECONDS = 600.0
# A server makes its own directory in the place that it is told, which may be production's.
_SPACE = re.compile(
    rb'^(CREATE TABLESPACE (?:"(?:[^"]|"")+"|\w+)(?: OWNER (?:"(?:[^"]|"")+"|\w+))? LOCATION )'
    rb"E?'[^']*';$",
    re.MULTILINE,
)
_INSIDE = b"SET allow_in_place_tablespaces = on;\n"
_MAJOR = re.compile(rb"Dumped from database version: (\d+)")


def hollow(settings: Settings, at: str, _around: Surroundings) -> None:
    """A cluster with the database that checks ask, and nothing in it; see engines.base.Engine. Of
    the newest version here: an empty one of another would be as empty."""
    here = _versions_here()
    initdb = find_program("initdb")
    if not here and not initdb:
        raise TargetRefused("initdb is not installed here", hint="apt-get install postgresql")
    place = programs(max(here)) if here else os.path.dirname(os.path.realpath(str(initdb)))
    _install(place, at)
    if settings.dbname not in _THERE_ALREADY:
        with started(at, _ROLE, _WAIT_SECONDS) as server:
            _create(server, settings.dbname)


def _create(server: Server, dbname: str) -> None:
    import psycopg
    from psycopg import sql

    statement = sql.SQL("create database {}").format(sql.Identifier(dbname))
    try:
        with speaking(**server.parameters("template1"), autocommit=True) as connection:
            connection.execute(statement)
    except psycopg.Error as error:
        raise TargetRefused(f"{dbname} cannot be made: {str(error).strip()}") from error


def is_dump(at: str) -> bool:
    return os.path.isfile(os.path.join(at, GLOBALS))


@contextmanager
def loaded(at: str) -> Iterator[Server]:
    """A server that holds what the dumps in `at` hold, for as long as the block lasts. Raises
    TargetRefused with what did not load."""
    top = os.path.realpath(at)
    archives = sorted(glob.glob(os.path.join(glob.escape(top), DATABASES, "*.dump")))
    if not archives:
        raise TargetRefused(f"{at}: there is no dump of a database")
    place = _programs_for(archives[0])
    datadir = f"{top}.drctl-loaded"
    shutil.rmtree(datadir, ignore_errors=True)
    try:
        _install(place, datadir)
        with started(datadir, _ROLE, _WAIT_SECONDS) as server:
            shared = _at_home(os.path.join(top, GLOBALS), datadir)
            _load(place, server, shared, archives)
            yield server
    finally:
        shutil.rmtree(datadir, ignore_errors=True)


def _programs_for(archive: str) -> str:
    """The oldest version here that is not older than the server that was dumped."""
    here = _versions_here()
    newest = f"/usr/lib/postgresql/{max(here)}/bin/pg_restore" if here else ""
    version = _version_of(archive, find_program("pg_restore") or newest)
    fitting = sorted(each for each in here if each >= version)
    return programs(fitting[0] if fitting else version)


def _versions_here() -> set[int]:
    return {int(path.split("/")[4]) for path in glob.glob("/usr/lib/postgresql/[0-9]*/bin/initdb")}


def _version_of(archive: str, restore: str) -> int:
    """What the archive's head says of the server that was dumped."""
    if not restore:
        raise TargetRefused("pg_restore is not installed here", hint="apt-get install postgresql")
    with running((restore, "--list", archive), stdout=subprocess.PIPE) as child:
        found = _MAJOR.search(child.output.read())
        child.wait()
    if not found:
        raise TargetRefused(f"{archive}: pg_restore does not read it; it said:\n{child.words}")
    return int(found[1])


def _install(place: str, datadir: str) -> None:
    user = _user()
    os.mkdir(datadir, mode=0o700)
    if user:
        os.chown(datadir, *user)
    argv = (os.path.join(place, "initdb"), "-D", datadir, "-U", _ROLE, "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync")  # fmt: skip
    with running(argv, user=user, cwd="/", ends_with_us=True) as child:
        status = child.wait()
    if status:
        raise TargetRefused(f"{datadir}: initdb {exit_words(status)}; it said:\n{child.words}")


def _user() -> User | None:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(_ROLE)
    except KeyError:
        found = pwd.getpwnam("nobody")
    return found.pw_uid, found.pw_gid


def _at_home(shared: str, datadir: str) -> str:
    """What all databases share, with each tablespace inside the server's own directory. It holds
    passwords' hashes, and goes with the server."""
    with open(shared, "rb") as file:
        text, spaces = _SPACE.subn(rb"\1'';", file.read())
    path = os.path.join(datadir, GLOBALS)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as into:
        into.write(_INSIDE * bool(spaces) + text)
    return path


def _load(place: str, server: Server, shared: str, archives: Sequence[str]) -> None:
    """As a person would. That the bootstrap role exists already is no failure."""
    from psycopg.conninfo import make_conninfo

    where = f"--dbname={make_conninfo(**server.parameters('template1'))}"
    wrong: list[str] = []

    def listen(line: str) -> None:
        if "ERROR:" in line and "already exists" not in line:
            wrong.append(line)

    psql = (os.path.join(place, "psql"), "-X", "-q", where, "-f", shared)
    with running(psql, listener=listen, stdout=subprocess.DEVNULL) as child:
        status = child.wait()
    if status or wrong:
        raise TargetRefused(f"{GLOBALS} does not load:\n{wrong[0] if wrong else child.words}")
    restore = (os.path.join(place, "pg_restore"), where, "--create")
    for path in archives:
        argv = (*restore, "--clean", "--if-exists", "--exit-on-error", path)
        with running(argv) as child:
            status = child.wait()
        if status:
            raise TargetRefused(f"{path} does not load: it {exit_words(status)}:\n{child.words}")
