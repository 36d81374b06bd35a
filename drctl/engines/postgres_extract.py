"""One database out of a restored cluster: a private server is started over it, and pg_dump reads
from there, into a file or straight into another server.

A password is never among what pg_restore is told: libpq finds it in ~/.pgpass or in a service file.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from drctl.engines.child import Child, exit_words, running
from drctl.engines.postgres_client import speaking
from drctl.engines.postgres_databases import databases
from drctl.engines.postgres_server import Server, major_at, programs, started
from drctl.engines.single import SingleTarget
from drctl.errors import TargetRefused, UsageError
from drctl.model import Entry, Kind

_WAIT_SECONDS = 3600.0  # for the replay of its log
_PIECE_BYTES = 1 << 20
# What no extension brought along, of tables, views, sequences and the like.
_FIRST = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (
  select from pg_catalog.pg_depend d
  where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1 limit 1
"""
_SECRETS = {"password", "sslpassword"}
_CONNINFO = re.compile(r"postgres(ql)?://|\s*[a-z_]+\s*=")


def check(to: str) -> None:
    """Before anything is restored. Raises UsageError, TargetRefused."""
    if not _CONNINFO.match(to):
        SingleTarget(to).prepare()
        return
    told = _parameters(to)
    if "dbname" not in told:
        raise UsageError(
            "--to names a server and no database of it: none is taken that only has the same name",
            hint="add dbname=NAME, of a database that is there and empty",
        )
    if _SECRETS & told.keys():
        raise UsageError(
            "--to holds a password, which anybody on this machine could see",
            hint="leave it out, and put it into ~/.pgpass, as PostgreSQL's own programs read it",
        )


def extract(at: str, superuser: str, database: str, to: str) -> None:
    """Dump a database of the cluster in the directory `at`: `to` is a file that is not there yet,
    or says how to connect to the server that gets it. Raises TargetRefused."""
    place = programs(major_at(at))
    with started(at, superuser, _WAIT_SECONDS) as server:
        _refuse_unknown(server, database)
        if _CONNINFO.match(to):
            _across(place, server, database, _parameters(to))
        else:
            _to_file(place, server, database, to)


def _parameters(to: str) -> dict[str, str]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {key: str(value) for key, value in conninfo_to_dict(to).items()}
    except psycopg.Error as error:
        raise UsageError(
            f"--to: {str(error).strip()}",
            hint="a file whose name has '=' in it begins with ./; a server is told as "
            "'host=/run/postgresql dbname=shop'",
        ) from error


def _refuse_unknown(server: Server, database: str) -> None:
    import psycopg

    try:
        with speaking(**server.parameters("template1")) as connection:
            found = databases(connection)
    except psycopg.Error as error:
        raise TargetRefused(f"the restored PostgreSQL: {str(error).strip()}") from error
    if why := next((each.unreadable for each in found if each.name == database), ""):
        raise TargetRefused(
            f"the database {database} could not be read then: {why}",
            hint="name an earlier instant, with --at",
        )
    names = [each.name for each in found if not each.unreadable]
    if database not in names:
        raise TargetRefused(
            f"the cluster had no database {database} then: nothing was written",
            hint=f"it had {', '.join(names)}",
        )


def _to_file(place: str, server: Server, database: str, to: str) -> None:
    """Whole, or not at all."""
    name = os.fsencode(f"{database.replace('/', '_')}.dump")
    target = SingleTarget(to)
    target.prepare()
    mine = (os.geteuid(), os.getegid())
    writing = target.open_large(Entry(name, int(Kind.FILE), 0o600, *mine, time.time_ns()))
    try:
        with _dumping(place, server, database, ()) as dump:
            while piece := dump.output.read(_PIECE_BYTES):
                writing.write(piece)
            _refuse_failed({"pg_dump": dump})
    except BaseException:
        writing.abort()
        raise
    writing.close()


def _across(place: str, server: Server, database: str, to: dict[str, str]) -> None:
    """In one transaction of the server that gets it: all of it, or nothing."""
    from psycopg.conninfo import make_conninfo

    where = make_conninfo(**to)
    _refuse_full(place, where, to["dbname"])
    argv = (os.path.join(place, "pg_restore"), "--no-password", "--single-transaction",
            "--exit-on-error", f"--dbname={where}")  # fmt: skip
    with (
        _dumping(place, server, database, ("--compress=0",)) as dump,
        running(argv, stdin=dump.output) as restore,
    ):
        dump.output.close()  # so that pg_dump learns when pg_restore has ended
        _refuse_failed({"pg_restore": restore, "pg_dump": dump})


def _refuse_full(place: str, where: str, dbname: str) -> None:
    """What is there stays by itself: old tables among the restored ones would look like theirs.
    Asked by a program of the same environment as the one that loads. Raises TargetRefused."""
    argv = (os.path.join(place, "psql"), "--no-psqlrc", "--no-password", "-At",
            f"--command={_FIRST}", f"--dbname={where}")  # fmt: skip
    with running(argv, stdout=subprocess.PIPE) as psql:
        first = psql.output.read().decode("utf-8", "backslashreplace").strip()
        _refuse_failed({"psql": psql})
    if first:
        raise TargetRefused(
            f"the database {dbname} is not empty, it has {first}: nothing was written",
            hint="name a database that is there and empty: CREATE DATABASE makes one",
        )


@contextmanager
def _dumping(place: str, server: Server, database: str, options: Sequence[str]) -> Iterator[Child]:
    from psycopg.conninfo import make_conninfo

    where = make_conninfo(**server.parameters(database))
    argv = (os.path.join(place, "pg_dump"), "--format=custom", *options, f"--dbname={where}")
    with running(argv, stdout=subprocess.PIPE) as child:
        yield child


def _refuse_failed(children: dict[str, Child]) -> None:
    """One that fails takes the other with it, so what both said is told."""
    told = [
        f"{name} {exit_words(status)}; it said:\n{child.words}"
        for name, child in children.items()
        if (status := child.wait())
    ]
    if told:
        raise TargetRefused(
            "\n".join(told),
            hint="nothing was kept. A server needs the database, empty, and the roles that own "
            "what is in it; a file can be loaded with pg_restore's own options",
        )
