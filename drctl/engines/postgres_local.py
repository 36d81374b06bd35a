"""A base snapshot read in place, beside the server: pg_backup_start, the files, pg_backup_stop.

The WAL from the start to the end is part of the snapshot, so that it restores to a server that
starts, whatever else is lost. pg_control is read last.
"""

import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from drctl.descriptors import at_once, hint
from drctl.engines import postgres_layout as layout
from drctl.engines.base import Item, PlainItem
from drctl.engines.postgres_capture import Capture, Owner, bytes_item
from drctl.engines.postgres_client import lsn_of
from drctl.engines.postgres_files import FileItem, entry_of
from drctl.engines.postgres_links import Links
from drctl.engines.postgres_proof import PageReader
from drctl.engines.postgres_reading import NEAR_MOST, AsItIs, Proven, Reading
from drctl.engines.postgres_wal import number_of
from drctl.engines.tree_look import reason
from drctl.errors import SourceError
from drctl.model import Kind

if TYPE_CHECKING:
    import psycopg

_READERS = 2
_SETTLE_TRIES = 20
_ADDRESS_AT = 8  # of a page of WAL: where in the log it is
_AS_ROOT = "run drctl as root or as the server's user, or set 'mode: remote'"
_NOTHING_KEPT = "nothing was kept, and earlier snapshots stay; look at the disk"


class LocalCapture(Capture):
    """The files of a cluster on this machine; see engines.base.Capture."""

    mode = "local"

    def __init__(
        self,
        top: bytes,
        reader: PageReader | None,
        connection: "psycopg.Connection[Any]",
        *about: Any,
    ) -> None:
        """`reader`: None for a cluster that has no checksums."""
        super().__init__(*about)
        self._top = top
        self._reader = reader
        self._sql = connection
        self._links = Links(top, self.asset)
        self._label = b""
        self._spaces: dict[str, str] = {}
        self._reading: Reading
        self._of_relations: Reading

    def items(self) -> Iterator[Item]:
        reader = self._reader
        with ThreadPoolExecutor(_READERS, "drctl-pages") as pool:
            started = self._start()
            self._reading = self._of_relations = AsItIs(pool)
            if reader:
                about = (self.cluster.page_bytes, started, self._written)
                proven = self._of_relations = Proven(reader, *about)
            yield from self._tree(b".")
            ended = self._stop(started)
            yield bytes_item(layout.LABEL, self._label, self._owner())
            yield bytes_item(layout.CONTROL, self._control(), self._owner())
            yield from self._wal(started, ended)
        self.corrupt_pages = proven.bad_pages if reader else 0

    # -- start and stop -----------------------------------------------------------------------

    def _start(self) -> int:
        """Raises SourceError. From here on full pages are in the WAL."""
        old = self.cluster.version < 150000
        call = "pg_start_backup(%s, true, false)" if old else "pg_backup_start(%s, true)"
        row = self._sql.execute(f"select {call}::text", (self.label,)).fetchone()
        assert row  # noqa: S101 - it always gives one
        return lsn_of(row[0])

    def _stop(self, started: int) -> int:
        """The cluster's state is that of the end. No writer is held up by it."""
        old = self.cluster.version < 150000
        call = "pg_stop_backup(false, false)" if old else "pg_backup_stop(false)"
        before = self.server_now_ns(self._sql)
        row = self._sql.execute(f"select lsn::text, labelfile from {call}").fetchone()  # noqa: S608
        assert row  # noqa: S101 - it always gives one
        self._label = row[1].encode()
        ended = lsn_of(row[0])
        self.reached(started, ended, before, self.server_now_ns(self._sql))
        return ended

    def _written(self) -> int:
        """How far the server's log has come."""
        row = self._sql.execute("select pg_current_wal_insert_lsn()::text").fetchone()
        assert row  # noqa: S101 - it always gives one
        return lsn_of(row[0])

    # -- files --------------------------------------------------------------------------------

    def _tree(self, path: bytes) -> Iterator[Item]:
        """A directory and what is below, without what a backup leaves out."""
        found = self._stat(path)
        if found is None:
            return
        yield PlainItem(entry_of(path, found, Kind.DIRECTORY))
        if layout.is_emptied(path):
            if path == layout.WAL:
                yield PlainItem(entry_of(b"pg_wal/archive_status", found, Kind.DIRECTORY))
            return
        names = self._names(path)
        wanted = sorted(names - layout.unlogged(names))
        relations = []
        for name in wanted:
            below = name if path == b"." else path + b"/" + name
            if layout.is_relation(below):
                relations.append(below)
            elif not layout.is_left_out(below):
                yield from self._thing(below)
        yield from self._relations(relations)

    def _thing(self, path: bytes) -> Iterator[Item]:
        """A socket or a pipe is passed over, as pg_basebackup does."""
        real = self._real(path)
        if path == layout.CONTROL:
            return  # it comes last
        mode = self._mode(path)
        if stat.S_ISLNK(mode):
            yield from self._link(path, real)
        elif stat.S_ISDIR(mode):
            yield from self._tree(path)
        elif stat.S_ISREG(mode):
            yield from self._file(path, real)

    def _link(self, path: bytes, real: bytes) -> Iterator[Item]:
        """What is behind it lies at its place in the snapshot: a tablespace, pg_wal elsewhere, or
        whatever else was moved to another disk."""
        if path == layout.WAL:
            yield from self._tree(path)
        elif os.path.dirname(path) == layout.TABLESPACES:
            self._spaces[os.fsdecode(os.path.basename(path))] = os.fsdecode(os.readlink(real))
            self.private_facts["tablespaces"] = self.as_json(self._spaces)
            yield from self._tree(path)
        else:
            yield from self._followed(path, real)

    def _followed(self, path: bytes, real: bytes) -> Iterator[Item]:
        with ExitStack() as stack:
            try:
                mode = stack.enter_context(self._links.behind(real)).st_mode
            except FileNotFoundError:
                return  # it went meanwhile
            except OSError as error:
                raise self._unreadable(path, error) from error
            if stat.S_ISDIR(mode):
                yield from self._tree(path)
            elif stat.S_ISREG(mode):
                yield from self._file(path, real)

    def _file(self, path: bytes, real: bytes) -> Iterator[Item]:
        with self._opened(real) as descriptor:
            if descriptor >= 0:
                yield self._item(path, descriptor, self._reading)

    def _relations(self, paths: list[bytes]) -> Iterator[Item]:
        """Some are open at once, so that small ones can be read together."""
        near = at_once(NEAR_MOST)
        for at in range(0, len(paths), near):
            with ExitStack() as stack:
                some = [(p, stack.enter_context(self._opened(self._real(p))))
                        for p in paths[at : at + near]]  # fmt: skip
                items = [self._item(p, d, self._of_relations) for p, d in some if d >= 0]
                self._of_relations.expect([item.opened for item in items])
                yield from items

    def _item(self, path: bytes, descriptor: int, reading: Reading) -> FileItem:
        now_ns = self.around.clock.now_ns()
        return FileItem(path, descriptor, reading, now_ns, int(self.cluster.system_id))

    def _real(self, path: bytes) -> bytes:
        return self._top if path == b"." else self._top + b"/" + path

    def _stat(self, path: bytes) -> os.stat_result | None:
        """None: it went meanwhile, as a dropped database does."""
        try:
            found = os.stat(self._real(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(path, error) from error
        self._links.prove(self._real(path), found)
        return found

    def _mode(self, path: bytes) -> int:
        """What kind of thing it is; 0: it went meanwhile."""
        try:
            return os.lstat(self._real(path)).st_mode
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._unreadable(path, error) from error

    def _names(self, path: bytes) -> set[bytes]:
        """What is in a directory; of a tablespace only what this version of the server keeps."""
        try:
            names = set(os.listdir(self._real(path)))
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise self._unreadable(path, error) from error
        if os.path.dirname(path) == layout.TABLESPACES:
            return {n for n in names if n.startswith(b"PG_%d_" % self.cluster.major)}
        return names

    @contextmanager
    def _opened(self, real: bytes) -> Iterator[int]:
        """-1: it went meanwhile."""
        try:
            descriptor = self._links.open(real)
        except FileNotFoundError:
            yield -1
            return
        except OSError as error:
            raise self._unreadable(real, error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _unreadable(self, path: bytes, error: OSError) -> SourceError:
        refused = isinstance(error, PermissionError)
        return SourceError(
            f"{self.asset}: {os.fsdecode(path)}: {reason(error)}",
            hint=hint(error, _AS_ROOT if refused else _NOTHING_KEPT),
        )

    def _owner(self) -> Owner:
        found = os.stat(self._real(b"PG_VERSION"))
        return Owner(found.st_uid, found.st_gid, self.consistent_at_ns)

    def _control(self) -> bytes:
        """Two readings that agree: nobody was writing it meanwhile."""
        last = b""
        for _ in range(_SETTLE_TRIES):
            with open(self._real(layout.CONTROL), "rb") as file:
                now = file.read()
            if now == last:
                return now
            last = now
        raise SourceError(f"{self.asset}: pg_control changes too fast to be read")

    # -- WAL ----------------------------------------------------------------------------------

    def _wal(self, started: int, ended: int) -> Iterator[Item]:
        """The segments from the start to the end: what a restore needs at least."""
        for name in self.segments(started, ended):
            path = layout.WAL + b"/" + name.encode()
            with self._opened(self._real(path)) as descriptor:
                if descriptor < 0:
                    raise self._gone(name)
                yield FileItem(path, descriptor, self._reading, 0, 0)
                begin = number_of(name, self.cluster.segment_bytes) * self.cluster.segment_bytes
                if not _is_as_it_was(self._real(path), descriptor, begin):
                    raise self._gone(name)
        name = f"{self.cluster.timeline:08X}.history"
        with self._opened(self._real(b"pg_wal/" + name.encode())) as descriptor:
            if descriptor >= 0:
                yield FileItem(b"pg_wal/" + name.encode(), descriptor, self._reading, 0, 0)

    def own_wal(self, file: str, offset: int, size: int) -> bytes:
        with self._opened(self._real(layout.WAL + b"/" + file.encode())) as descriptor:
            return os.pread(descriptor, size, offset) if descriptor >= 0 else b""

    def _gone(self, name: str) -> SourceError:
        return SourceError(
            f"{self.asset}: {name} is gone from pg_wal before it was saved",
            hint="raise wal_keep_size, or let the role replicate: a slot keeps it",
        )


def _is_as_it_was(path: bytes, descriptor: int, begin: int) -> bool:
    """Whether a segment was not changed while it was read: one that is not needed any more is
    removed, or becomes a later one, which is written over it in place, from its first page on."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        address = os.pread(descriptor, 8, _ADDRESS_AT)
        is_removed = not os.fstat(descriptor).st_nlink
        return is_removed and int.from_bytes(address, sys.byteorder) == begin
