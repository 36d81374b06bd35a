"""New servers, with nothing of their own: one into which a dump is loaded, and an empty one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from drctl.engines.base import Surroundings
from drctl.engines.child import exit_words, running
from drctl.engines.mariadb_client import CLIENT, Settings, program
from drctl.engines.mariadb_dump import DATABASES, SYSTEM
from drctl.engines.mariadb_dump import PACKAGE as CLIENT_PACKAGE
from drctl.engines.mariadb_server import PACKAGE, Private, basedir, private_server
from drctl.errors import TargetRefused


def hollow(_settings: Settings, at: str, _around: Surroundings) -> None:
    """A data directory without a database of anybody's; see engines.base.Engine."""
    os.mkdir(at, mode=0o700)
    _install(at)


def is_dump(at: str) -> bool:
    return os.path.isfile(os.path.join(at, os.fsdecode(DATABASES)))


@contextmanager
def empty_server(at: str) -> Iterator[Private]:
    """On a new data directory on the same disk, which goes when the block ends. Raises
    TargetRefused."""
    datadir = f"{os.path.realpath(at)}.drctl-loaded"
    shutil.rmtree(datadir, ignore_errors=True)
    try:
        os.mkdir(datadir, mode=0o700)
        _install(datadir)
        with private_server(datadir, takes_in=True) as server:
            yield server
    finally:
        shutil.rmtree(datadir, ignore_errors=True)


def _install(datadir: str) -> None:
    install = program("mariadb-install-db", package=PACKAGE, error=TargetRefused)
    mariadbd = program("mariadbd", "mysqld", package=PACKAGE, error=TargetRefused)
    words = ["--no-defaults", f"--basedir={basedir(mariadbd)}", f"--datadir={datadir}"]
    words += ["--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=normal"]
    words += ["--user=root"] if os.geteuid() == 0 else []
    with running((install, *words)) as child:
        status = child.wait()
    if status:
        raise TargetRefused(f"{datadir}: mariadb-install-db {exit_words(status)}:\n{child.words}")


def load(server: Private, at: str) -> None:
    """Both files, as a person would. Raises TargetRefused with the server's words."""
    client = program(*CLIENT, package=CLIENT_PACKAGE, error=TargetRefused)
    for name in (DATABASES, SYSTEM):
        path = os.path.join(at, os.fsdecode(name))
        with open(path, "rb") as file, running((client, *server.client_words), stdin=file) as child:
            status = child.wait()
        if status:
            raise TargetRefused(f"{path} does not load: it {exit_words(status)}:\n{child.words}")
