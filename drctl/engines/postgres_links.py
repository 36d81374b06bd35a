"""Links in a data directory. The server follows them, so what is behind one is part of the cluster,
and lies in the snapshot at the link's place.

Whoever owns the directory can lead a link anywhere, and drctl may be allowed to read more than the
server: what the server itself may not read is never taken.
"""

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from drctl.errors import SourceError

_FOLLOWING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_PLAIN = _FOLLOWING | os.O_NOFOLLOW


class Links:
    """Those of one data directory, followed by one thread."""

    def __init__(self, top: bytes, asset: str) -> None:
        self._top = top
        self._asset = asset
        self._behind = 0

    @contextmanager
    def behind(self, link: bytes) -> Iterator[os.stat_result]:
        """What is opened and entered meanwhile is proven. Gives what the link leads to. Raises
        OSError, SourceError."""
        found = self._led(link)
        self._behind += 1
        try:
            yield found
        finally:
            self._behind -= 1

    def open(self, path: bytes) -> int:
        """A file, or what a link in its place leads to. Raises OSError, SourceError."""
        try:
            descriptor = os.open(path, _PLAIN)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            with self.behind(path):
                return self._proven(path, os.open(path, _FOLLOWING))
        return self._proven(path, descriptor) if self._behind else descriptor

    def _proven(self, path: bytes, descriptor: int) -> int:
        try:
            self.prove(path, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _led(self, link: bytes) -> os.stat_result:
        """A link that went meanwhile is no trouble; one that leads nowhere may be a disk that is
        not mounted, and one that leads back would never end."""
        try:
            found = os.stat(link)
        except FileNotFoundError:
            if os.path.islink(link):
                raise self._error(link, "where nothing is", "mount what is missing there") from None
            raise
        here, there = os.path.realpath(os.path.dirname(link)), os.path.realpath(link)
        if os.path.commonpath((here, there)) == there:
            raise self._error(link, "back to a directory that it is in", "it is no use there")
        return found

    def prove(self, path: bytes, found: os.stat_result) -> None:
        """That the server may read a thing that is behind a link. Raises SourceError."""
        if self._behind and not self._may_read(found):
            what = f"which the server's user ({self._owner[0]}) may not read"
            raise self._error(path, what, "let that user own it")

    def _may_read(self, found: os.stat_result) -> bool:
        _, uid, groups = self._owner
        if uid in (0, os.geteuid()):
            return True  # the system itself refuses what it may not
        if found.st_uid == uid:
            return bool(found.st_mode & 0o400)
        return bool(found.st_mode & (0o040 if found.st_gid in groups else 0o004))

    @cached_property
    def _owner(self) -> tuple[str, int, set[int]]:
        """The server runs as whom its directory belongs to: name, number, groups."""
        found = os.stat(self._top)
        try:
            name = pwd.getpwuid(found.st_uid).pw_name
        except KeyError:
            return str(found.st_uid), found.st_uid, {found.st_gid}
        return name, found.st_uid, set(os.getgrouplist(name, found.st_gid))

    def _error(self, path: bytes, what: str, how: str) -> SourceError:
        there = os.fsdecode(os.path.realpath(path))
        return SourceError(
            f"{self._asset}: {os.fsdecode(path)} leads to {there}, {what}",
            hint=f"{how}, or take the link away: what a link leads to is saved as part of it",
        )
