"""Putting a Redis dump back, into a directory that a server then starts on.

A server with `appendonly yes` does not look at dump.rdb: it would come up empty. So where the
source kept an append-only file, the dump is also put in its place, as the base that Redis 7 and
later (or the whole file that earlier ones) begin with: the server comes up with its data anyhow.
"""

import os

from drctl.engines.base import Surroundings, Writing
from drctl.engines.redis_check import check
from drctl.engines.tree_look import reason
from drctl.engines.tree_settle import Troubles
from drctl.engines.tree_write import TreeTarget
from drctl.errors import IntegrityError, TargetRefused
from drctl.events import Notice, Reporter
from drctl.model import Entry, Problem

DUMP = b"dump.rdb"
_BASE = "appendonly.aof.1.base.rdb"
_FOLDER = "appendonlydir"
# A whole dump of no keys; redis-check-rdb takes zeros for a checksum that was not asked for.
_NO_KEYS = b"REDIS0009\xff" + bytes(8)
_MANIFEST = f"file {_BASE} seq 1 type b\n"


class Target:
    """Restores dump.rdb into the directory `to`; see engines.base.Target."""

    def __init__(self, to: str, facts: dict[str, str], report: Reporter) -> None:
        self._to = os.path.realpath(to)
        self._tree = TreeTarget(to)
        self._appendonly = facts.get("appendonly") == "yes"
        self._major = facts.get("redis", "").partition(".")[0]
        self._report = report
        self._troubles = Troubles()

    def prepare(self) -> None:
        pid = server_in(self._to)
        if pid:
            raise TargetRefused(
                f"{self._to}: a Redis server (process {pid}) runs on this directory",
                hint="name another directory, or stop that server and empty its directory first",
            )
        self._tree.prepare()

    def put_plain(self, entry: Entry) -> Problem | None:
        return self._tree.put_plain(entry)

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        return self._tree.put_small(entry, content)

    def open_large(self, entry: Entry) -> Writing:
        return self._tree.open_large(entry)

    def finish(self) -> tuple[Problem, ...]:
        """Until a server comes up with its data, whatever its settings, it bears the mark."""
        mark = self._tree.keep_mark()
        is_done = False
        try:
            problems = self._tree.finish()
            self._make_ready(os.path.join(self._to, os.fsdecode(DUMP)))
            is_done = True
        finally:
            if mark:
                mark.settle(whole=is_done)
        return tuple(dict.fromkeys((*problems, *self._troubles.problems())))

    def _make_ready(self, dump: str) -> None:
        if not os.path.exists(dump):
            return  # it was damaged in the repository, as was told
        check(dump, dump, IntegrityError)
        self._to_the_directorys_owner(dump)
        if self._appendonly:
            self._as_append_only(dump)
            return
        self._report.emit(
            Notice(
                "info",
                "start the server with 'appendonly no': with 'yes' it would not read dump.rdb",
            )
        )

    def _as_append_only(self, dump: str) -> None:
        """The same bytes under a second name: Redis replaces these files, it never writes them."""
        is_old = self._major.isdigit() and int(self._major) < 7
        try:
            if is_old:
                os.link(dump, os.path.join(self._to, "appendonly.aof"))
                return
            folder = os.path.join(self._to, _FOLDER)
            os.mkdir(folder, 0o700)
            os.link(dump, os.path.join(folder, _BASE))
            manifest = os.path.join(folder, "appendonly.aof.manifest")
            with open(manifest, "x", encoding="ascii") as file:
                file.write(_MANIFEST)
                file.flush()
                os.fsync(file.fileno())
            for path in (folder, manifest):
                self._to_the_directorys_owner(path)
        except OSError as error:
            raise TargetRefused(
                f"{self._to}: the append-only file cannot be made: {reason(error)}",
                hint="dump.rdb is whole: start with 'appendonly no', then switch it on",
            ) from error

    def _to_the_directorys_owner(self, path: str) -> None:
        """A directory that was made for the server's user is restored into for that user."""
        if os.geteuid() == 0:
            above = os.stat(self._to)
            try:
                os.chown(path, above.st_uid, above.st_gid)
            except OSError as error:  # this root may not, as in a container
                name = os.fsencode(os.path.relpath(path, self._to))
                self._troubles.add(name, f"its owner could not be set: {reason(error)}")


def server_in(directory: str) -> int | None:
    """The process number of a Redis server that works in a directory. A server enters its own."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as file:
                is_redis = file.read().startswith(("redis-server", "valkey-server"))
            if is_redis and os.path.samefile(os.readlink(f"/proc/{name}/cwd"), directory):
                return int(name)
        except OSError:
            continue  # it has ended, or is another user's
    return None


def target(_: object, to: str, facts: dict[str, str], around: Surroundings) -> Target:
    """Restores into the directory `to`, which must be empty."""
    return Target(to, facts, around.report)


def hollow(_settings: object, at: str, _around: Surroundings) -> None:
    """A dump without a key; see engines.base.Engine."""
    os.mkdir(at, 0o700)
    with open(os.path.join(os.fsencode(at), DUMP), "xb") as file:
        file.write(_NO_KEYS)
