"""A base: the server's files, copied by mariadb-backup, each an entry of the snapshot.

The copy is made in the scratch directory, not streamed: mariadb-backup holds back commits at its
end, and a storage far away must not decide how long (docs/decisions/0010). Accepted is only what
ends with status 0 and says `completed OK!` last.

The consistent point is the moment at which the server holds commits back for mariadb-backup: all
that was committed before is in, nothing that came after. It is when mariadb-backup says so, while
it runs, by this host's clock; its own times are whole seconds.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from drctl.engines.base import Item, PlainItem, Surroundings
from drctl.engines.child import exit_words, running
from drctl.engines.mariadb_client import Access
from drctl.engines.mariadb_looked import (
    HELD,
    LOOK_OFTEN,
    Looked,
    Said,
    block_bytes,
    hint_of,
    is_overtaken,
)
from drctl.engines.mariadb_series import LogBehind
from drctl.engines.tree_look import reason, to_entry
from drctl.errors import SourceError
from drctl.events import Notice
from drctl.model import Entry, sort_key

_ATTEMPTS = 3  # where the copy of the redo log fell behind
_PIECE_BYTES = 1 << 20


class BaseSource:
    """Copies the server's files and reads the copy; see engines.base.Source."""

    def __init__(self, access: Access, asset: str, around: Surroundings) -> None:
        self._access = access
        self._asset = asset
        self._around = around
        self._held_at_ns = 0

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        copy = os.path.join(self._around.scratch, f"{self._asset}.mariadb-copy")
        shutil.rmtree(copy, ignore_errors=True)  # what a killed run left
        try:
            with self._access.connect() as server:
                looked = Looked(server, self._asset, self._around)
            tool = looked.tool()
            looked.check_room(self._around.scratch)
            log = LogBehind(self._access, self._asset, self._around, looked)
            self._copy(tool, copy)
            capture = _Capture(copy, self._held_at_ns, looked, self._asset)
            looked.refuse_anothers(self._access, capture.facts)
            facts, private = log.of(capture.position)
            capture.facts |= facts
            capture.private_facts |= private
            yield capture
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    def _copy(self, tool: str, copy: str) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            words = self._run(tool, copy)
            if words is None:
                return
            shutil.rmtree(copy, ignore_errors=True)
            if not is_overtaken(words) or attempt == _ATTEMPTS:
                raise SourceError(
                    f"{self._asset}: mariadb-backup {words}",
                    hint=hint_of(words, self._around.scratch),
                )
            what = f"{self._asset}: the redo log was overwritten before it was copied: once more"
            self._around.report.emit(Notice("warning", what))

    def _run(self, tool: str, copy: str) -> str | None:
        """One copy. Gives None when it is whole, what went wrong otherwise."""
        self._held_at_ns = 0
        with self._access.option_file() as descriptor:
            argv = (
                tool,
                f"--defaults-file=/dev/fd/{descriptor}",
                "--backup",
                f"--target-dir={copy}",
                "--parallel=2",
                LOOK_OFTEN,
            )
            try:
                with running(argv, pass_fds=(descriptor,), listener=self._listen) as child:
                    status = child.wait()
            except OSError as error:
                return f"cannot be run: {reason(error)}"
        if status:
            return f"{exit_words(status)}; it said:\n{child.words}"
        if not child.last_line.endswith("completed OK!"):
            return f"ended without 'completed OK!'; it said:\n{child.words}"
        if not self._held_at_ns:
            return "did not say when it held commits back; drctl does not know this version"
        return None

    def _listen(self, line: str) -> None:
        if HELD.search(line):
            self._held_at_ns = self._around.clock.now_ns()


class _Capture:
    """The copy, as entries that belong to the server's user; see engines.base.Capture."""

    def __init__(self, copy: str, held_at_ns: int, looked: Looked, asset: str) -> None:
        self._copy = os.fsencode(copy)
        self._asset = asset
        self.consistent_at_ns = held_at_ns
        self._owner = os.stat(looked.datadir)
        self._said = Said(self._read, asset)
        self.position = self._said.position()
        self.facts = {**looked.facts, **self._said.facts()}
        self.private_facts = looked.private_facts(self.position)

    def _read(self, name: str) -> str:
        try:
            with open(os.path.join(os.fsdecode(self._copy), name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def items(self) -> Iterator[Item]:
        for path in sorted(_paths(self._copy), key=sort_key):
            place = os.path.join(self._copy, path)
            found = os.lstat(place)
            entry = self._entry(path, found)
            has_content = os.path.isfile(place) and found.st_size
            yield PlainItem(entry, CopyContent(place, entry) if has_content else None)

    def _entry(self, path: bytes, found: os.stat_result) -> Entry:
        import msgspec

        entry = to_entry(path, found)
        return msgspec.structs.replace(entry, uid=self._owner.st_uid, gid=self._owner.st_gid)


def _paths(top: bytes) -> Iterator[bytes]:
    """The tree's root and all below it, as paths of entries."""
    for folder, directories, names in os.walk(top):
        inside = os.path.relpath(folder, top)
        yield inside
        yield from (os.path.normpath(os.path.join(inside, name)) for name in names)
        directories.sort()


class CopyContent:
    """A file of our own that nobody else changes; tablespaces are cut by pages."""

    def __init__(self, place: bytes, entry: Entry) -> None:
        self._place = place
        self.size_hint = entry.size
        self.block_bytes = block_bytes(entry.path)

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        return entry, b"".join(self.stream(entry))

    def stream(self, entry: Entry) -> "_Pieces":
        return _Pieces(self._place, entry)


class _Pieces:
    """See engines.base.Stream."""

    def __init__(self, place: bytes, entry: Entry) -> None:
        self._place = place
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        try:
            with open(self._place, "rb", buffering=0) as file:
                while piece := file.read(_PIECE_BYTES):
                    yield piece
        except OSError as error:
            shown = os.fsdecode(self._place)
            raise SourceError(f"{shown}: {reason(error)}", hint="look at that disk") from error
