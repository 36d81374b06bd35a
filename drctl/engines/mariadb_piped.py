"""A base as it comes from mariadb-backup, without a copy on a disk: see docs/decisions/0010.

The files come in mariadb-backup's own order, and its copy of the redo log in between: that one is
put aside until it is whole. The consistent point is near the end of the stream.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from msgspec.structs import replace

from drctl.engines.base import Item, PlainItem, Surroundings
from drctl.engines.buffered import Buffered
from drctl.engines.child import Child, exit_words, running
from drctl.engines.mariadb_client import Access
from drctl.engines.mariadb_looked import HELD, LOCKING, LOOK_OFTEN, Looked, Said, hint_of
from drctl.engines.mariadb_series import LogBehind
from drctl.engines.piped_files import Files
from drctl.engines.tree_look import reason
from drctl.engines.xbstream import Part, parts
from drctl.errors import SourceError
from drctl.model import Entry, Kind

_PIPE_BYTES = 1 << 20
_GRACE_SECONDS = 2  # the server may hold something back meanwhile
_TOLD = (b"xtrabackup_", b"mariadb_backup_")
_FILE_MODE, _DIRECTORY_MODE = 0o660, 0o700


class PipedSource:
    """Reads the server's files through mariadb-backup; see engines.base.Source."""

    def __init__(self, access: Access, asset: str, around: Surroundings) -> None:
        self._access = access
        self._asset = asset
        self._around = around

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        with self._access.connect() as server:
            looked = Looked(server, self._asset, self._around)
        tool = looked.tool()
        log = LogBehind(self._access, self._asset, self._around, looked)
        with ExitStack() as stack:
            yield _Capture(tool, looked, log, self._access, self._asset, self._around, stack)


class _Capture:
    """See engines.base.Capture. Its point and its facts are known after the last item."""

    def __init__(
        self,
        tool: str,
        looked: Looked,
        log: LogBehind,
        access: Access,
        asset: str,
        around: Surroundings,
        stack: ExitStack,
    ) -> None:
        self._tool = tool
        self._looked = looked
        self._log = log
        self._log_facts: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self._access = access
        self._asset = asset
        self._around = around
        self._stack = stack
        self._said = Said(lambda name: self._told.get(os.fsencode(name), b"").decode(), asset)
        self._told: dict[bytes, bytes] = {}
        self._held_at_ns = 0
        self._hurry: Callable[[], None] = _nothing
        self.consistent_at_ns = around.clock.now_ns()

    @property
    def facts(self) -> dict[str, str]:
        return {**self._looked.facts, **self._said.facts(), **self._log_facts[0]}

    @property
    def private_facts(self) -> dict[str, str]:
        return {**self._looked.private_facts(self._said.position()), **self._log_facts[1]}

    def items(self) -> Iterator[Item]:
        owner = os.stat(self._looked.datadir)
        top = Entry(b".", int(Kind.DIRECTORY), _DIRECTORY_MODE, owner.st_uid, owner.st_gid,
                    self.consistent_at_ns)  # fmt: skip
        yield PlainItem(top)
        seen = {b""}
        for file in Files(self._received(), self._around.scratch):
            folder = os.path.dirname(file.path)
            if folder not in seen:
                seen.add(folder)
                yield PlainItem(replace(top, path=folder))
            if file.path.startswith(_TOLD):
                self._told[file.path] = file.whole()
            size = max(0, file.size_hint)
            entry = replace(top, path=file.path, kind=int(Kind.FILE), mode=_FILE_MODE, size=size)
            yield PlainItem(entry, file if file.size_hint else None)
        self.consistent_at_ns = self._held_at_ns
        self._looked.refuse_anothers(self._access, self._said.facts())
        self._log_facts = self._log.of(self._said.position())

    # -- mariadb-backup -----------------------------------------------------------------------

    def _received(self) -> Iterator[Part]:
        """All of its stream. After the last part it is proven whole. Raises SourceError."""
        child = self._begin()
        buffered = Buffered(parts(child.output), self._around.scratch)
        self._hurry = buffered.hurry
        self._stack.callback(buffered.join)
        self._stack.enter_context(_ending(child))
        self._stack.callback(buffered.close)
        buffered.start()
        try:
            yield from buffered
        except SourceError as error:
            with suppress(TimeoutError):
                child.wait(_GRACE_SECONDS)
            if child.poll():
                raise self._failed(child, exit_words(child.wait())) from error
            raise
        status = child.wait()
        if status or not child.last_line.endswith("completed OK!"):
            how = exit_words(status) if status else "ended without 'completed OK!'"
            raise self._failed(child, how)
        if not self._held_at_ns:
            how = "did not say when it held commits back; drctl does not know this version"
            raise self._failed(child, how)

    def _begin(self) -> Child:
        """It runs for as long as the capture is open, at most. Raises SourceError."""
        work = os.path.join(self._around.scratch, f"{self._asset}.mariadb-pipe")
        self._stack.callback(shutil.rmtree, work, ignore_errors=True)
        descriptor = self._stack.enter_context(self._access.option_file())
        argv = (self._tool, f"--defaults-file=/dev/fd/{descriptor}", "--backup",
                "--stream=xbstream", f"--target-dir={work}", "--parallel=1",
                LOOK_OFTEN)  # fmt: skip
        started = running(
            argv, pass_fds=(descriptor,), stdout=subprocess.PIPE, listener=self._listen
        )
        try:
            child = self._stack.enter_context(started)
        except OSError as error:
            raise SourceError(f"{argv[0]}: cannot be run: {reason(error)}") from error
        with suppress(OSError):  # the limit of this user's pipes is reached: it works as well
            fcntl.fcntl(child.output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return child

    def _listen(self, line: str) -> None:
        if LOCKING.search(line):
            self._hurry()
        if HELD.search(line):
            self._held_at_ns = self._around.clock.now_ns()

    def _failed(self, child: Child, how: str) -> SourceError:
        what = f"{self._asset}: mariadb-backup {how}; it said:\n{child.words}"
        return SourceError(what, hint=hint_of(child.words, self._around.scratch))


def _nothing() -> None:
    """Nobody reads yet."""


@contextmanager
def _ending(child: Child) -> Iterator[None]:
    """It is gone before anything waits for whoever reads from it."""
    try:
        yield
    finally:
        child.end()
